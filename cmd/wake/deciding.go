package main

import (
	"fmt"
	"os"

	"github.com/wakehq/wake/services/garbage"
	"github.com/wakehq/wake/services/ingress"
	"github.com/wakehq/wake/services/job"
	"github.com/wakehq/wake/services/loadbalancer"
	"github.com/wakehq/wake/services/namespace"
	"github.com/wakehq/wake/services/node"
	"github.com/wakehq/wake/services/nodeipam"
	"github.com/wakehq/wake/services/replication"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/scheduler"
	"github.com/wakehq/wake/services/service"
)

// deciding is how a cluster's deciders are set up: all that their decisions depend on besides the ledger.
type deciding struct {
	services  serviceRanges // where the addresses of services come from
	pods      podRanges     // where those of nodes' pods do
	authority string        // the certificate that clients trust, PEM
}

// The names under which recordings keep it.
const (
	settingServices  = "serviceCIDR"
	settingAuthority = "authority"
	settingPods      = "clusterCIDR"
	settingMasks     = "nodeCIDRMaskSizes" // "24,64"
)

// settings words d for a recording.
func (d deciding) settings() map[string]string {
	settings := map[string]string{settingServices: d.services.String(), settingAuthority: d.authority}
	if d.pods.ClusterCIDR != "" {
		settings[settingPods] = d.pods.ClusterCIDR
		settings[settingMasks] = fmt.Sprintf("%d,%d", d.pods.MaskSize4, d.pods.MaskSize6)
	}
	return settings
}

// decidingOf reads what settings gives.
func decidingOf(settings map[string]string) (deciding, error) {
	services, err := parseServiceRanges(settings[settingServices])
	if err != nil {
		return deciding{}, fmt.Errorf("the recording's %s: %w", settingServices, err)
	}
	d := deciding{services: services, authority: settings[settingAuthority]}
	if d.pods.ClusterCIDR = settings[settingPods]; d.pods.ClusterCIDR == "" {
		return d, nil // of a time when nodes got no ranges
	}
	if _, err := fmt.Sscanf(settings[settingMasks], "%d,%d", &d.pods.MaskSize4, &d.pods.MaskSize6); err != nil {
		return deciding{}, fmt.Errorf("the recording's %s %q: %w", settingMasks, settings[settingMasks], err)
	}
	if _, err := d.pods.parse(); err != nil {
		return deciding{}, fmt.Errorf("the recording's %s: %w", settingPods, err)
	}
	return d, nil
}

// deciders are the services of a cluster. Each call gives ones that have seen nothing yet.
func (d deciding) deciders(scheduling scheduler.Config) []runner.Decider {
	all := []runner.Decider{
		scheduler.NewWith(scheduling),
		replication.NewDeployments(), replication.NewSets(),
		job.New(),
		service.NewAddresses(d.services...), service.NewEndpoints(), loadbalancer.New(), ingress.New(),
		garbage.New(),
		namespace.New(d.authority),
		node.New(),
	}
	if ranges, err := d.pods.parse(); err == nil && len(ranges) > 0 { // who made d has checked it
		all = append(all, nodeipam.New(ranges))
	}
	return all
}

// schedulerConfig reads a scheduler's configuration; no name is the default one.
func schedulerConfig(name string) (scheduler.Config, error) {
	if name == "" {
		return scheduler.Config{}, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return scheduler.Config{}, fmt.Errorf("--scheduler-config: %w", err)
	}
	config, err := scheduler.ParseConfig(data)
	if err != nil {
		return scheduler.Config{}, fmt.Errorf("--scheduler-config %s: %w", name, err)
	}
	return config, nil
}
