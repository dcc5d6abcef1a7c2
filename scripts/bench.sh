#!/bin/sh
# bench.sh: build Esker, and measure it against plain Nix (bench.py) on every Nix that is here.
#
#   scripts/bench.sh [--quick] [--write docs/benchmarks.md] …           see bench.py --help
#   scripts/bench.sh traced [--quick] [--write docs/benchmarks.md] …    see bench-trace.py --help
#   scripts/bench.sh updates [--next SUITE] [--write docs/benchmarks.md] …    see debian-updates.py --help
set -eu
cd "$(dirname "$0")/.."
bench=bench
case ${1:-} in
  traced) bench="bench-trace" && shift ;;
  updates) bench="debian-updates" && shift ;;
esac
. scripts/machine.sh

prepare_machine
want python3 python3
install_wanted
say "building esker"
cargo build --release --locked --quiet -p esker

folders=${ESKER_TEST_NIX:-$(dirname "$(command -v nix)")}
newer=${ESKER_NIX_PREFIX:-/opt/esker-nix/sid}/bin-nix
[ "${ESKER_TEST_NIX:-}" ] || [ ! -x "$newer/nix" ] || folders=$folders:$newer
[ $bench = bench ] || with_store flakes/demo/toolchain/seed.sh
for folder in $(echo "$folders" | tr : ' '); do set -- "$@" --nix "$folder"; done
exec python3 scripts/$bench.py "$@"
