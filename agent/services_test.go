package agent

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/agent/dns"
	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/events/nodewire"
)

// stuckProxy is a service proxy that always fails.
type stuckProxy struct{}

func (stuckProxy) Apply(context.Context, ...proxy.Change) error { return errors.New("stuck") }

// TestNamesFollowTheSlices asks a real DNS server for what the node's slices told it, beside a proxy that fails.
func TestNamesFollowTheSlices(t *testing.T) {
	server, err := dns.Open(dns.Config{Listen: []string{"127.0.0.1:0"}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	defer func() { cancel(); require.NoError(t, <-served) }()
	a, err := newAgent(Config{NodeName: "one", Cluster: "c", Root: t.TempDir(), NodeIP: "192.0.2.1"}, nil)
	require.NoError(t, err)
	a.proxy, a.dns = stuckProxy{}, server
	go func() { _ = a.serveProxy(ctx) }()
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server.Addrs()[0].String())
	}}
	object := func(ip string) nodewire.Object {
		svc := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}}}
		data, err := svc.Marshal()
		require.NoError(t, err)
		return nodewire.Object{Resource: nodewire.Services, Namespace: "shop", Name: "web", Data: data}
	}
	gone := object("10.96.0.6")
	gone.Data, gone.Deleted = nil, true
	for i, step := range []struct {
		object nodewire.Object
		want   []string
	}{{object("10.96.0.5"), []string{"10.96.0.5"}}, {object("10.96.0.6"), []string{"10.96.0.6"}}, {gone, nil}} {
		a.apply(ctx, nodewire.Slice{Node: "one", Revision: uint64(i + 1), Full: i == 0, Objects: []nodewire.Object{step.object}})
		addrs, err := resolver.LookupHost(ctx, "web.shop.svc.cluster.local.")
		require.Equal(t, step.want, addrs, "step %d: %v", i, err)
	}
}

// TestTheProxyHearsOfTheZone has the node's own label reach the proxy, and nothing of other nodes.
func TestTheProxyHearsOfTheZone(t *testing.T) {
	a, err := newAgent(Config{NodeName: "one", Cluster: "c", Root: t.TempDir(), NodeIP: "192.0.2.1"}, nil)
	require.NoError(t, err)
	a.proxy = stuckProxy{}
	node := func(name, zone string) nodewire.Object {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}}}
		data, err := n.Marshal()
		require.NoError(t, err)
		return nodewire.Object{Resource: nodewire.Nodes, Name: name, Data: data}
	}
	a.apply(t.Context(), nodewire.Slice{Node: "one", Revision: 1, Full: true, Objects: []nodewire.Object{node("two", "west"), node("one", "east")}})
	a.apply(t.Context(), nodewire.Slice{Node: "one", Revision: 2, Objects: []nodewire.Object{node("two", "north")}})
	a.apply(t.Context(), nodewire.Slice{Node: "one", Revision: 3, Objects: []nodewire.Object{node("one", "south")}})
	require.Len(t, a.proxyChanges, 2)
	require.Equal(t, "east", *a.proxyChanges[0].Zone)
	require.Equal(t, proxy.Change{Zone: a.proxyChanges[1].Zone}, a.proxyChanges[1])
	require.Equal(t, "south", *a.proxyChanges[1].Zone)
}
