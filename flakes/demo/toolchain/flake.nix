{
  description = "A C and C++ toolchain from Debian packages, without nixpkgs";

  outputs = { self }:
    let toolchain = import ./. { system = "x86_64-linux"; };
    in {
      packages.x86_64-linux = {
        inherit (toolchain) runtime toolchain;
        default = toolchain.toolchain;
      };
      lib.x86_64-linux = { inherit (toolchain) build fetch source; };
    };
}
