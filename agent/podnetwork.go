package agent

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/wakehq/wake/agent/runtime"
)

// PodNetwork returns the addresses of the pods on this machine and the interface that they are behind, as an agent with this configuration
// has them. It creates the network if need be.
func PodNetwork(ctx context.Context, config Config) (nets []netip.Prefix, device string, err error) {
	docker, err := runtime.Open(ctx, runtimeConfig(config))
	if err != nil {
		return nil, "", fmt.Errorf("node %s: %w", config.NodeName, err)
	}
	defer func() { _ = docker.Close() }()
	return docker.PodNetwork(ctx)
}
