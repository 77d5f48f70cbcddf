#!/usr/bin/env bash
# Measures what docs/benchmarks.md tells of, one part after the other: give a pattern to measure some only, as in deploy/bench.sh Deployment.
# COUNT (3) is how often each is measured; take the medians. What runs beside it on the machine counts too, so the load is shown.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/bin:$PATH"
only=${1:-.}
count=${COUNT:-3}

measure() {
    printf '\n\033[1m==> %s\033[0m (load %s)\n' "$1" "$(cut -d' ' -f1-3 /proc/loadavg)"
    go test -run '^$' -bench "$3" -benchtime "${4:-1x}" -count "$count" -timeout 30m "$2" | grep -E '^(Benchmark|---|FAIL|panic)|^ +.*(Error|error):'
}

inmachine() {
    printf '\n\033[1m==> %s\033[0m (load %s)\n' "$1" "$(cut -d' ' -f1-3 /proc/loadavg)"
    deploy/vm.sh -timeout 30m -memory 3072 "$2" -test.run '^$' -test.bench "$3" -test.benchtime 1x -test.count "$count" | grep -E '^(Benchmark|---|FAIL|panic|boot)|^ +.*(Error|error):'
}

[[ Append =~ $only ]] && measure "Appending, beside the raw broker (of-raw: ours to its, more is better)" ./events/jetstream 'BenchmarkAppend' 5x
[[ Follow =~ $only ]] && measure "Following and folding, beside a raw consumer (of-raw: more is better)" ./events/jetstream 'BenchmarkFollow'
[[ Load =~ $only ]] && measure "Loading 100,000 objects, eagerly and lazily" ./events 'BenchmarkLoad'
[[ Restart =~ $only ]] && measure "Loading 100,000 objects from the stream" ./events/jetstream 'BenchmarkRestart'
[[ Restart =~ $only ]] && measure "wake up again, with 1,000,000 events and 100,000 objects" ./itest/bench 'BenchmarkRestart'
[[ History =~ $only ]] && measure "Looking into a history of 1,000,000 events and 100,000 objects" ./events/archive 'BenchmarkHistory/(object|history|state|present)' 20x
[[ History =~ $only ]] && measure "Archiving and replaying it, and its bytes" ./events/archive 'BenchmarkHistory/(archiving|replay|compressed)'
[[ Past =~ $only ]] && measure "Looking into it over the API of a running cluster" ./itest/bench 'BenchmarkPast' 20x
[[ Week =~ $only ]] && measure "A week of a 1,000-pod cluster, replayed" ./itest/bench 'BenchmarkReplayWeek'
[[ Proof =~ $only ]] && measure "Witnessing and proving, beside raw reading" ./events/trust 'BenchmarkCheck|BenchmarkStored'
[[ Verify =~ $only ]] && measure "Deciding recorded history again" ./services/verify 'Benchmark'
[[ WhatIf =~ $only ]] && measure "What if a node were killed" ./itest/simulation 'BenchmarkKilledNode'
[[ Changes =~ $only ]] && measure "Telling 10,000 changes, over the API" ./gateway 'BenchmarkChanges'
[[ Scheduler =~ $only ]] && measure "Scheduling 10,000 pods on 5,000 nodes" ./itest/bench 'BenchmarkScheduler'
[[ Deployment =~ $only ]] && measure "A Deployment from 0 to 5,000 replicas on 5,000 nodes, over the API" ./itest/bench 'BenchmarkDeployment'
[[ Containers =~ $only ]] && measure "30 pods on Docker Engine, beside docker run of their 60 containers (of-raw: less is better)" ./itest/bench 'BenchmarkContainers'
[[ FirstRequest =~ $only ]] && measure "The first request to a new pod on another node, after it is ready" ./itest/bench 'BenchmarkFirstRequest'
[[ Services =~ $only ]] && measure "Through a service against straight to the pod, with nftables (ratio: more is better)" ./agent/proxy/nft 'BenchmarkPath'
[[ Services =~ $only ]] && measure "Programming 10,000 services of 100,000 endpoints, with nftables, and changing one endpoint" ./agent/proxy/nft 'BenchmarkProgramming'
[[ Services =~ $only ]] && measure "An endpoint more, of one of 10,000 services: from the event in the ledger until the node serves it" ./itest/bench 'BenchmarkEventToRule'
[[ Services =~ $only ]] && inmachine "The same with IPVS, in its virtual machine" ./agent/proxy/ipvs 'Benchmark(Path|Programming)/ipvs'
[[ Idle =~ $only ]] && measure "wake up, idle for a minute" ./itest/bench 'BenchmarkIdle'
exit 0
