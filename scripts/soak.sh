#!/bin/sh
# soak.sh: reuses results of traced builds thousands of times, and has Nix build each of them: are they
# ever false? Needs root, /dev/fuse and the seeded toolchain. Takes about ten minutes on two cores.
#
#   scripts/soak.sh [REUSES]             at least so many judged reuses in all (3000)
#   ESKER_SEED=N scripts/soak.sh         repeats a run
set -eu
cd "$(dirname "$0")/.."
wanted=${1:-3000}
rounds=${ESKER_SOAK_ROUNDS:-3}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# soak TEST…: one test file to its end, with all that is left out otherwise.
soak() {
  cargo test -q -p esker --locked --test "$@" >>"$log" 2>&1 || {
    grep -v '^{' "$log" | tail -n 200 >&2
    echo "error: \`cargo test -p esker --test $*\` failed" >&2
    exit 1
  }
}

echo "the toolchain's graph and every kind of output, traced and by Nix" >&2
soak equal_bits -- --include-ignored --nocapture
round=0
while [ $round -lt "$rounds" ]; do
  round=$((round + 1))
  echo "hostile builders and accidents, round $round of $rounds" >&2
  soak adversarial -- --nocapture
done
echo "random builders and changes" >&2
while :; do
  ESKER_SOAK_REUSES=$((wanted / 2)) soak mutations -- --ignored --nocapture
  reuses=$(awk '/total: [0-9]+ reuses|^[0-9]+ judged reuses/ { for (i = 2; i <= NF; i++) if ($i ~ /^reuses/) n += $(i - 1) == "judged" ? $(i - 2) : $(i - 1) } END { print n + 0 }' "$log")
  [ "$reuses" -lt "$wanted" ] || break
done
grep -h '^ESKER_SEED=\|in all ' "$log" | grep -v '^$'
echo "$reuses judged reuses, 0 false"
