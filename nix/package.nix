# The package, for nixpkgs' callPackage.
{ lib, rustPlatform, installShellFiles, nix, git, makeWrapper }:
let
  manifest = builtins.fromTOML (builtins.readFile ../Cargo.toml);
in rustPlatform.buildRustPackage {
  pname = "esker";
  inherit (manifest.workspace.package) version;

  # Only what the build reads, so that a change of the documentation rebuilds nothing.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [ ../Cargo.toml ../Cargo.lock ../crates ];
  };
  cargoLock.lockFile = ../Cargo.lock;

  nativeBuildInputs = [ installShellFiles makeWrapper ];
  # The end-to-end tests need a Nix to talk to, which a build cannot have: `make test` runs them.
  cargoTestFlags = [ "--workspace" "--lib" "--bins" ];

  postInstall = ''
    for shell in bash fish zsh; do
      $out/bin/esker completions $shell > esker.$shell
    done
    installShellCompletion esker.bash esker.fish --zsh --name _esker esker.zsh
    $out/bin/esker man $TMPDIR/man
    installManPage $TMPDIR/man/*
    # A Nix on PATH is preferred: it is the one whose verdict is asked for.
    wrapProgram $out/bin/esker --suffix PATH : ${lib.makeBinPath [ nix git ]}
  '';

  meta = {
    description = "Nix-native CI and build system";
    homepage = manifest.workspace.package.repository;
    license = with lib.licenses; [ asl20 mit ];
    mainProgram = "esker";
    platforms = lib.platforms.linux;
  };
}
