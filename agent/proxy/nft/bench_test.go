package nft

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/behaviour"
)

// realBackend gives a backend in a network namespace of its own. The goroutine stays on its thread.
func realBackend(b *testing.B) proxy.Backend {
	b.Helper()
	runtime.LockOSThread()
	ns, err := netns.New()
	require.NoError(b, err, "this benchmark needs root")
	b.Cleanup(func() { _ = ns.Close() })
	require.NoError(b, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644))
	backend, err := New(b.Context(), testConfig)
	require.NoError(b, err)
	return backend
}

// manyServices makes n services of one TCP port and three endpoints each.
func manyServices(n int) proxy.Change {
	change := proxy.Change{Full: true}
	for i := range n {
		ip := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}).String()
		name := fmt.Sprintf("s%d", i)
		change.Services = append(change.Services, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec: corev1.ServiceSpec{
				ClusterIP: ip, ClusterIPs: []string{ip},
				Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}},
			},
		})
		change.SlicesPut = append(change.SlicesPut, threeEndpoints(name, i, 0))
	}
	return change
}

// threeEndpoints makes a service's slice; its last endpoint depends on round.
func threeEndpoints(service string, i, round int) *discoveryv1.EndpointSlice {
	port := int32(8080)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: service, Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: &port}},
	}
	for _, host := range []byte{1, 2, byte(3 + round%200)} {
		addr := netip.AddrFrom4([4]byte{10, byte(100 + i>>8), byte(i), host}).String()
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{addr}})
	}
	return slice
}

// BenchmarkOneEndpointChanges is the time of an update in the kernel, object in to packets served. It should hardly
// depend on the number of services.
func BenchmarkOneEndpointChanges(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			p := proxy.New(realBackend(b), proxy.Node{Name: "node-a"}, slog.Default())
			require.NoError(b, p.Apply(b.Context(), manyServices(n)))
			round := 0
			for b.Loop() {
				round++
				i := round % n
				change := proxy.Change{SlicesPut: []*discoveryv1.EndpointSlice{threeEndpoints(fmt.Sprintf("s%d", i), i, round)}}
				require.NoError(b, p.Apply(b.Context(), change))
			}
		})
	}
}

// BenchmarkReconcile is the time of taking over 10,000 services, as a restarted agent does.
func BenchmarkReconcile(b *testing.B) {
	p := proxy.New(realBackend(b), proxy.Node{Name: "node-a"}, slog.Default())
	require.NoError(b, p.Apply(b.Context(), manyServices(10_000)))
	for b.Loop() {
		require.NoError(b, p.Reconcile(b.Context()))
	}
}

// BenchmarkPath is what clients notice of the rules.
func BenchmarkPath(b *testing.B) {
	behaviour.Measure(b, func(t testing.TB, node behaviour.Node) proxy.Backend {
		backend, err := New(t.Context(), Config{
			Table: "wake-" + node.Cluster, PodNets: []netip.Prefix{node.PodNet}, ServiceNets: []netip.Prefix{node.ServiceNet}, PodDevice: node.PodDevice, ForwardMark: node.ForwardMark,
		})
		require.NoError(t, err)
		return backend
	})
}
