#!/bin/sh
# test-node.sh: what the tests of the server need of npm, into target/node: Prism with GitHub's own
# description of its API, and playwright-core, which drives the Chromium that is installed. Does
# nothing when it is there already.
set -eu
cd "$(dirname "$0")/.."
from=scripts/node
to=target/node

mkdir -p "$to"
if ! cmp -s "$from/package-lock.json" "$to/package-lock.json" || ! [ -e "$to/github.json" ]; then
  cp "$from/package.json" "$to/"
  rm -f "$to/package-lock.json" "$to/github.json"
  # A lock file in the folder says that the installation is complete: so it comes last.
  mkdir -p "$to/fresh"
  cp "$from/package.json" "$from/package-lock.json" "$to/fresh/"
  npm ci --prefix "$to/fresh" --no-audit --no-fund --ignore-scripts --loglevel error
  rm -rf "$to/node_modules"
  mv "$to/fresh/node_modules" "$to/node_modules"
  node "$from/trim.mjs" "$to/node_modules/@octokit/openapi/generated/api.github.com.json" "$to/github.json" \
    '/repos/{owner}/{repo}/statuses/{sha}'
  mv "$to/fresh/package-lock.json" "$to/package-lock.json"
  rm -rf "$to/fresh"
fi
cp "$from"/*.mjs "$to/"
