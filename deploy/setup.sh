#!/usr/bin/env bash
# Installs what a Wake node needs from the distribution, and starts dockerd when none runs. Running it again changes nothing.
set -euo pipefail

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "Docker, routes and nftables need root: run this command as root"
exec 9>/run/wake-setup.lock && flock 9 # one at a time

missing=()
command -v dockerd >/dev/null || missing+=(docker.io)
command -v docker >/dev/null || missing+=(docker.io)
command -v nft >/dev/null || missing+=(nftables)
command -v conntrack >/dev/null || missing+=(conntrack)
command -v ip >/dev/null || missing+=(iproute2)
command -v curl >/dev/null || missing+=(curl)
# systemd mounts the control groups; elsewhere something else must.
bare=false
if [ ! -d /run/systemd/system ] && ! mountpoint -q /sys/fs/cgroup; then
	bare=true
	command -v cgroupfs-mount >/dev/null || missing+=(cgroupfs-mount)
fi
if [ ${#missing[@]} -gt 0 ]; then
	say "Installing ${missing[*]}"
	"$(dirname "$0")/apt.sh" "${missing[@]}" 9>&- # a package may start a daemon, which must not keep the lock
fi

docker info >/dev/null 2>&1 && exit 0
say "Starting dockerd"
if [ -d /run/systemd/system ]; then
	systemctl start docker
else
	mkdir -p /var/log
	if $bare; then cgroupfs-mount; fi
	setsid nohup dockerd >>/var/log/dockerd.log 2>&1 </dev/null 9>&- &
fi
for _ in $(seq 600); do
	docker info >/dev/null 2>&1 && exit 0
	sleep 0.2
done
fail "dockerd did not answer within two minutes; see /var/log/dockerd.log or journalctl -u docker"
