{
  description = "Nix-native CI and build system";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      forEachSystem = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in {
      packages = forEachSystem (pkgs: rec {
        esker = pkgs.callPackage ./nix/package.nix { };
        default = esker;
      });

      checks = forEachSystem (pkgs:
        let
          esker = self.packages.${pkgs.stdenv.hostPlatform.system}.esker;
        in {
          package = esker;
          clippy = esker.overrideAttrs (old: {
            pname = "esker-clippy";
            nativeBuildInputs = old.nativeBuildInputs ++ [ pkgs.clippy ];
            buildPhase = "cargo clippy --workspace --all-targets --offline -- -D warnings";
            doCheck = false;
            installPhase = "touch $out";
          });
          formatting = pkgs.runCommand "esker-formatting" { nativeBuildInputs = [ pkgs.cargo pkgs.rustfmt ]; } ''
            cd ${self}
            cargo fmt --all --check
            touch $out
          '';
          shell-scripts = pkgs.runCommand "esker-shell-scripts" { nativeBuildInputs = [ pkgs.shellcheck ]; } ''
            cd ${self}
            shellcheck -x .ci/run scripts/*.sh flakes/demo/toolchain/*.sh
            touch $out
          '';
          book = pkgs.runCommand "esker-book" { nativeBuildInputs = [ pkgs.mdbook ]; } ''
            mdbook build ${self}/docs --dest-dir $out
          '';
        });

      devShells = forEachSystem (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ self.packages.${pkgs.stdenv.hostPlatform.system}.esker ];
          packages = with pkgs; [ cargo-nextest clippy git mdbook python3 rust-analyzer rustfmt shellcheck ];
        };
      });

      nixosModules.default = ./nix/module.nix;
    };
}
