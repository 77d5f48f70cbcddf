package runtime

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
)

// removeNetworks removes the networks that earlier versions created for the cluster; Docker's own stays.
func (d *Docker) removeNetworks(ctx context.Context) error {
	own, err := d.client.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("label", labelCluster+"="+d.config.Cluster))})
	if err != nil {
		return fmt.Errorf("listing the cluster's networks: %w", err)
	}
	for _, n := range own {
		if err := d.client.NetworkRemove(ctx, n.ID); err != nil {
			return fmt.Errorf("removing the network %s: %w", n.Name, err)
		}
	}
	return nil
}
