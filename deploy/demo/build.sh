#!/usr/bin/env bash
# Builds the demo image wake.dev/demo:1 FROM scratch: no registry is needed.
set -euo pipefail
cd "$(dirname "$0")/../.."
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$context/demo" ./deploy/demo
docker build --quiet --tag "wake.dev/demo:${1:-1}" --file deploy/demo/Dockerfile "$context" >/dev/null
