# shellcheck shell=sh
# machine.sh: what the other scripts want of this machine. Sourced, not run.
#
# On Debian with root or sudo, what is missing is installed. Elsewhere nothing is touched, and
# what is missing is named.

export DEBIAN_FRONTEND=noninteractive

say() { echo "$*" >&2; }
fail() {
  echo "error: $1" >&2
  [ -z "${2:-}" ] || echo "hint: $2" >&2
  exit 1
}

is_debian() { [ -e /etc/debian_version ] && command -v apt-get >/dev/null; }

# Runs a command as root.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo env DEBIAN_FRONTEND=noninteractive "$@"; fi
}
can_be_root() { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }

# install_packages PACKAGE…: with apt, quietly.
install_packages() {
  if ! is_debian || ! can_be_root; then
    fail "this machine lacks what Debian calls: $*" "install it, then run this again; only on Debian, with root or sudo, it is done for you"
  fi
  say "installing Debian packages: $*"
  log=$(mktemp)
  set -- install -y --no-install-recommends "$@"
  if ! as_root apt-get -q "$@" >"$log" 2>&1; then
    # Lists that are missing or old. A source that cannot be read is no reason to give up: the
    # others may do.
    if ! { as_root apt-get -q update || true; as_root apt-get -q "$@"; } >"$log" 2>&1; then
      tail -n 20 "$log" >&2
      rm -f "$log"
      fail "apt-get could not install them" "see above for its reasons"
    fi
  fi
  rm -f "$log"
}

# want COMMAND PACKAGE…: remembers packages whose command is missing; install_wanted acts on it.
wanted=
want() {
  command=$1
  shift
  command -v "$command" >/dev/null || wanted="$wanted $*"
}
install_wanted() {
  # shellcheck disable=SC2086 # a list of words
  [ -z "$wanted" ] || install_packages $wanted
  wanted=
}

# Everything that building Esker and running Nix takes.
prepare_machine() {
  command -v cargo >/dev/null ||
    fail "there is no \`cargo\`" "Rust comes from https://rustup.rs or your distribution; Cargo.toml names the version"
  want cc gcc libc6-dev
  want git git
  want curl curl ca-certificates
  want xz xz-utils
  if is_debian; then
    # nix-bin is Nix; nix-setup-systemd has its folders, users and service.
    want nix nix-bin nix-setup-systemd
    [ ! -x /usr/bin/nix ] || getent group nixbld >/dev/null || wanted="$wanted nix-setup-systemd"
    # The /bin/sh of the sandbox.
    want busybox busybox-static
  elif ! command -v nix >/dev/null; then
    fail "there is no \`nix\`" "install it from https://nixos.org/download; any version from 2.8 on will do"
  fi
  install_wanted
}

# Whether this user reaches the store: as root directly, else by way of Nix's daemon.
reaches_store() { [ "$(id -u)" = 0 ] || [ -w /nix/var/nix/daemon-socket/socket ] || [ -w /nix/var/nix/db ]; }

# Runs a command as a user who reaches the store.
with_store() {
  if reaches_store; then
    "$@"
  elif command -v sudo >/dev/null; then
    say "no Nix daemon for this user: running as root: $*"
    sudo -H --preserve-env=PATH,NIX_CONFIG,TERM env "PATH=$PATH" "$@"
  else
    fail "this user can neither write the Nix store nor reach its daemon" "start nix-daemon, or run this as root"
  fi
}
