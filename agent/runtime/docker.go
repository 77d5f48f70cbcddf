package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/client"
)

// Config says which Docker to use and how pods are kept in it.
type Config struct {
	Host    string // of the Docker API; empty: DOCKER_HOST or the default socket
	Cluster string // label value of all that belongs to this cluster's node
}

// Docker is a node's Docker Engine.
type Docker struct {
	client *client.Client
	config Config
	spares bool // negative OOM score adjustments work here
}

// connectWithin bounds the calls that prepare the engine.
const connectWithin = 30 * time.Second

// Open connects to Docker and prepares what pods need: the pause image.
func Open(ctx context.Context, config Config) (*Docker, error) {
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if config.Host != "" {
		options = append(options, client.WithHost(config.Host))
	}
	c, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, fmt.Errorf("setting up the Docker client for %q: %w", config.Host, err)
	}
	d := &Docker{client: c, config: config, spares: maySpare()}
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	if _, err := c.Ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("no Docker Engine at %s (is dockerd running, and may this user reach it?): %w", c.DaemonHost(), err), c.Close())
	}
	if err := d.ensurePauseImage(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return d, nil
}

// Close ends the connection. Containers go on.
func (d *Docker) Close() error { return d.client.Close() }

// Info is what Docker says of the machine that it runs on.
type Info struct {
	CPUs            int
	Memory          int64 // bytes
	Kernel          string
	OperatingSystem string
	Architecture    string // as Go names it
	Version         string // of Docker
	RootDir         string // where images and containers lie
}

// Info asks Docker about its machine.
func (d *Docker) Info(ctx context.Context) (Info, error) {
	i, err := d.client.Info(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("asking Docker about the machine: %w", err)
	}
	arch := i.Architecture
	switch arch {
	case "x86_64":
		arch = "amd64"
	case "aarch64":
		arch = "arm64"
	}
	return Info{
		CPUs: i.NCPU, Memory: i.MemTotal, Kernel: i.KernelVersion, OperatingSystem: i.OperatingSystem,
		Architecture: arch, Version: i.ServerVersion, RootDir: i.DockerRootDir,
	}, nil
}
