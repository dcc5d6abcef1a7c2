{
  description = "Real C and C++ projects, compiled and tested with nothing but Nix";

  # No inputs: the toolchain lies in this folder, so the demo works as a part of a repository
  # (`git+file:…?dir=flakes/demo`) and as a folder by itself (`path:…`), which Nix copies alone.
  outputs = { self }:
    let
      system = "x86_64-linux";
      projects = import ./projects.nix { inherit system; };
    in {
      packages.${system} = {
        inherit (projects) zlib lua hello-cxx;
        default = projects.hello-cxx;
      };
      checks.${system} = projects;
    };
}
