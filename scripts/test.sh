#!/bin/sh
# test.sh: everything that CI runs. Works on a fresh Debian 12 with Rust: Nix is installed from
# Debian's packages, and a newer one is put beside it, so that the tests run on both.
#
#   scripts/test.sh [FILTER…]    arguments go to the test runner
set -eu
cd "$(dirname "$0")/.."
. scripts/machine.sh

started=$(date +%s)
failed=

# check TITLE COMMAND…: runs it, and remembers a failure; the rest still runs.
check() {
  title=$1
  shift
  echo "== $title" >&2
  before=$(date +%s)
  if "$@"; then
    echo "   $title: ok, $(($(date +%s) - before)) s" >&2
  else
    echo "   $title: FAILED, $(($(date +%s) - before)) s" >&2
    failed="$failed
  $title"
  fi
}

prepare_machine
if is_debian && can_be_root; then
  want c++ g++
  # Inputs of builds that hide a path in what they write.
  want sqlite3 sqlite3
  want mksquashfs squashfs-tools
  want shellcheck shellcheck
  (install_wanted) || wanted=
  # For the tests of the server: a browser, and Prism, which knows the API of GitHub.
  want chromium chromium
  want node nodejs
  want npm npm
  (install_wanted) || wanted=
fi
if command -v npm >/dev/null; then
  scripts/test-node.sh || say "no npm packages here: the tests that need them say that they are skipped"
else
  say "no npm here: the tests that need it say that they are skipped"
fi
for tool in fmt clippy; do
  cargo $tool --version >/dev/null 2>&1 || rustup component add "$(echo $tool | sed s/fmt/rustfmt/)"
done

# ESKER_TEST_NIX: the folders of every Nix that the end-to-end tests run on. A machine's own
# list is left as it is.
if [ -z "${ESKER_TEST_NIX:-}" ]; then
  ESKER_TEST_NIX=$(dirname "$(command -v nix)")
  if is_debian; then
    prefix=${ESKER_NIX_PREFIX:-/opt/esker-nix/sid}
    [ -w "$(dirname "$prefix")" ] || [ -w "$prefix" ] || as_root install -d -o "$(id -u)" "$prefix"
    scripts/nix-sid-prefix.sh --at-least 2.34 --prefix "$prefix"
    ESKER_TEST_NIX=$ESKER_TEST_NIX:$prefix/bin-nix
  fi
  export ESKER_TEST_NIX
fi
for folder in $(echo "$ESKER_TEST_NIX" | tr : ' '); do
  say "testing with $("$folder/nix" --version) in $folder"
done
with_store flakes/demo/toolchain/seed.sh

check "formatting" cargo fmt --all --check
check "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
if cargo nextest --version >/dev/null 2>&1; then
  check "tests" cargo nextest run --workspace --locked --no-fail-fast "$@"
else
  check "tests" cargo test --workspace --locked --no-fail-fast --bins --lib --tests -- "$@"
fi
# The stories once more, with Nix as the one who builds.
if cargo nextest --version >/dev/null 2>&1; then
  check "tests, untraced" env ESKER_TRACE=off cargo nextest run --locked --no-fail-fast \
    -E 'package(esker) & kind(test) & not binary(/trace|prove|content_addressed|adversarial|mutations|equal_bits|tidy/)' "$@"
fi
check "documentation tests" cargo test --workspace --locked --doc
check "documentation" env RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked
if command -v c++ >/dev/null; then
  check "fuzz targets" fuzz/replay.sh
else
  say "no C++ compiler here: the fuzz targets are not tried"
fi
if command -v shellcheck >/dev/null; then
  check "shell scripts" shellcheck -x .ci/run scripts/*.sh fuzz/*.sh flakes/demo/toolchain/*.sh
else
  say "no shellcheck here: shell scripts are not checked"
fi

minutes=$((($(date +%s) - started) / 60))
seconds=$((($(date +%s) - started) % 60))
if [ "$failed" ]; then
  echo "failed after $minutes min $seconds s:$failed" >&2
  exit 1
fi
echo "everything passed in $minutes min $seconds s" >&2
