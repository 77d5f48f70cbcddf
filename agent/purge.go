package agent

import (
	"context"
	"fmt"

	"github.com/wakehq/wake/agent/runtime"
)

// Purge removes what agents of the configuration's cluster left on this machine's Docker: containers, and the pod network. It
// returns how many containers there were. No agent of the cluster may run here.
func Purge(ctx context.Context, config Config) (count int, err error) {
	docker, err := runtime.Open(ctx, runtimeConfig(config))
	if err != nil {
		return 0, fmt.Errorf("connecting to Docker: %w", err)
	}
	defer func() { _ = docker.Close() }()
	return docker.Purge(ctx)
}

// runtimeConfig is how the runtime knows the cluster's own.
func runtimeConfig(config Config) runtime.Config {
	return runtime.Config{
		Host: config.DockerHost, Cluster: config.Cluster, Network: "wake-" + config.Cluster,
		PodCIDR: config.PodCIDR, Bridge: config.Bridge, MTU: config.MTU,
	}
}
