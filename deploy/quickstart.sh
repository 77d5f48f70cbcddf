#!/usr/bin/env bash
# The main job from nothing: builds wake and a demo image, starts a cluster, runs an application on it, and shows who answered and why.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/bin:$PATH"

began=$SECONDS
say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }

say "Building wake (the first time takes some minutes: Kubernetes' libraries are compiled too)"
go tool task --silent build
say "Making the demo image wake.dev/demo:1 (one binary, no registry)"
deploy/demo/build.sh 1

say "wake up --detach"
wake up --detach

say "wake kubectl apply -f deploy/examples/guestbook.yaml"
wake kubectl apply -f deploy/examples/guestbook.yaml
wake kubectl rollout status deployment/guestbook --timeout=60s
wake kubectl get pods -l app=guestbook -o wide

address=$(wake kubectl get service guestbook -o jsonpath='{.spec.clusterIP}')
say "Calling the Service at http://$address until every replica has answered"
want=$(wake kubectl get pods -l app=guestbook --field-selector=status.phase=Running -o name | wc -l)
declare -A answered=()
calls=0
while [ ${#answered[@]} -lt "$want" ] && [ "$calls" -lt 100 ]; do
	reply=$(curl --silent --show-error --max-time 2 --retry 5 --retry-all-errors --retry-delay 1 "http://$address/")
	calls=$((calls + 1))
	[ -n "${answered[$reply]:-}" ] || printf '    %s\n' "$reply"
	answered[$reply]=$((${answered[$reply]:-0} + 1))
done
if [ ${#answered[@]} -lt "$want" ]; then
	echo "only ${#answered[@]} of $want replicas answered $calls calls; see: wake kubectl describe pods" >&2
	exit 1
fi
printf '    %d calls, all %d replicas answered.\n' "$calls" "$want"

say "wake log: what happened, who did it, what caused it"
wake log -n default
pod=$(wake kubectl get pods -l app=guestbook -o 'jsonpath={.items[0].metadata.name}')
say "wake why pod/$pod"
wake why "pod/$pod"

say "Done in $((SECONDS - began)) s. Try next:"
cat <<TEXT
    export PATH=$PWD/bin:\$PATH
    wake kubectl scale deployment/guestbook --replicas=5
    wake kubectl set env deployment/guestbook GREETING=Hello     # a rolling update
    wake log deployment/guestbook -p                             # what was changed, and by whom
    wake blame deployment/guestbook                              # who set each field last
    wake at -1m get pods                                         # the cluster as it was
    wake diff -1m                                                # what changed since, field by field
    wake what-if --scale deployment/guestbook=500                # what would happen; nothing is written
    wake kubectl delete deployment guestbook                     # a mistake …
    wake restore deployment/guestbook --at -1m                   # … and back (a moment before it)
    wake verify                                                  # is the record whole, was every decision right?
    export KUBECONFIG=\$(wake kubeconfig)                         # for your own kubectl
    wake down                                                    # stop it; wake down --purge removes everything
TEXT
