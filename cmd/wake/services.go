package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wakehq/wake/services/nodeipam"
	"github.com/wakehq/wake/services/scheduler"
)

// serviceNames are the names of a cluster's services, in their order.
func serviceNames() (names []string) {
	// One of those that are only there if nodes get ranges for their pods, as every cluster's do now.
	ranged := deciding{pods: podRanges{ClusterCIDR: nodeipam.DefaultRange.Prefix.String(), MaskSize4: nodeipam.DefaultMask4, MaskSize6: nodeipam.DefaultMask6}}
	for _, d := range ranged.deciders(scheduler.Config{}) {
		if !slices.Contains(names, d.Name()) {
			names = append(names, d.Name())
		}
	}
	return names
}

func servicesCommand(place *location) *cobra.Command {
	r := newRole(place, "services")
	var without []string
	c := &cobra.Command{
		Use:   "services [NAME...]",
		Short: "Run a cluster's services (scheduler, controllers), all or some of them",
		Long: `Run a cluster's services, all or those that are named: ` + strings.Join(serviceNames(), ", ") + `.

Any number of processes may run the same one: each decides, the ledger takes what comes first, and the others see it. It runs until Ctrl-C.`,
		Example: `  wake services
  wake services scheduler
  wake services --without scheduler`,
		ValidArgs: serviceNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted, err := chooseServices(args, without)
			if err != nil {
				return err
			}
			r.name = "services (" + strings.Join(wanted, ", ") + ")"
			return r.run(cmd, retention{}, func(ctx context.Context, p *plane, g *errgroup.Group) (string, error) {
				p.runDeciders(ctx, g, func(service string) bool { return slices.Contains(wanted, service) })
				return fmt.Sprintf("at revision %d", p.view.Status().Revision), nil
			})
		},
	}
	c.Flags().StringSliceVar(&without, "without", nil, "services to leave out")
	r.flags(c.Flags())
	return c
}

// chooseServices returns which services to run.
func chooseServices(named, without []string) ([]string, error) {
	all := serviceNames()
	for _, name := range append(slices.Clone(named), without...) {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("there is no service %q; there are %s", name, strings.Join(all, ", "))
		}
	}
	wanted := slices.DeleteFunc(all, func(name string) bool {
		return slices.Contains(without, name) || len(named) > 0 && !slices.Contains(named, name)
	})
	if len(wanted) == 0 {
		return nil, fmt.Errorf("no service is left to run: all that were named are left out by --without")
	}
	return wanted, nil
}
