#!/bin/sh
# relock.sh: write debs.json (name, version, path in the pool, sha256, size) for the toolchain
# and the sources below, and busybox.nix. Debian removes superseded versions from its pool:
# run this after a point release.
#
# Apt resolves the closure in a private state, from the archive that the machine's own sources
# name; nothing is installed.
#
#   ./relock.sh [suite]    default: this machine's suite
set -eu
cd "$(dirname "$0")"
. /etc/os-release
suite=${1:-$VERSION_CODENAME}

runtime="libc6 libgcc-s1 libstdc++6"
tools="gcc g++ binutils make bash coreutils sed grep gawk diffutils findutils tar gzip bzip2 xz-utils patch libc6-dev linux-libc-dev patchelf"
seed="busybox-static"
sources="lua5.4 zlib"
# What a package needs for its installation, not for its work.
skip='^(debconf|debianutils|dpkg|perl.*|libperl.*|passwd|login.*|adduser|libpam.*|libsemanage.*|libsepol.*|libaudit.*|libdebconf.*|install-info|base-passwd|libdb5.*|libgdbm.*|libsystemd.*|sensible-utils|base-files|libcap-ng0|usr-is-merged)$'

archive=$(./mirror.sh)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
key=/usr/share/keyrings/debian-archive-keyring.gpg
for kind in deb deb-src; do echo "$kind [signed-by=$key] $archive $suite main"; done >"$work/sources.list"
cat >"$work/apt.conf" <<CONF
Dir::Etc::SourceList "$work/sources.list"; Dir::Etc::SourceParts "-"; Dir::State::Lists "$work/lists";
Dir::State::status "/dev/null"; Dir::Cache "$work/cache"; Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false"; APT::Install-Recommends "false";
APT::Sandbox::User ""; Debug::NoLocking "true";
CONF
export APT_CONFIG="$work/apt.conf"
apt-get -q update >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }

# Names of the packages that installing the given ones would bring.
closure() { apt-get -q -y --print-uris install "$@" | sed -n "s/^'[^']*' \([^_]*\)_.*/\1/p" | sort -u; }

# Packages on stdin, entries of debs.json on stdout.
binary_entries() {
  xargs apt-cache show --no-all-versions | awk -v group="$1" '
    function entry() {
      if (name != "") printf "    {\"group\":\"%s\",\"name\":\"%s\",\"version\":\"%s\",\"path\":\"%s\",\"sha256\":\"%s\",\"size\":%s},\n", group, name, version, path, hash, size
      name = ""
    }
    /^Package: /  { name = $2 }
    /^Version: /  { version = $2 }
    /^Filename: / { path = $2 }
    /^SHA256: /   { hash = $2 }
    /^Size: /     { size = $2 }
    /^$/          { entry() }
    END           { entry() }'
}

source_entries() {
  for package in $sources; do
    apt-cache showsrc "$package" | awk -v package="$package" '
      /^Version: /          { version = $2 }
      /^Directory: /        { folder = $2 }
      /^Checksums-Sha256:/  { sums = 1; next }
      sums && /^ /          { if ($3 ~ /\.orig\.tar\.(xz|gz|bz2)$/) { hash = $1; size = $2; file = $3 }; next }
                            { sums = 0 }
      END { printf "    {\"group\":\"source\",\"name\":\"%s\",\"version\":\"%s\",\"path\":\"%s/%s\",\"sha256\":\"%s\",\"size\":%s},\n", package, version, folder, file, hash, size }'
  done
}

# shellcheck disable=SC2086 # lists of words, here and below
printf '%s\n' $runtime | sort >"$work/runtime"
# shellcheck disable=SC2086
closure $tools | grep -vE "$skip" | grep -vxF -f "$work/runtime" >"$work/tools"
{
  printf '{\n  "suite": "%s",\n  "debs": [\n' "$suite"
  {
    binary_entries runtime <"$work/runtime"
    binary_entries tools <"$work/tools"
    echo $seed | binary_entries seed
    source_entries
  } | sed '$ s/,$//'
  printf '  ]\n}\n'
} >"$work/debs.json"
cp "$work/debs.json" debs.json
echo "toolchain: locked $(grep -c '"group"' debs.json) files, $(grep -o '"size":[0-9]*' debs.json | awk -F: '{ s += $2 } END { printf "%.1f MB", s / 1e6 }')" >&2
RELOCK=1 ./seed.sh
