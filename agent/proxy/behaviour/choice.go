package behaviour

import (
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/agent/proxy"
)

// RunSpreading asks what every way of choosing endpoints for one connection at a time must do: all of them get some.
func RunSpreading(t *testing.T, newBackend Factory) {
	b := newBench(t, kind{}, newBackend)
	b.serve(t, []*corev1.Service{service("web", "10.96.0.1")}, backedBy("web", 0, 1, 2))
	for name, ns := range b.inside() {
		t.Log("from", name)
		b.everybody(t, ns, "10.96.0.1:80", "pod-0", "pod-1", "pod-2")
	}
	b.apply(t, put(backedBy("web", 1, 2)))
	b.everybody(t, b.node, "10.96.0.1:80", "pod-1", "pod-2")
	b.refusedWhenGone(t)
}

// RunHashing asks what choosing by a hash of the client's address must do: a client always meets the same endpoint, and when that is gone
// another one, without being refused.
func RunHashing(t *testing.T, newBackend Factory) {
	b := newBench(t, kind{}, newBackend)
	web := []*corev1.Service{service("web", "10.96.0.1")}
	for name, ns := range b.inside() {
		b.serve(t, web, backedBy("web", 0, 1, 2))
		first := b.ask(t, ns, "10.96.0.1:80").pod
		for range 10 {
			require.Equal(t, first, b.ask(t, ns, "10.96.0.1:80").pod, name)
		}
		var others []int
		for i, p := range b.pods {
			if p.name != first {
				others = append(others, i)
			}
		}
		open, err := b.open(t, ns, "10.96.0.1:80")
		require.NoError(t, err)
		b.apply(t, put(backedBy("web", others...)))
		for range 10 {
			require.NotEqual(t, first, b.ask(t, ns, "10.96.0.1:80").pod, name)
		}
		open.echo(t)
	}
	b.refusedWhenGone(t)
}

// RunRetrying asks what a backend must do that leaves connections to conntrack: one that an endpoint had not answered when it went goes to another with the
// client's next try.
func RunRetrying(t *testing.T, newBackend Factory) {
	b := newBench(t, kind{}, newBackend)
	web := []*corev1.Service{service("web", "10.96.0.1")}
	// A pod that is gone, but not for the node: packets leave for it.
	require.NoError(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: linkOf(t, bridge).Attrs().Index, IP: net.ParseIP(podIP(podCount)),
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}, State: netlink.NUD_PERMANENT}))
	for name, ns := range b.inside() {
		b.serve(t, web, backedBy("web", podCount))
		dialing := make(chan error, 1)
		go func() { dialing <- connectOnce(ns, "10.96.0.1:80") }()
		for began := time.Now(); !asked(t, podIP(podCount)); { // here, for the kernel answers each thread for its own namespace
			require.Less(t, time.Since(began), patience, "the connection from %s was never tried", name)
		}
		b.apply(t, put(backedBy("web", 1)))
		require.NoError(t, <-dialing, name)
	}
	require.Empty(t, b.complaints.String(), "an update had to be rescued by a reconciliation")
}

// asked says whether a connection to an address is under way.
func asked(t *testing.T, address string) bool {
	t.Helper()
	flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, netlink.FAMILY_V4)
	require.NoError(t, err)
	return slices.ContainsFunc(flows, func(f *netlink.ConntrackFlow) bool { return f.Reverse.SrcIP.String() == address })
}

// connectOnce makes one connection from a namespace. Its thread ends with it.
func connectOnce(from netns.NsHandle, addr string) error {
	runtime.LockOSThread() // never unlocked
	if err := netns.Set(from); err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp4", addr, patience)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (b *bench) refusedWhenGone(t *testing.T) {
	t.Helper()
	b.apply(t, proxy.Change{ServicesGone: []types.NamespacedName{{Namespace: "default", Name: "web"}}})
	b.refused(t, b.node, "10.96.0.1:80", "10.96.0.1:53") // a pod might be told later: ICMP errors to other machines are limited
	require.Empty(t, b.complaints.String(), "an update had to be rescued by a reconciliation")
}
