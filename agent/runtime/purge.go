package runtime

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"
)

// removals is how many containers are removed in parallel.
const removals = 4

// Purge stops and removes every container of the cluster without grace, and the pod network. It returns how many containers there were.
func (d *Docker) Purge(ctx context.Context) (int, error) {
	listed, err := d.client.ContainerList(ctx, container.ListOptions{All: true, Filters: d.mine()})
	if err != nil {
		return 0, fmt.Errorf("listing the cluster's containers: %w", err)
	}
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(removals)
	for _, c := range listed {
		group.Go(func() error { return d.Remove(inner, c.ID) })
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	return len(listed), d.removeNetworks(ctx)
}
