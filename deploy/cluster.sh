#!/usr/bin/env bash
# A cluster of several machines on this one, in containers (deploy/docker-compose.yml): up, down, status, load IMAGE…, test [FLAGS of go test…]
# Running up again changes nothing, or brings in what was built anew. No registry is needed.
#   WAKE_CLUSTER_DIR   keys and kubeconfig (default: /var/lib/wake-cluster)
#   WAKE_CLUSTER_NET   the machines' network, without the last number (default: 172.30.77)
#   WAKE_CLUSTER_PORT  where the API is at 127.0.0.1 (default: 7443)
set -euo pipefail
cd "$(dirname "$0")/.."
export WAKE_CLUSTER_DIR=${WAKE_CLUSTER_DIR:-/var/lib/wake-cluster} WAKE_CLUSTER_NET=${WAKE_CLUSTER_NET:-172.30.77} WAKE_CLUSTER_PORT=${WAKE_CLUSTER_PORT:-7443}
nodes=(node1 node2 node3)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/wake/cluster
began=$SECONDS

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
fail() { printf 'cluster: %s\n' "$*" >&2; exit 1; }

quietly() { # COMMAND… : its output only if it fails
	local log
	log=$(mktemp)
	if ! "$@" >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		fail "$* failed; its whole output is in $log"
	fi
	rm -f "$log"
}

install() { # COMMAND PACKAGE
	command -v "$1" >/dev/null && return
	say "Installing $2"
	deploy/apt.sh "$2"
}

compose() {
	if docker compose version >/dev/null 2>&1; then
		docker compose --project-name wake --file deploy/docker-compose.yml "$@"
	else
		docker-compose --project-name wake --file deploy/docker-compose.yml "$@"
	fi
}

kubectl() { bin/wake --data-dir "$WAKE_CLUSTER_DIR" kubectl "$@"; }

# What a node has beside wake. Another list makes another tree.
packages=docker.io,nftables,iptables,iproute2,conntrack,cgroupfs-mount,procps,haproxy

# base makes the tree of the distribution that node images are based on: once, in about two minutes. It is kept outside of the repository.
base() {
	local suite mirror tree tarball
	suite=$(. /etc/os-release && printf %s "${VERSION_CODENAME:-bookworm}")
	tarball=$cache/node-$suite-$(printf %s "$packages" | sha256sum | cut -c1-12).tar
	if [ ! -e "$tarball" ]; then
		install debootstrap debootstrap
		mirror=$(sed -n 's/^\(URIs: \|deb \(\[[^]]*\] \)\?\)\(https\?:[^ ]*\).*/\3/p' /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null | head -n 1 || true)
		say "Making the nodes' base: $suite with Docker Engine (two minutes, once; kept in $cache)"
		mkdir -p "$cache"
		tree=$(mktemp -d "$cache/tree.XXXXXX")
		trap 'rm -rf "$tree"' EXIT
		quietly debootstrap --variant=minbase --include="$packages" "$suite" "$tree" ${mirror:+"$mirror"}
		rm -rf "$tree"/usr/share/{doc,man,locale,info} "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/debootstrap
		tar -C "$tree" -cf "$tarball.new" .
		mv "$tarball.new" "$tarball"
		rm -rf "$tree"
		trap - EXIT
	fi
	[ "$(docker image inspect --format '{{index .Config.Labels "tree"}}' wake.dev/node-base:dev 2>/dev/null)" = "${tarball##*/}" ] ||
		quietly docker import --change "LABEL tree=${tarball##*/}" "$tarball" wake.dev/node-base:dev
}

