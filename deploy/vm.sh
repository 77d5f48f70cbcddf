#!/usr/bin/env bash
# Puts what a virtual machine for tests is made of (the distribution's cloud kernel with its modules, a static busybox) into a cache, installs
# qemu when it is missing, and runs a package's tests there: deploy/vm.sh ./agent/proxy/ipvs -test.run Behaviour
# Without arguments it tests the virtual machine itself and then all that needs it.
set -euo pipefail

fail() { printf 'vm: %s\n' "$*" >&2; exit 1; }

cache=${WAKE_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/wake/vm}
export WAKE_VM_CACHE=$cache

if ! command -v qemu-system-x86_64 >/dev/null; then
	"$(dirname "$0")/apt.sh" qemu-system-x86 seabios
fi

if [ ! -e "$cache/complete" ]; then
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
		fail "need apt-get and dpkg-deb to fetch a kernel; or put vmlinuz, modules/ and a static busybox into $cache and touch $cache/complete"
	latest() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image-/ {print $2; exit}'; }
	kernel=$(latest)
	if [ -z "$kernel" ] && [ "$(id -u)" = 0 ]; then
		apt-get update >/dev/null
		kernel=$(latest)
	fi
	[ -n "$kernel" ] || fail "the package lists have no linux-image-cloud-amd64: apt-get update"
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/fetch.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	get() { (cd "$work" && apt-get -o Acquire::Retries=3 download "$kernel" busybox-static >/dev/null 2>log); }
	# Old lists may name a kernel that the mirror no longer has.
	get || { [ "$(id -u)" = 0 ] && apt-get update >/dev/null && kernel=$(latest) && get; } || { cat "$work/log" >&2; fail "downloading $kernel and busybox-static failed"; }
	for deb in "$work"/*.deb; do dpkg-deb -x "$deb" "$work/tree"; done
	rm -rf "$cache/modules"
	mv "$work"/tree/lib/modules/* "$cache/modules"
	mv "$work"/tree/boot/vmlinuz-* "$cache/vmlinuz"
	cp "$work/tree/bin/busybox" "$cache/busybox"
	touch "$cache/complete"
fi

[ $# -gt 0 ] && exec go run ./itest/vm/boot "$@"
go test -count=1 ./itest/vm
go run ./itest/vm/boot ./agent/proxy/ipvs
