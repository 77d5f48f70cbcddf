#!/usr/bin/env bash
# Makes the demo image wake.dev/demo:1 (or the tag given) from one static binary: no registry is needed.
set -euo pipefail
cd "$(dirname "$0")/../.."
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$context/demo" ./deploy/demo
tar -C "$context" -c demo | docker import --change 'ENTRYPOINT ["/demo"]' --change 'EXPOSE 8080' - "wake.dev/demo:${1:-1}" >/dev/null
