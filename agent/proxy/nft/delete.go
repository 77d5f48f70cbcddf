package nft

import (
	"context"
	"fmt"

	"sigs.k8s.io/knftables"
)

// Delete removes a cluster's table and all its rules, if there is one. Its routes go with the pod network's device.
func Delete(ctx context.Context, table string) error {
	nft, err := knftables.New(ipv4.nft, table)
	if err != nil {
		return unusable(err)
	}
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{}) // deleting what isn't there would fail
	tx.Delete(&knftables.Table{})
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("removing nftables table %s %s: %w", ipv4.nft, table, err)
	}
	return nil
}
