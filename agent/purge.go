package agent

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/wakehq/wake/agent/runtime"
	"github.com/wakehq/wake/agent/volume"
)

// Purge removes what agents of the configuration's cluster left on this machine: containers, the pod network, and the pods' files, mounted
// volumes first. It returns how many containers there were. No agent of the cluster may run here.
func Purge(ctx context.Context, config Config) (count int, err error) {
	docker, err := runtime.Open(ctx, runtimeConfig(config))
	if err != nil {
		return 0, fmt.Errorf("connecting to Docker: %w", err)
	}
	defer func() { _ = docker.Close() }()
	if count, err = docker.Purge(ctx); err != nil {
		return count, err
	}
	pods, err := filepath.Glob(filepath.Join(podsDir(config), "*"))
	if err != nil {
		return count, fmt.Errorf("listing the pods' files: %w", err)
	}
	for _, dir := range pods {
		if err := volume.Remove(dir); err != nil {
			return count, err
		}
	}
	net, err := openNetwork(&config)
	if err != nil {
		return count, err
	}
	return count, net.Remove(ctx)
}

// podsDir holds a directory for each pod.
func podsDir(config Config) string { return filepath.Join(config.Root, "pods") }

// runtimeConfig is how the runtime knows the cluster's own.
func runtimeConfig(config Config) runtime.Config {
	return runtime.Config{Host: config.DockerHost, Cluster: config.Cluster}
}
