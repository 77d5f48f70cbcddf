package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
)

// Config says which Docker to use and how pods are kept in it.
type Config struct {
	Host    string // of the Docker API; empty: DOCKER_HOST or the default socket
	Cluster string // label value of all that belongs to this cluster's node
	Network string // name of the bridge network that pods are on, if it isn't Docker's own
	PodCIDR string // the pods' addresses; empty, or those of Docker's own bridge: pods are on that, which starts them much faster
	Bridge  string // name of the network's interface; empty: Docker chooses
	MTU     int    // of the pods' interfaces; 0: Docker's default
}

// Docker is a node's Docker Engine.
type Docker struct {
	client *client.Client
	config Config
	spares bool // negative OOM score adjustments work here
}

// connectWithin bounds the calls that prepare the engine.
const connectWithin = 30 * time.Second

// Open connects to Docker and prepares what pods need: the pause image and the pod network.
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
	if err := errors.Join(d.ensurePauseImage(ctx), d.ensureNetwork(ctx)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return d, nil
}

// Close ends the connection. Containers go on.
func (d *Docker) Close() error { return d.client.Close() }

// dockerBridge is the network that every Docker Engine has. Docker runs a DNS proxy of its own, with packet filter rules, in each
// container on any other network, which takes longer than everything else about a sandbox.
const dockerBridge = "bridge"

// ensureNetwork chooses the pod network, and creates it unless it is there.
func (d *Docker) ensureNetwork(ctx context.Context) error {
	if d.config.PodCIDR == "" {
		d.config.Network = dockerBridge
		return nil
	}
	if own, err := d.client.NetworkInspect(ctx, dockerBridge, network.InspectOptions{}); err == nil && hasSubnet(own, d.config.PodCIDR) {
		d.config.Network = dockerBridge
		return nil
	}
	found, err := d.client.NetworkInspect(ctx, d.config.Network, network.InspectOptions{})
	switch {
	case err == nil:
		return d.checkNetwork(found)
	case !cerrdefs.IsNotFound(err):
		return fmt.Errorf("looking for the pod network %s: %w", d.config.Network, err)
	}
	create := network.CreateOptions{
		Driver:  "bridge",
		Labels:  map[string]string{labelCluster: d.config.Cluster},
		Options: map[string]string{},
		IPAM:    &network.IPAM{Config: []network.IPAMConfig{{Subnet: d.config.PodCIDR}}},
	}
	for option, value := range map[string]string{
		bridgeNameOption:                d.config.Bridge,
		"com.docker.network.driver.mtu": positive(d.config.MTU),
	} {
		if value != "" {
			create.Options[option] = value
		}
	}
	if _, err := d.client.NetworkCreate(ctx, d.config.Network, create); err != nil && !cerrdefs.IsConflict(err) {
		return fmt.Errorf("creating the pod network %s with the addresses %q: %w", d.config.Network, d.config.PodCIDR, err)
	}
	return nil
}

// checkNetwork refuses a network whose addresses aren't the node's.
func (d *Docker) checkNetwork(found network.Inspect) error {
	if hasSubnet(found, d.config.PodCIDR) {
		return nil
	}
	return fmt.Errorf("the Docker network %s exists with other addresses than the node's %s; stop its pods and run: docker network rm %s",
		d.config.Network, d.config.PodCIDR, d.config.Network)
}

func hasSubnet(n network.Inspect, subnet string) bool {
	return slices.ContainsFunc(n.IPAM.Config, func(c network.IPAMConfig) bool { return c.Subnet == subnet })
}

func positive(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprint(n)
}

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
