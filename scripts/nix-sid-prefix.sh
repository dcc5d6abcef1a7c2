#!/bin/sh
# nix-sid-prefix.sh: put a newer Nix, as Debian builds it (sid: 2.34 or later), into a folder of
# its own on a Debian 12 machine, beside whatever Nix the system has. Nothing outside that
# folder is touched, nothing is installed, and the archive is the one that the machine's own
# apt sources name. Needs no root.
#
#   nix-sid-prefix.sh --prefix DIR [--suite sid|trixie] [--at-least VERSION]
#
# With --at-least, a prefix that has a working Nix of that version or a later one is kept.
#
# How: a private apt state resolves nix-bin's libraries in the wanted suite. The packages are
# fetched with apt's own signature and hash checks and unpacked. The one ELF program, `nix` (all
# other names are links to it), is given the prefix's ld.so and a DT_RPATH. DT_RPATH also covers
# the libraries' own dependencies, and is not inherited by child processes the way
# LD_LIBRARY_PATH would be. patchelf rather than `ld.so --library-path`, since Nix runs itself
# again through /proc/self/exe.
set -eu
suite=sid
prefix=
at_least=
while [ $# -gt 0 ]; do
  case $1 in
    --suite) suite=$2 ;;
    --prefix) prefix=$2 ;;
    --at-least) at_least=$2 ;;
    *)
      echo "usage: $0 --prefix DIR [--suite sid|trixie] [--at-least VERSION]" >&2
      exit 2
      ;;
  esac
  shift 2
done
: "${prefix:=$PWD/nix-$suite}"
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
root=$(cd "$(dirname "$0")/.." && pwd)

version() { "$prefix/bin-nix/nix" --version 2>/dev/null | sed 's/.* //'; }
if [ "$at_least" ] && have=$(version) && [ "$have" ] &&
  [ "$(printf '%s\n' "$at_least" "$have" | sort -V | head -n 1)" = "$at_least" ]; then
  exit
fi

echo "putting Nix of Debian $suite into $prefix" >&2
archive=$("$root/flakes/demo/toolchain/mirror.sh")
triple=$(uname -m)-linux-gnu
key=/usr/share/keyrings/debian-archive-keyring.gpg
work=$prefix/.work
rm -rf "$work"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/debs"
chmod 755 "$work" "$work/debs"
trap 'rm -rf "$work"' EXIT

# A mirror may be older than its lists' dates allow. What is old is signed all the same.
echo "deb [signed-by=$key] $archive $suite main" >"$work/sources.list"
cat >"$work/apt.conf" <<CONF
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "$work/lists";
Dir::State::status "/dev/null";
Dir::Cache "$work/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
Acquire::Check-Valid-Until "false";
APT::Install-Recommends "false";
APT::Sandbox::User "";
Debug::NoLocking "true";
CONF
export APT_CONFIG="$work/apt.conf"
give_up() {
  cat "$work/log" >&2
  exit 1
}

apt-get -q update >"$work/log" 2>&1 || give_up
roots=$(apt-cache -q show --no-all-versions nix-bin | sed -n 's/^Depends: //p' | tr ',' '\n' |
  sed 's/^ *//; s/[ (].*//' | grep '^lib' | grep -v -e '-perl$')
# shellcheck disable=SC2086 # a list of words
packages=$(apt-get -q -y --print-uris install $roots patchelf | sed -n "s/^'[^']*' \([^_]*\)_.*/\1/p" |
  grep -E '^(lib|patchelf)' | grep -vE '^lib(perl|pam|semanage|sepol|selinux|audit|debconf|gdbm|db5)|-perl$' | sort -u)
# shellcheck disable=SC2086
(cd "$work/debs" && apt-get -q download $packages nix-bin) >>"$work/log" 2>&1 || give_up

mkdir -p "$prefix/usr/lib" "$prefix/usr/lib64" "$prefix/usr/bin" "$prefix/bin-nix"
for dir in lib lib64 bin; do [ -e "$prefix/$dir" ] || ln -s usr/$dir "$prefix/$dir"; done
for deb in "$work"/debs/*.deb; do
  # tar, not `dpkg-deb -x`, which would replace the links that merge / and /usr.
  dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$prefix" --keep-directory-symlink --no-same-owner \
    --exclude='./usr/share/doc' --exclude='./usr/share/locale' --exclude='./usr/share/man' --exclude='./usr/lib/*/gconv/*'
done

libraries=$prefix/usr/lib/$triple
loader=$(find "$libraries" "$prefix/usr/lib" -maxdepth 1 -name 'ld-linux*' | head -n 1)
"$loader" --library-path "$libraries" "$prefix/usr/bin/patchelf" \
  --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$prefix/usr/bin/nix"
rm -f "$prefix/usr/bin/patchelf"
for name in nix nix-build nix-channel nix-collect-garbage nix-copy-closure nix-daemon nix-env nix-hash \
  nix-instantiate nix-prefetch-url nix-shell nix-store; do
  ln -sfn ../usr/bin/nix "$prefix/bin-nix/$name"
done
[ "$(version)" ] || { "$prefix/bin-nix/nix" --version; exit 1; }
echo "nix $(version) is in $prefix/bin-nix" >&2
