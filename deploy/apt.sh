#!/usr/bin/env bash
# Installs packages of the distribution, and says what went wrong if they can't be: deploy/apt.sh nftables curl
set -euo pipefail

fail() { printf 'apt: %s\n' "$*" >&2; exit 1; }

command -v apt-get >/dev/null || fail "missing: $*; install them with your distribution's package manager"
[ "$(id -u)" = 0 ] || fail "missing: $*; installing them needs root"
log=$(mktemp)
get() { DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 "$@" >>"$log" 2>&1; }
# The lists may be there and of today, and then needn't be fetched.
if ! get install -y --no-install-recommends "$@" && ! { get update && get install -y --no-install-recommends "$@"; }; then
	tail -n 20 "$log" >&2
	fail "installing $* failed; the whole output is in $log"
fi
rm -f "$log"
