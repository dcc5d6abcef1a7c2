# Sets of derivations, each by the name of its job. README.md tells what they are for.
{ system ? "x86_64-linux"
, salt ? ""
, toolchain ? ../demo/toolchain
, jobs ? [ ]
, interpreters ? ./interpreters
, variable ? ./src/tree
}:
let
  tools = import toolchain { inherit system; };
  busybox = "${tools.seed}/bin/busybox";
  at = path: ./src + "/${path}";

  # A script for busybox's shell, whose applets are at hand without a PATH.
  shell = more: name: script: derivation ({
    inherit name system salt busybox;
    builder = busybox;
    args = [ "sh" "-uc" script ];
  } // more);

  # A script for bash, with the C toolchain.
  compile = more: name: script: tools.build ({ inherit name salt script; } // more);
  difficult = import ./adversarial.nix { inherit shell compile at variable interpreters; };
in {
  equal = import ./equal.nix { inherit shell compile at; }
    // import ./interpreted.nix { inherit shell interpreters; };
  inherit (difficult) adversarial limits escape late;
  random = { inherit (difficult.adversarial) built-random; };
  mutated = builtins.listToAttrs (map (job: {
    inherit (job) name;
    value = shell { inherit (job) a b; } job.name job.script;
  }) jobs);

  # The bootstrap toolchain once more, under other store paths.
  graph =
    let
      salted = import (toolchain + "/salted.nix") { inherit system salt; };
    in { inherit (salted) runtime toolchain; };
}