images() {
	base
	docker image inspect wake.dev/demo:1 >/dev/null 2>&1 || quietly deploy/demo/build.sh 1
	local context made
	made=$(cat bin/wake deploy/controlplane/* deploy/node/* | sha256sum | cut -c1-32)-$(docker image inspect --format '{{.Id}}' wake.dev/node-base:dev | cut -d: -f2)
	[ "$(docker image inspect --format '{{index .Config.Labels "made"}}' wake.dev/node:dev 2>/dev/null)" != "$made" ] || return 0
	say "Making images of wake"
	context=$(mktemp -d)
	mkdir -p "$context/controlplane" "$context/node"
	cp bin/wake "$context/controlplane/wake"
	cp deploy/controlplane/Dockerfile "$context/controlplane.Dockerfile"
	ldd bin/wake | grep -o '/[^ ]*' | while read -r library; do
		mkdir -p "$context/controlplane$(dirname "$library")"
		cp -L "$library" "$context/controlplane$library"
	done
	ln bin/wake "$context/node/wake" 2>/dev/null || cp bin/wake "$context/node/wake"
	cp deploy/node/* "$context/node/"
	export DOCKER_BUILDKIT=0
	quietly docker build --tag wake.dev/controlplane:dev --label "made=$made" --file "$context/controlplane.Dockerfile" "$context/controlplane"
	quietly docker build --tag wake.dev/node:dev --label "made=$made" "$context/node"
	rm -rf "$context"
}

identity() {
	[ -e "$WAKE_CLUSTER_DIR/cluster.json" ] && return
	say "Making the cluster's identity and keys in $WAKE_CLUSTER_DIR"
	local brokers=() n
	for n in 1 2 3; do brokers+=(--broker "b$n=$WAKE_CLUSTER_NET.1$n"); done
	# The ranges are others than those of "wake up", which may run beside: bridged packets of these machines pass this one's rules.
	quietly bin/wake --data-dir "$WAKE_CLUSTER_DIR" init --cluster-cidr 10.144.0.0/16 --service-cidr 10.112.0.0/16 "${brokers[@]}" --api "https://$WAKE_CLUSTER_NET.21:6443" --api "https://$WAKE_CLUSTER_NET.22:6443" \
		--archive-dir /archive --trust-dir /trust
	# People come in by the front; the contexts wake-1 and wake-2 are the gateways themselves.
	kubectl config set-cluster wake-1 --server "https://$WAKE_CLUSTER_NET.21:6443" --embed-certs --certificate-authority "$WAKE_CLUSTER_DIR/pki/ca.crt" >/dev/null
	kubectl config set-context wake-1 --cluster wake-1 --user kubernetes-admin >/dev/null
	kubectl config set-cluster wake --server "https://127.0.0.1:$WAKE_CLUSTER_PORT" >/dev/null
}

await() { # SECONDS WHAT COMMAND… : until it succeeds
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		if [ $SECONDS -ge $end ]; then
			"$@" || true
			fail "$what: not within the time given; see: $0 status, docker logs wake-…"
		fi
		sleep 0.3
	done
}

answers() { kubectl get --raw /readyz; }

tokens() {
	mkdir -p "$WAKE_CLUSTER_DIR/tokens"
	local node
	for node in "${nodes[@]}"; do
		[ -s "$WAKE_CLUSTER_DIR/tokens/$node" ] ||
			(umask 077 && bin/wake --data-dir "$WAKE_CLUSTER_DIR" token create --node "$node" 2>/dev/null >"$WAKE_CLUSTER_DIR/tokens/$node")
	done
}

load() { # IMAGE… : from this machine's Docker into that of each node
	local image node id
	for image in "$@"; do
		id=$(docker image inspect --format '{{.Id}}' "$image") || fail "this machine's Docker has no image $image: build or import it first"
		for node in "${nodes[@]}"; do
			[ "$(docker exec "wake-$node" docker image inspect --format '{{.Id}}' "$image" 2>/dev/null)" = "$id" ] ||
				docker save "$image" | docker exec -i "wake-$node" docker load >/dev/null || fail "loading $image into $node failed"
		done
	done
}

up() {
	[ "$(id -u)" = 0 ] || fail "Docker, routes and nftables need root: run this command as root"
	docker compose version >/dev/null 2>&1 || install docker-compose docker-compose
	[ -x bin/wake ] || fail "bin/wake is missing: go tool task build"
	images
	identity
	say "Starting the control plane: 3 brokers, 2 gateways and their front, 2 schedulers, 2 of all other services, 2 node feeds, a keeper"
	quietly compose up --detach --no-build $(compose config --services | grep -v '^node')
	await 60 "the API" answers
	note "the API answers after $((SECONDS - began)) s"
	tokens
	say "Starting the nodes: ${nodes[*]}"
	quietly compose up --detach --no-build
	docker image prune --force --filter label=made >/dev/null # of builds before this one
	for node in "${nodes[@]}"; do
		await 60 "the node $node" kubectl get node "$node"
		kubectl wait --for=condition=Ready "node/$node" --timeout=60s >/dev/null
		note "$node is ready after $((SECONDS - began)) s"
	done
	load wake.dev/demo:1
	note "wake.dev/demo:1 is on every node"
	usage
}

usage() {
	say "The cluster is up. Use it:"
	cat <<TEXT
    export KUBECONFIG=$WAKE_CLUSTER_DIR/kubeconfig PATH=$PWD/bin:\$PATH
    wake kubectl get nodes -o wide                      # or your own kubectl
    wake kubectl apply -f deploy/examples/guestbook.yaml
    wake log -f                                         # in another terminal, and then:
    docker kill wake-node2                              # a machine dies …
    docker start wake-node2                             # … and returns
    docker kill wake-broker1 wake-gateway1              # any one of a kind may be missing
    wake why pod/…                                      # what happened to a pod, and why
    deploy/cluster.sh load IMAGE                        # gives nodes an image of this machine's Docker
    go tool task cluster:status
    go tool task cluster:down                           # removes everything
TEXT
}

status() {
	compose ps --all 2>/dev/null || compose ps
	[ ! -e "$WAKE_CLUSTER_DIR/kubeconfig" ] || { echo && bin/wake --data-dir "$WAKE_CLUSTER_DIR" status && echo && kubectl get nodes -o wide; }
}

down() {
	say "Removing the cluster: containers, volumes, $WAKE_CLUSTER_DIR"
	quietly compose down --volumes --remove-orphans --timeout 3
	rm -rf "$WAKE_CLUSTER_DIR"
	local groups
	for groups in /sys/fs/cgroup/wake-cluster /sys/fs/cgroup/*/wake-cluster; do
		[ ! -d "$groups" ] || find "$groups" -depth -type d -exec rmdir {} + 2>/dev/null || true
	done
	note "images and $cache stay: docker image rm wake.dev/node:dev wake.dev/node-base:dev wake.dev/controlplane:dev"
}

# check passes the tests that need the cluster, and removes it if it was started for them.
check() {
	local before=false
	[ ! -e "$WAKE_CLUSTER_DIR/cluster.json" ] || before=true
	up
	deploy/demo/build.sh compose
	load wake.dev/demo:compose
	say "Passing the tests that need it"
	WAKE_TEST_CLUSTER=$WAKE_CLUSTER_DIR go test -count=1 -v -timeout 15m "$@" ./itest/compose || fail "the cluster is left as it is; its processes' logs: docker logs wake-…"
	$before || down
}

case ${1:-} in
up | down | status) "$1" ;;
load) shift && load "$@" ;;
test) shift && check "$@" ;;
*) fail "say up, down, status, load IMAGE… or test" ;;
esac
