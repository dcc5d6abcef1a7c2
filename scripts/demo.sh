#!/bin/sh
# demo.sh: from a fresh machine to a green run. Installs what is missing (on Debian), builds
# Esker, puts a C toolchain into the Nix store, and checks flakes/demo. Quick when repeated.
set -eu
cd "$(dirname "$0")/.."
. scripts/machine.sh

[ "$(uname -sm)" = "Linux x86_64" ] ||
  fail "the demo's toolchain is for x86_64 Linux, this is $(uname -sm)" "build Esker with \`cargo build --release\` and check a flake of your own"
prepare_machine
say "nix $(nix --version | sed 's/.* //') is at $(command -v nix)"

say "building esker (the first time, this takes some minutes)"
# A person sees cargo's progress; a log is spared it.
quiet=--quiet
[ ! -t 2 ] || quiet=
cargo build --release --locked $quiet -p esker

with_store flakes/demo/toolchain/seed.sh
say "checking flakes/demo: zlib, Lua and programs that use them"
say '$ esker check flakes/demo'
with_store target/release/esker check flakes/demo "$@"
