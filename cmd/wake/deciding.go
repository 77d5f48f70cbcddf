package main

import (
	"fmt"
	"os"

	"github.com/wakehq/wake/services/garbage"
	"github.com/wakehq/wake/services/job"
	"github.com/wakehq/wake/services/loadbalancer"
	"github.com/wakehq/wake/services/namespace"
	"github.com/wakehq/wake/services/node"
	"github.com/wakehq/wake/services/replication"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/scheduler"
	"github.com/wakehq/wake/services/service"
)

// deciding is how a cluster's deciders are set up: all that their decisions depend on besides the ledger.
type deciding struct {
	services  serviceRanges // where the addresses of services come from
	authority string        // the certificate that clients trust, PEM
}

// The names under which recordings keep it.
const (
	settingServices  = "serviceCIDR"
	settingAuthority = "authority"
)

// settings words d for a recording.
func (d deciding) settings() map[string]string {
	return map[string]string{settingServices: d.services.String(), settingAuthority: d.authority}
}

// decidingOf reads what settings gives.
func decidingOf(settings map[string]string) (deciding, error) {
	services, err := parseServiceRanges(settings[settingServices])
	if err != nil {
		return deciding{}, fmt.Errorf("the recording's %s: %w", settingServices, err)
	}
	return deciding{services: services, authority: settings[settingAuthority]}, nil
}

// deciders are the services of a cluster. Each call gives ones that have seen nothing yet.
func (d deciding) deciders(scheduling scheduler.Config) []runner.Decider {
	return []runner.Decider{
		scheduler.NewWith(scheduling),
		replication.NewDeployments(), replication.NewSets(),
		job.New(),
		service.NewAddresses(d.services...), service.NewEndpoints(), loadbalancer.New(),
		garbage.New(),
		namespace.New(d.authority),
		node.New(),
	}
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
