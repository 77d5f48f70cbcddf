package ipvs_test

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"

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

// manyServers are n virtual servers of ten endpoints each.
func manyServers(n int) proxy.State {
	state := proxy.State{Servers: map[proxy.Key]proxy.VirtualServer{}}
	for i := range n {
		s := oneServer(i, 0)
		state.Servers[s.Key] = s
	}
	return state
}

// oneServer is the i-th; its last endpoint depends on round.
func oneServer(i, round int) proxy.VirtualServer {
	s := proxy.VirtualServer{Key: proxy.Key{
		Addr:     netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), 80),
		Protocol: corev1.ProtocolTCP,
	}}
	for _, host := range []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, byte(10 + round%200)} {
		s.Endpoints = append(s.Endpoints, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(100 + i>>8), byte(i), host}), 8080))
	}
	return s
}

var benchNode = behaviour.Node{Cluster: "bench", PodNet: netip.MustParsePrefix("10.88.0.0/24"), ServiceNet: netip.MustParsePrefix("10.96.0.0/16")}

// BenchmarkOneEndpointChanges is the time from the decision to the kernel. It should hardly depend on the number of services.
func BenchmarkOneEndpointChanges(b *testing.B) {
	for _, backend := range both {
		for _, n := range []int{10, 10_000} {
			b.Run(fmt.Sprintf("%s/services=%d", backend.name, n), func(b *testing.B) {
				scratch(b)
				p := backend.make(b, benchNode)
				require.NoError(b, p.Reconcile(b.Context(), manyServers(n)))
				round, took := 0, []time.Duration(nil)
				for b.Loop() {
					round++
					start := time.Now()
					require.NoError(b, p.Update(b.Context(), proxy.Diff{Put: []proxy.VirtualServer{oneServer(round%n, round)}}))
					took = append(took, time.Since(start))
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			})
		}
	}
}

// BenchmarkTakeOver is the time of programming 10,000 services of 100,000 endpoints from nothing, and of finding them unchanged, as a restarted agent
// does. Run it with -benchtime=1x.
func BenchmarkTakeOver(b *testing.B) {
	state := manyServers(10_000)
	for _, backend := range both {
		b.Run(backend.name, func(b *testing.B) {
			scratch(b)
			p := backend.make(b, benchNode)
			for b.Loop() {
				start := time.Now()
				require.NoError(b, p.Reconcile(b.Context(), state))
				b.ReportMetric(time.Since(start).Seconds(), "first-s")
				start = time.Now()
				require.NoError(b, p.Reconcile(b.Context(), state))
				b.ReportMetric(time.Since(start).Seconds(), "again-s")
				b.ReportMetric(0, "ns/op")
				require.NoError(b, p.Remove(b.Context()))
			}
		})
	}
}
