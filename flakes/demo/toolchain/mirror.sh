#!/bin/sh
# mirror.sh: print the Debian archive that this machine's apt sources name, without a
# trailing slash. ESKER_DEB_MIRROR overrides it (also the way on machines without apt).
set -eu
if [ "${ESKER_DEB_MIRROR:-}" ]; then
  echo "${ESKER_DEB_MIRROR%/}"
  exit
fi
found=$(
  # Both formats of apt's sources; the security archive holds only part of the pool.
  cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
    awk '
      /^URIs:/    { for (i = 2; i <= NF; i++) print $i }
      $1 == "deb" { sub(/^deb +(\[[^]]*\] +)?/, ""); print $1 }' |
    grep -v security | grep '/debian/\{0,1\}$' | head -n 1
) || true
if [ -z "$found" ]; then
  echo "error: the apt sources of this machine name no Debian archive" >&2
  echo "hint: set ESKER_DEB_MIRROR to the address of one (the folder that holds \`pool\`)" >&2
  exit 1
fi
echo "${found%/}"
