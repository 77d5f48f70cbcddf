package ipvs_test

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/behaviour"
	"github.com/wakehq/wake/agent/proxy/ipvs"
)

// needIPVS skips a test where the kernel has no IPVS. In the virtual machine, which exists for these tests, nothing is skipped.
func needIPVS(t testing.TB) {
	t.Helper()
	if err := ipvs.Check(t.Context(), ""); errors.Is(err, ipvs.ErrNoIPVS) && os.Getenv("WAKE_VM") == "" {
		t.Skip("go tool task vm runs this on a kernel that has it:", err)
	}
}

func configFor(node behaviour.Node, scheduler string) ipvs.Config {
	return ipvs.Config{
		Table:       "wake-" + node.Cluster,
		PodNets:     []netip.Prefix{node.PodNet},
		ServiceNets: []netip.Prefix{node.ServiceNet},
		PodDevice:   node.PodDevice,
		ForwardMark: node.ForwardMark,
		Scheduler:   scheduler,
	}
}

func factory(scheduler string) behaviour.Factory {
	return func(t testing.TB, node behaviour.Node) proxy.Backend {
		backend, err := ipvs.New(t.Context(), configFor(node, scheduler))
		require.NoError(t, err)
		t.Cleanup(func() { _ = backend.Close() })
		return backend
	}
}

func TestBehaviour(t *testing.T) {
	needIPVS(t)
	behaviour.Run(t, factory("rr"))
}

func TestSchedulers(t *testing.T) {
	needIPVS(t)
	for _, name := range []string{"rr", "wrr", "lc", "wlc"} {
		t.Run(name, func(t *testing.T) { behaviour.RunSpreading(t, factory(name)) })
	}
	for _, name := range []string{"sh", "mh"} {
		t.Run(name, func(t *testing.T) { behaviour.RunHashing(t, factory(name)) })
	}
}

func TestCheck(t *testing.T) {
	needIPVS(t)
	scratch(t)
	require.NoError(t, ipvs.Check(t.Context(), "wlc"))
	err := ipvs.Check(t.Context(), "nonsense")
	require.ErrorIs(t, err, ipvs.ErrNoIPVS)
	require.ErrorContains(t, err, "module ip_vs_nonsense")
}
