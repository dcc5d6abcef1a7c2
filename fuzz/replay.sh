#!/bin/sh
# replay.sh: compiles every fuzz target and runs it once on each of its seeds, without fuzzing, so
# that no target rots unseen. Needs a C++ compiler, for libFuzzer, and nothing of cargo-fuzz.
set -eu
cd "$(dirname "$0")/.."
folder=${CARGO_TARGET_DIR:-target}/fuzz-replay

# Not `--locked`: a dependency that a crate gained is no reason to fail, and is written down here.
cargo build --quiet --manifest-path fuzz/Cargo.toml --target-dir "$folder"
for source in fuzz/fuzz_targets/*.rs; do
  target=$(basename "$source" .rs)
  if ! [ -d "fuzz/seeds/$target" ]; then
    echo "fuzz/seeds/$target does not exist: a target needs seeds" >&2
    exit 1
  fi
  if ! said=$("$folder/debug/$target" fuzz/seeds/"$target"/* 2>&1); then
    echo "$said" >&2
    echo "the fuzz target \`$target\` fails on one of its seeds" >&2
    exit 1
  fi
done
