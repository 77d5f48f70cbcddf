package main

import (
	"slices"
	"testing"

	"github.com/wakehq/wake/services/nodeipam"
	"github.com/wakehq/wake/services/scheduler"
)

// Every decider that "wake up" runs is one that "wake services" runs too: else nobody decides it in a cluster of many processes.
func TestServicesAreThoseOfWakeUp(t *testing.T) {
	of := deciding{pods: podRanges{ClusterCIDR: nodeipam.DefaultRange.Prefix.String() + ",fd00:244::/56", MaskSize4: 24, MaskSize6: 64}}
	wanted, err := chooseServices(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range of.deciders(scheduler.Config{}) {
		if !slices.Contains(wanted, d.Name()) {
			t.Errorf("wake services leaves out %s", d.Name())
		}
	}
	if rest, err := chooseServices(nil, []string{"scheduler"}); err != nil || len(rest) != len(wanted)-1 || slices.Contains(rest, "scheduler") {
		t.Errorf("without the scheduler there are %v (%v)", rest, err)
	}
	if one, err := chooseServices([]string{"node-ipam"}, nil); err != nil || !slices.Equal(one, []string{"node-ipam"}) {
		t.Errorf("node-ipam alone is %v (%v)", one, err)
	}
	if all, err := chooseServices([]string{"node-ipma"}, nil); err == nil {
		t.Errorf("a service that isn't there gives %v", all)
	}
}
