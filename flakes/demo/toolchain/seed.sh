#!/bin/sh
# seed.sh: put the files of debs.json into the Nix store, and busybox, the only program that
# must exist before anything can be built.
#
# Everything is added by its content, so its store path is the one that the fixed-output
# derivations of default.nix expect: Nix finds their outputs valid and never fetches.
# Nothing to do takes a tenth of a second; garbage collection leaves the files alone, since
# roots point at them.
#
#   ./seed.sh             download what is missing, check it, add it
#   RELOCK=1 ./seed.sh    also rewrite busybox.nix (relock.sh does this)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"

if [ "$(id -u)" = 0 ] && [ -w /nix/var/nix/gcroots ]; then
  roots=/nix/var/nix/gcroots/esker-toolchain
else
  roots=${XDG_STATE_HOME:-$HOME/.local/state}/esker/toolchain
fi
cache=${ESKER_DEB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/esker/debs}

say() { echo "toolchain: $*" >&2; }
fail() {
  echo "error: $1" >&2
  echo "hint: $2" >&2
  exit 1
}
command -v nix-store >/dev/null || fail "no \`nix-store\` on PATH" "install Nix; on Debian: apt install nix-bin nix-setup-systemd"

lock=$(cat debs.json busybox.nix | sha256sum | cut -d' ' -f1)
if [ -z "${RELOCK:-}" ] && [ "$(cat "$roots/lock" 2>/dev/null)" = "$lock" ] &&
  xargs nix-store --check-validity <"$roots/paths" 2>/dev/null; then
  exit
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$cache" "$roots"

# One line a file: sha256, path in the pool, name in the store (where "~" is not legal).
sed -n 's/.*"name":"\([^"]*\)".*"path":"\([^"]*\)","sha256":"\([^"]*\)".*/\3 \2 \1/p' debs.json |
  while read -r hash path name; do
    case $path in *.deb) suffix=deb ;; *) suffix=${path##*.orig.} ;; esac
    echo "$hash $path $(printf %s "$name" | tr '~' '-').$suffix"
  done >"$work/list"

# What the cache has already is linked to the place where it will be checked once more.
mkdir "$work/files"
while read -r hash path name; do
  if [ -e "$cache/$hash" ]; then
    cp "$cache/$hash" "$work/files/$name"
  else
    printf '%s %s\n' "$path" "$name"
  fi
done <"$work/list" >"$work/missing"

if [ -s "$work/missing" ]; then
  command -v curl >/dev/null || fail "no \`curl\` on PATH" "apt install curl"
  mirror=$(./mirror.sh)
  say "downloading $(wc -l <"$work/missing") Debian packages"
  while read -r path name; do
    printf 'url = "%s/%s"\noutput = "%s/files/%s"\n' "$mirror" "$path" "$work" "$name"
  done <"$work/missing" >"$work/curl"
  # Curl draws a meter for parallel transfers, whatever it is told.
  if ! curl --fail --location --retry 3 --parallel --parallel-max 4 --config "$work/curl" 2>"$work/curl.log"; then
    grep '^curl: ' "$work/curl.log" | sort | uniq -c | sort -rn | head -n 5 >&2 || true
    fail "not every file could be downloaded from $mirror" \
      "no network? Or Debian superseded a package: then ./relock.sh in $here writes a new lock"
  fi
fi

while read -r hash path name; do printf '%s  %s\n' "$hash" "$work/files/$name"; done <"$work/list" >"$work/sums"
sha256sum --check --quiet "$work/sums" >&2 ||
  fail "a downloaded file is not the one that debs.json names" "delete $cache and try again"
while read -r hash path name; do
  [ -e "$cache/$hash" ] || { cp "$work/files/$name" "$cache/$hash.$$" && mv "$cache/$hash.$$" "$cache/$hash"; }
done <"$work/list"

# A program called busybox behaves by the name it is called by, hence a folder around it.
mkdir -p "$work/busybox-seed/bin" "$work/unpacked"
(cd "$work/unpacked" && if command -v dpkg-deb >/dev/null; then
  dpkg-deb --fsys-tarfile "$work/files/busybox-static.deb" | tar x ./bin/busybox
else
  ar p "$work/files/busybox-static.deb" data.tar.xz | xz -dc | tar x ./bin/busybox
fi)
cp "$work/unpacked/bin/busybox" "$work/busybox-seed/bin/busybox"
chmod 555 "$work/busybox-seed/bin/busybox"
chmod 555 "$work/busybox-seed/bin"
hash=\"$(nix-hash --type sha256 --base32 "$work/busybox-seed")\"
chmod 755 "$work/busybox-seed/bin"
if [ "${RELOCK:-}" ]; then
  echo "$hash" >busybox.nix
elif [ "$hash" != "$(cat busybox.nix)" ]; then
  fail "the busybox of debs.json has the hash $hash, busybox.nix says $(cat busybox.nix)" "RELOCK=1 ./seed.sh rewrites it"
fi

(cd "$work/files" && cut -d' ' -f3 "$work/list" | xargs nix-store --add-fixed sha256) >"$work/paths"
nix-store --add-fixed --recursive sha256 "$work/busybox-seed" >>"$work/paths"

# The lock's digest is written last: a run that was killed half-way is simply done again.
rm -f "$roots/lock"
if [ "$roots" = /nix/var/nix/gcroots/esker-toolchain ]; then
  find "$roots" -type l -delete
  while read -r path; do ln -sfn "$path" "$roots/${path##*/}"; done <"$work/paths"
else
  find "$roots" -type l -delete
  xargs nix-store --add-root "$roots/seed" --indirect --realise <"$work/paths" >/dev/null
fi
cp "$work/paths" "$roots/paths"
cat debs.json busybox.nix | sha256sum | cut -d' ' -f1 >"$roots/lock"
say "$(wc -l <"$work/paths") files are in the store"
