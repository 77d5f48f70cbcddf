#!/bin/bash
# Runs dockerd and the node's agent, and starts again whichever ends, as a machine's init would: killing one does not take the other with it.
set -euo pipefail

say() { printf 'node: %s\n' "$*" >&2; }

# Docker hides parts of /proc from a container, and lets it write to none of its settings. A node hands /proc on to containers of its own, and sets what routing needs.
awk '$2 ~ "^/proc/" {print $2}' /proc/self/mounts | sort -r | while read -r path; do umount "$path" || say "could not uncover $path"; done

# What the last run of this machine left in the control groups, which are the host's.
parent=/wake-cluster/$(hostname)
for groups in /sys/fs/cgroup"$parent" /sys/fs/cgroup/*"$parent"; do
	[ ! -d "$groups" ] || find "$groups" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true
done

keep() { # runs a command for as long as the machine is up
	while :; do
		"$@" || true
		say "$1 ended; starting it again"
		sleep 1
	done
}

keep dockerd --live-restore --cgroup-parent "$parent" --log-level warn &
until docker info >/dev/null 2>&1; do sleep 0.2; done
keep wake agent --join @/etc/wake/token --server https://gateway:6443 &
wait
