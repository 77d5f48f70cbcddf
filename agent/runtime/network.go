package runtime

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
)

const bridgeNameOption = "com.docker.network.bridge.name"

// PodNetwork returns the addresses of the network that pods are on, and the name of its interface.
func (d *Docker) PodNetwork(ctx context.Context) (nets []netip.Prefix, device string, err error) {
	found, err := d.client.NetworkInspect(ctx, d.config.Network, network.InspectOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("looking at the pod network %s: %w", d.config.Network, err)
	}
	for _, c := range found.IPAM.Config {
		prefix, err := netip.ParsePrefix(c.Subnet)
		if err != nil {
			return nil, "", fmt.Errorf("the pod network %s has the addresses %q: %w", d.config.Network, c.Subnet, err)
		}
		if prefix.Addr().Is4() {
			nets = append(nets, prefix)
		}
	}
	if len(nets) == 0 {
		return nil, "", fmt.Errorf("the pod network %s has no IPv4 addresses: start dockerd with a bridge (--bip), or choose addresses with --pod-cidr", d.config.Network)
	}
	device = found.Options[bridgeNameOption]
	if device == "" {
		device = "br-" + found.ID[:12] // what Docker calls the interface of a network that names none
	}
	return nets, device, nil
}

// removeNetworks removes the networks that were created for the cluster; Docker's own stays.
func (d *Docker) removeNetworks(ctx context.Context) error {
	own, err := d.client.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("label", labelCluster+"="+d.config.Cluster))})
	if err != nil {
		return fmt.Errorf("listing the cluster's networks: %w", err)
	}
	for _, n := range own {
		if err := d.client.NetworkRemove(ctx, n.ID); err != nil {
			return fmt.Errorf("removing the pod network %s: %w", n.Name, err)
		}
	}
	return nil
}
