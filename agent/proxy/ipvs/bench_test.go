package ipvs_test

import (
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/behaviour"
	"github.com/wakehq/wake/agent/proxy/nft"
)

// scratch moves the test to a network namespace of its own that forwards packets. The goroutine stays on its thread.
func scratch(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	ns, err := netns.New()
	require.NoError(t, err, "this needs root")
	t.Cleanup(func() { _ = ns.Close() })
	lo, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(lo)) // without any address IPVS takes every endpoint for a broadcast
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644))
}

// both are the backends, for comparing them in one run on one kernel.
var both = []struct {
	name string
	make behaviour.Factory
}{
	{"ipvs", func(t testing.TB, node behaviour.Node) proxy.Backend {
		needIPVS(t)
		return factory("rr")(t, node)
	}},
	{"nft", func(t testing.TB, node behaviour.Node) proxy.Backend {
		backend, err := nft.New(t.Context(), nft.Config{
			Table: "wake-" + node.Cluster, PodNets: []netip.Prefix{node.PodNet}, ServiceNets: []netip.Prefix{node.ServiceNet}, PodDevice: node.PodDevice, ForwardMark: node.ForwardMark,
		})
		require.NoError(t, err)
		return backend
	}},
}

// BenchmarkPath is what clients notice.
func BenchmarkPath(b *testing.B) {
	for _, backend := range both {
		b.Run(backend.name, func(b *testing.B) { behaviour.Measure(b, backend.make) })
	}
}

// BenchmarkProgramming is the time from objects to the kernel.
func BenchmarkProgramming(b *testing.B) {
	for _, backend := range both {
		b.Run(backend.name, func(b *testing.B) { behaviour.MeasureProgramming(b, backend.make) })
	}
}
