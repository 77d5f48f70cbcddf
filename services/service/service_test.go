package service

import (
	"net/netip"
	"testing"

	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

func newAddresses() runner.Decider { return NewAddresses(DefaultRange) }
func newEndpoints() runner.Decider { return NewEndpoints() }

func TestAddresses(t *testing.T) {
	transcript.Test(t, transcript.Registry(t), "testdata/addresses/*.txt", newAddresses)
}

// TestDualStack gives addresses of both families. Which of them the cluster has, the API learns from its ServiceCIDR.
func TestDualStack(t *testing.T) {
	both := func() runner.Decider { return NewAddresses(DefaultRange, netip.MustParsePrefix("fd00:96::/112")) }
	transcript.Test(t, transcript.Registry(t), "testdata/dualstack/*.txt", both)
}

func TestEndpoints(t *testing.T) {
	transcript.Test(t, transcript.Registry(t), "testdata/endpoints/*.txt", newEndpoints)
}
