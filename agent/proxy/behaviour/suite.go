package behaviour

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/agent/proxy"
)

// Factory makes the backend under test for a node. It and the backend are called in the node's namespace.
type Factory func(t testing.TB, node Node) proxy.Backend

// kind is what a world is like.
type kind struct {
	bridged bool // netfilter sees bridged packets, which kernels and distributions do differently
	six     bool // all addresses are IPv6
}

func (k kind) String() string {
	return fmt.Sprintf("%s, bridge netfilter %v", map[bool]string{false: "IPv4", true: "IPv6"}[k.six], k.bridged)
}

// Run runs the suite, once for each address family and each way in which kernels treat bridged packets; with -short, each of those occurs once.
func Run(t *testing.T, newBackend Factory) {
	tests := []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"every endpoint answers", everyEndpointAnswers},
		{"a pod reaches itself", podReachesItself},
		{"an endpoint of the node itself", nodeItselfServes},
		{"clients stick with affinity", clientsStick},
		{"nobody serves: refused at once", refusedAtOnce},
		{"only other nodes serve: dropped", droppedForLocal},
		{"reached from outside", reachedFromOutside},
		{"the source is preserved with policy Local", sourcePreserved},
		{"only some may use a load balancer", sourceRanges},
		{"a filter of forwarded packets lets through", passesFilter},
		{"large answers pass a narrow link", largeAnswersPass},
		{"open connections survive changes", openConnectionsSurvive},
		{"no connection fails while endpoints change", noneFails},
		{"UDP clients leave an endpoint that is gone", udpMovesOn},
		{"terminating endpoints serve when none is ready", terminatingServes},
		{"a new process takes over", newProcessTakesOver},
		{"repaired after somebody meddled", repaired},
		{"what others take away comes back", comesBack},
		{"two clusters on one node", twoClusters},
	}
	kinds := []kind{{bridged: false}, {bridged: true, six: true}, {bridged: true}, {bridged: false, six: true}}
	if testing.Short() {
		kinds = kinds[:2]
	}
	for _, k := range kinds {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%s, %s", test.name, k), func(t *testing.T) {
				b := newBench(t, k, newBackend)
				test.run(t, b)
				require.Empty(t, b.complaints.String(), "an update had to be rescued by a reconciliation")
			})
		}
	}
}

// bench is a world with a proxy in it.
type bench struct {
	*world
	newBackend Factory
	backend    proxy.Backend
	proxy      *proxy.Proxy
	// complaints is what the proxy logged.
	complaints *strings.Builder
}

func newBench(t testing.TB, k kind, newBackend Factory) *bench {
	t.Helper()
	b := &bench{world: newWorld(t, k), newBackend: newBackend, complaints: &strings.Builder{}}
	b.backend = b.start(t, "one", "10.96.0.0/16")
	b.proxy = b.connect(b.backend)
	return b
}

func (b *bench) start(t testing.TB, cluster, serviceNet string) proxy.Backend {
	t.Helper()
	return b.newBackend(t, Node{
		Cluster: cluster, PodNet: netip.MustParsePrefix(b.at(podNet)),
		ServiceNet: netip.MustParsePrefix(b.at(serviceNet)), PodDevice: bridge, ForwardMark: forwardMark,
	})
}

func (b *bench) connect(backend proxy.Backend) *proxy.Proxy {
	node := proxy.Node{Name: nodeName, Addrs: []netip.Addr{netip.MustParseAddr(b.at(nodeIP))}}
	return proxy.New(backend, node, slog.New(slog.NewTextHandler(b.complaints, nil)))
}

// serve makes the services and slices everything there is.
func (b *bench) serve(t testing.TB, services []*corev1.Service, slices ...*discoveryv1.EndpointSlice) {
	t.Helper()
	b.apply(t, proxy.Change{Full: true, Services: services, SlicesPut: slices})
}

func (b *bench) apply(t testing.TB, change proxy.Change) {
	t.Helper()
	require.NoError(t, b.proxy.Apply(t.Context(), b.translate(change)))
}

// inside are the namespaces that may use cluster IPs.
func (b *bench) inside() map[string]netns.NsHandle {
	return map[string]netns.NsHandle{"node": b.node, "pod-0": b.pods[0].ns, "pod-2": b.pods[2].ns}
}

// refusal says whether an error tells a client that nobody is there. A process on the node itself may get EPERM for
// UDP: its packet isn't even let out.
func refusal(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPERM)
}

// refused checks that TCP and UDP clients are told at once that nobody is there.
func (b *bench) refused(t testing.TB, from netns.NsHandle, tcp, udp string) {
	t.Helper()
	start := time.Now()
	_, err := b.open(t, from, tcp)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	_, err = b.askUDP(t, from, udp)
	require.True(t, refusal(err), "want a refusal, got %v", err)
	require.Less(t, time.Since(start), patience/2, "refused, but not at once")
}

func everyEndpointAnswers(t *testing.T, b *bench) {
	b.serve(t, []*corev1.Service{service("web", "10.96.0.1")}, backedBy("web", 0, 1, 2))
	for name, ns := range b.inside() {
		t.Log("from", name)
		b.everybody(t, ns, "10.96.0.1:80", "pod-0", "pod-1", "pod-2")
		_, err := b.askUDP(t, ns, "10.96.0.1:53")
		require.NoError(t, err)
	}
	b.apply(t, put(backedBy("web", 1, 2)))
	b.everybody(t, b.node, "10.96.0.1:80", "pod-1", "pod-2")
	b.apply(t, put(backedBy("web", 0)))
	b.everybody(t, b.node, "10.96.0.1:80", "pod-0")
	b.apply(t, put(backedBy("web", 2, 0)))
	b.everybody(t, b.pods[1].ns, "10.96.0.1:80", "pod-0", "pod-2")
}

func podReachesItself(t *testing.T, b *bench) {
	b.serve(t, []*corev1.Service{service("web", "10.96.0.1")}, backedBy("web", 1))
	require.Equal(t, "pod-1", b.ask(t, b.pods[1].ns, "10.96.0.1:80").pod)
	got, err := b.askUDP(t, b.pods[1].ns, "10.96.0.1:53")
	require.NoError(t, err)
	require.Equal(t, "pod-1", got.pod)
}

// A pod may use the node's network, as the cluster's own API does.
func nodeItselfServes(t *testing.T, b *bench) {
	host := &pod{name: "host", ip: b.at(nodeIP)}
	host.listen(t)
	slice := backedBy("web", 0)
	slice.Endpoints[0].Addresses = []string{nodeIP}
	web := service("web", "10.96.0.1", exposed(corev1.ServiceExternalTrafficPolicyCluster))
	b.serve(t, []*corev1.Service{web}, slice)
	for name, ns := range b.inside() {
		t.Log("from", name)
		require.Equal(t, "host", b.ask(t, ns, "10.96.0.1:80").pod)
		require.Equal(t, "host", b.ask(t, ns, nodeIP+":30080").pod)
		got, err := b.askUDP(t, ns, "10.96.0.1:53")
		require.NoError(t, err)
		require.Equal(t, "host", got.pod)
	}
	require.Equal(t, "host", b.ask(t, b.client, nodeIP+":30080").pod)
	require.Equal(t, "host", b.ask(t, b.client, publicIP+":80").pod)
	s, err := b.open(t, b.node, "10.96.0.1:80")
	require.NoError(t, err)
	b.apply(t, put(backedBy("web", 0)))
	s.echo(t)
	b.everybody(t, b.node, "10.96.0.1:80", "pod-0")
}

func clientsStick(t *testing.T, b *bench) {
	b.serve(t, []*corev1.Service{service("web", "10.96.0.1", sticky)}, backedBy("web", 0, 1, 2))
	at := map[string]string{}
	for name, ns := range b.inside() {
		at[name] = b.ask(t, ns, "10.96.0.1:80").pod
		for range 20 {
			require.Equal(t, at[name], b.ask(t, ns, "10.96.0.1:80").pod, "%s moved", name)
		}
	}
	// Others' endpoints come and go: clients stay where they are; those whose endpoint is gone move, and stay there.
	stuck := at["node"]
	var others []int
	for i, p := range b.pods {
		if p.name != stuck {
			others = append(others, i)
		}
	}
	b.apply(t, put(backedBy("web", others...)))
	moved := b.ask(t, b.node, "10.96.0.1:80").pod
	require.NotEqual(t, stuck, moved)
	b.apply(t, put(backedBy("web", 0, 1, 2)))
	for range 20 {
		require.Equal(t, moved, b.ask(t, b.node, "10.96.0.1:80").pod)
	}
	for name, ns := range b.inside() {
		if at[name] != stuck {
			require.Equal(t, at[name], b.ask(t, ns, "10.96.0.1:80").pod, "%s moved though its endpoint stayed", name)
		}
	}
	// A new process doesn't make clients forget.
	b.proxy = b.connect(b.start(t, "one", "10.96.0.0/16"))
	b.serve(t, []*corev1.Service{service("web", "10.96.0.1", sticky)}, backedBy("web", 0, 1, 2))
	require.Equal(t, moved, b.ask(t, b.node, "10.96.0.1:80").pod)
	// A service that comes back without an endpoint doesn't send anybody there who was there before.
	b.apply(t, proxy.Change{ServicesGone: []types.NamespacedName{{Namespace: "default", Name: "web"}}})
	others = nil
	for i, p := range b.pods {
		if p.name != moved {
			others = append(others, i)
		}
	}
	b.apply(t, put(backedBy("web", others...)))
	b.apply(t, proxy.Change{Services: []*corev1.Service{service("web", "10.96.0.1", sticky)}})
	back := b.ask(t, b.node, "10.96.0.1:80").pod
	require.NotEqual(t, moved, back)
	for range 10 {
		require.Equal(t, back, b.ask(t, b.node, "10.96.0.1:80").pod)
	}
}

func refusedAtOnce(t *testing.T, b *bench) {
	web := service("web", "10.96.0.1", exposed(corev1.ServiceExternalTrafficPolicyCluster))
	b.serve(t, []*corev1.Service{web})
	for name, ns := range b.inside() {
		t.Log("from", name)
		b.refused(t, ns, "10.96.0.1:80", "10.96.0.1:53")   // no endpoints
		b.refused(t, ns, "10.96.0.1:81", "10.96.0.1:54")   // no such port
		b.refused(t, ns, "10.96.99.9:80", "10.96.99.9:53") // no such service
	}
	b.refused(t, b.client, nodeIP+":30080", nodeIP+":30053")
	b.refused(t, b.client, publicIP+":80", publicIP+":53")
	b.apply(t, put(backedBy("web", 0)))
	b.everybody(t, b.node, "10.96.0.1:80", "pod-0")
	b.apply(t, proxy.Change{SlicesGone: []types.NamespacedName{{Namespace: "default", Name: "web-1"}}})
	b.refused(t, b.node, "10.96.0.1:80", "10.96.0.1:53")
	b.apply(t, put(backedBy("web", 0)))
	b.apply(t, proxy.Change{ServicesGone: []types.NamespacedName{{Namespace: "default", Name: "web"}}})
	b.refused(t, b.node, "10.96.0.1:80", "10.96.0.1:53")
}

func droppedForLocal(t *testing.T, b *bench) {
	web := service("web", "10.96.0.1", exposed(corev1.ServiceExternalTrafficPolicyLocal))
	b.serve(t, []*corev1.Service{web}, elsewhere(backedBy("web", 0, 1)))
	var err error
	b.in(t, b.client, func() { _, err = net.DialTimeout("tcp", b.at(nodeIP+":30080"), silence) })
	var timeout net.Error
	require.True(t, errors.As(err, &timeout) && timeout.Timeout(), "want no answer at all, got %v", err)
	b.everybody(t, b.pods[0].ns, "10.96.0.1:80", "pod-0", "pod-1")
}

func reachedFromOutside(t *testing.T, b *bench) {
	web := service("web", "10.96.0.1", exposed(corev1.ServiceExternalTrafficPolicyCluster))
	b.serve(t, []*corev1.Service{web}, backedBy("web", 0, 1, 2))
	for _, ns := range []netns.NsHandle{b.client, b.node, b.pods[0].ns} {
		b.everybody(t, ns, nodeIP+":30080", "pod-0", "pod-1", "pod-2")
	}
	for _, ns := range []netns.NsHandle{b.client, b.pods[0].ns} {
		b.everybody(t, ns, publicIP+":80", "pod-0", "pod-1", "pod-2")
	}
	require.Equal(t, bridgeIP, b.ask(t, b.client, nodeIP+":30080").seen, "the answer of a pod elsewhere must come back here")
	_, err := b.askUDP(t, b.client, nodeIP+":30053")
	require.NoError(t, err)
}

func sourcePreserved(t *testing.T, b *bench) {
	web := service("web", "10.96.0.1", exposed(corev1.ServiceExternalTrafficPolicyLocal))
	b.serve(t, []*corev1.Service{web}, backedBy("web", 1))
	require.Equal(t, answer{"pod-1", clientIP}, b.ask(t, b.client, nodeIP+":30080"))
	require.Equal(t, answer{"pod-1", clientIP}, b.ask(t, b.client, publicIP+":80"))
	got, err := b.askUDP(t, b.client, nodeIP+":30053")
	require.NoError(t, err)
	require.Equal(t, answer{"pod-1", clientIP}, got)
}

func sourceRanges(t *testing.T, b *bench) {
	web := service("web", "10.96.0.1", exposed(corev1.ServiceExternalTrafficPolicyCluster))
	web.Spec.Type = corev1.ServiceTypeLoadBalancer
	web.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: balancerIP}}
	silent := func(from netns.NsHandle, addr string) {
		t.Helper()
		var err error
		b.in(t, from, func() { _, err = net.DialTimeout("tcp", b.at(addr), silence) })
		var timeout net.Error
		require.True(t, errors.As(err, &timeout) && timeout.Timeout(), "want no answer at all, got %v", err)
	}
	for _, ranges := range []struct {
		may         []string
		client, pod bool
	}{
		{[]string{"192.0.2.0/24", "203.0.113.0/24"}, true, false},
		{[]string{"10.88.0.0/25"}, false, true},
		{[]string{"0.0.0.0/0", "192.0.2.0/24"}, true, true},
		{nil, true, true},
		{[]string{clientIP + "/32", podNet}, true, true},
		{[]string{"203.0.113.0/24"}, false, false},
	} {
		web = web.DeepCopy()
		web.Spec.LoadBalancerSourceRanges = ranges.may
		b.serve(t, []*corev1.Service{web}, backedBy("web", 0, 1))
		for from, may := range map[netns.NsHandle]bool{b.client: ranges.client, b.pods[2].ns: ranges.pod} {
			if may {
				b.everybody(t, from, balancerIP+":80", "pod-0", "pod-1")
			} else {
				silent(from, balancerIP+":80")
			}
			b.everybody(t, from, nodeIP+":30080", "pod-0", "pod-1") // says nothing of other addresses
		}
	}
	require.NoError(t, b.proxy.Repair(t.Context()))
}

// As Docker has it, nothing is forwarded that hasn't been let through. The endpoint is no pod: a database somewhere, or a pod on another node's own network.
func passesFilter(t *testing.T, b *bench) {
	outsider := &pod{name: "outsider", ip: b.at(clientIP)}
	b.in(t, b.client, func() { outsider.listen(t) })
	filter := fmt.Sprintf("table inet docker { chain forward { type filter hook forward priority filter; policy drop; meta mark & 0x%x != 0 accept; }; }", forwardMark)
	load := exec.CommandContext(t.Context(), "nft", "-f", "-")
	load.Stdin = strings.NewReader(filter)
	out, err := load.CombinedOutput()
	require.NoError(t, err, "%s", out)
	web := service("web", "10.96.0.1", exposed(corev1.ServiceExternalTrafficPolicyCluster))
	slice := backedBy("web", 0)
	slice.Endpoints[0].Addresses, slice.Endpoints[0].NodeName = []string{clientIP}, nil
	b.serve(t, []*corev1.Service{web}, slice)
	require.Equal(t, answer{"outsider", nodeIP}, b.ask(t, b.client, nodeIP+":30080"))
	require.Equal(t, answer{"outsider", nodeIP}, b.ask(t, b.client, publicIP+":80"))
	got, err := b.askUDP(t, b.client, nodeIP+":30053")
	require.NoError(t, err)
	require.Equal(t, "outsider", got.pod)
	b.in(t, b.client, func() { _, err = net.DialTimeout("tcp", net.JoinHostPort(b.pods[0].ip, "8080"), silence) })
	require.Error(t, err, "the filter doesn't filter")
}

// A router outside says "too big" to the service's address, and the pod behind it has to hear that.
func largeAnswersPass(t *testing.T, b *bench) {
	far := b.behindNarrowLink(t)
	web := service("web", "10.96.0.1", exposed(corev1.ServiceExternalTrafficPolicyCluster))
	line := strings.Repeat("x", 20_000) + "\n"
	for i, addr := range []string{nodeIP + ":30080", publicIP + ":80", "10.96.0.1:80"} {
		b.serve(t, []*corev1.Service{web}, backedBy("web", i)) // a pod that hasn't learned yet how narrow it is
		s, err := b.open(t, far, addr)
		require.NoError(t, err)
		_, err = s.conn.Write([]byte(line))
		require.NoError(t, err)
		got, err := s.read()
		require.NoError(t, err, "the answer from %s didn't arrive", addr)
		require.Equal(t, line, got)
	}
}

func openConnectionsSurvive(t *testing.T, b *bench) {
	web := service("web", "10.96.0.1", exposed(corev1.ServiceExternalTrafficPolicyCluster))
	b.serve(t, []*corev1.Service{web}, backedBy("web", 0))
	var open []*session
	for _, ns := range b.inside() {
		s, err := b.open(t, ns, "10.96.0.1:80")
		require.NoError(t, err)
		open = append(open, s)
	}
	s, err := b.open(t, b.client, nodeIP+":30080")
	require.NoError(t, err)
	open = append(open, s)
	check := func() {
		for _, s := range open {
			s.echo(t)
		}
	}
	b.apply(t, put(backedBy("web", 0, 1)))
	check()
	b.apply(t, put(backedBy("web", 1))) // theirs is gone: they drain
	check()
	b.everybody(t, b.node, "10.96.0.1:80", "pod-1")
	b.apply(t, put(backedBy("web")))
	check()
	b.apply(t, proxy.Change{ServicesGone: []types.NamespacedName{{Namespace: "default", Name: "web"}}})
	check()
	require.NoError(t, b.proxy.Reconcile(t.Context()))
	check()
}

func noneFails(t *testing.T, b *bench) {
	web := service("web", "10.96.0.1")
	b.serve(t, []*corev1.Service{web}, backedBy("web", 0, 1, 2))
	for _, ns := range []netns.NsHandle{b.node, b.pods[2].ns} { // hardware addresses take time to be found, which is not what is measured
		b.everybody(t, ns, "10.96.0.1:80", "pod-0", "pod-1", "pod-2")
	}
	stop, clients := make(chan struct{}), errgroup.Group{}
	finish := sync.OnceFunc(func() { close(stop) })
	defer finish()
	var made atomic.Int64
	for _, ns := range []netns.NsHandle{b.node, b.pods[2].ns} {
		clients.Go(func() error { return connectUntil(stop, ns, b.at("10.96.0.1:80"), &made) })
	}
	for i := 0; i < 10 || made.Load() <= 30 && i < 100; i++ { // on a busy machine the clients may be slow
		b.apply(t, put(backedBy("web", i%podCount, (i+1)%podCount)))
		b.apply(t, put(backedBy("web", i%podCount)))
		if i%5 == 0 { // and a process that takes over
			b.proxy = b.connect(b.start(t, "one", "10.96.0.0/16"))
			b.serve(t, []*corev1.Service{web}, backedBy("web", i%podCount))
		}
	}
	finish()
	require.NoError(t, clients.Wait())
	require.Greater(t, made.Load(), int64(30), "too few connections to tell")
}

func udpMovesOn(t *testing.T, b *bench) {
	b.serve(t, []*corev1.Service{service("web", "10.96.0.1")}, backedBy("web", 0))
	for _, ns := range b.inside() {
		b.apply(t, put(backedBy("web", 0)))
		conn := b.dialUDP(t, ns, "10.96.0.1:53") // one socket: for conntrack it is one flow
		for _, i := range []int{0, 1, 2, 1} {
			b.apply(t, put(backedBy("web", i)))
			got, err := exchange(conn)
			require.NoError(t, err)
			require.Equal(t, b.pods[i].name, got.pod)
		}
	}
	// A flow to an endpoint that stays is left alone, whatever else changes.
	conn := b.dialUDP(t, b.node, "10.96.0.1:53")
	before, err := exchange(conn)
	require.NoError(t, err)
	b.apply(t, put(backedBy("web", 0, 1, 2)))
	b.apply(t, put(backedBy("web", 1, 2)))
	after, err := exchange(conn)
	require.NoError(t, err)
	require.Equal(t, before.pod, after.pod)
}

func terminatingServes(t *testing.T, b *bench) {
	slice := backedBy("web", 0, 1)
	slice.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: ptr(false), Serving: ptr(true), Terminating: ptr(true)}
	b.serve(t, []*corev1.Service{service("web", "10.96.0.1")}, slice)
	b.everybody(t, b.node, "10.96.0.1:80", "pod-1")
	slice = slice.DeepCopy()
	slice.Endpoints = slice.Endpoints[:1]
	b.apply(t, put(slice))
	b.everybody(t, b.node, "10.96.0.1:80", "pod-0")
}

func newProcessTakesOver(t *testing.T, b *bench) {
	web, old := service("web", "10.96.0.1"), service("old", "10.96.0.2")
	b.serve(t, []*corev1.Service{web, old}, backedBy("web", 0), backedBy("old", 0, 1, 2))
	kept, err := b.open(t, b.pods[1].ns, "10.96.0.1:80")
	require.NoError(t, err)
	udp := b.dialUDP(t, b.node, "10.96.0.1:53")
	_, err = exchange(udp)
	require.NoError(t, err)
	gone := b.dialUDP(t, b.node, "10.96.0.2:53")
	_, err = exchange(gone)
	require.NoError(t, err)

	// The first process is gone without a word; meanwhile a service went and another's pod moved.
	b.proxy = b.connect(b.start(t, "one", "10.96.0.0/16"))
	b.serve(t, []*corev1.Service{web}, backedBy("web", 1))
	kept.echo(t)
	b.everybody(t, b.pods[0].ns, "10.96.0.1:80", "pod-1")
	b.refused(t, b.node, "10.96.0.2:80", "10.96.0.2:53")
	got, err := exchange(udp)
	require.NoError(t, err)
	require.Equal(t, "pod-1", got.pod)
	_, err = exchange(gone)
	require.True(t, refusal(err), "want a refusal, got %v", err)
}

func repaired(t *testing.T, b *bench) {
	b.serve(t, []*corev1.Service{service("web", "10.96.0.1")}, backedBy("web", 0))
	require.NoError(t, b.backend.Remove(t.Context()))
	b.apply(t, put(backedBy("web", 1))) // fails on what is missing, and recovers
	b.everybody(t, b.pods[0].ns, "10.96.0.1:80", "pod-1")
	require.Contains(t, b.complaints.String(), "reconciled instead")
	b.complaints.Reset()
	require.NoError(t, b.backend.Remove(t.Context()))
	require.NoError(t, b.proxy.Reconcile(t.Context()))
	b.everybody(t, b.node, "10.96.0.1:80", "pod-1")
}

// Somebody flushes rules, a map, everything; nothing is told to the proxy.
func comesBack(t *testing.T, b *bench) {
	web := service("web", "10.96.0.1")
	b.serve(t, []*corev1.Service{web, service("none", "10.96.0.2")}, backedBy("web", 0))
	table := map[bool]string{false: "ip", true: "ip6"}[b.six] + " wake-one"
	for _, meddling := range []string{"flush table " + table, "flush map " + table + " unserved", "delete chain " + table + " unserved-output", "delete table " + table, "flush ruleset"} {
		require.NoError(t, b.proxy.Repair(t.Context()))
		require.Empty(t, b.complaints.String(), "nothing was wrong before: %s", meddling)
		out, err := exec.CommandContext(t.Context(), "nft", meddling).CombinedOutput()
		require.NoError(t, err, "%s: %s", meddling, out)
		require.NoError(t, b.proxy.Repair(t.Context()))
		require.Contains(t, b.complaints.String(), "are restored", meddling)
		b.complaints.Reset()
		b.everybody(t, b.pods[1].ns, "10.96.0.1:80", "pod-0")
		b.refused(t, b.node, "10.96.0.2:80", "10.96.0.2:53")
	}
	// Another's table is none of ours, and our own changes are no meddling.
	b.meddleElsewhere(t)
	b.apply(t, put(backedBy("web", 1, 2)))
	require.NoError(t, b.proxy.Repair(t.Context()))
	b.everybody(t, b.node, "10.96.0.1:80", "pod-1", "pod-2")

	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		runtime.LockOSThread() // never unlocked: the thread ends with it
		if err := netns.Set(b.node); err == nil {
			b.proxy.Keep(ctx)
		}
	}()
	defer func() { cancel(); <-kept; b.complaints.Reset() }()
	out, err := exec.CommandContext(t.Context(), "nft", "delete table "+table).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for start := time.Now(); ; {
		if _, err = b.open(t, b.pods[1].ns, "10.96.0.1:80"); err == nil {
			break
		}
		require.Less(t, time.Since(start), 5*patience, "it doesn't come back: %v", err)
	}
}

// meddleElsewhere makes a transaction of nftables that is nobody's business here.
func (b *bench) meddleElsewhere(t testing.TB) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "nft", "add table inet other; delete table inet other").CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func twoClusters(t *testing.T, b *bench) {
	b.serve(t, []*corev1.Service{service("web", "10.96.0.1")}, backedBy("web", 0))
	backend := b.start(t, "two", "10.97.0.0/16")
	other := b.connect(backend)
	require.NoError(t, other.Apply(t.Context(), b.translate(proxy.Change{
		Full: true, Services: []*corev1.Service{service("web", "10.97.0.1")}, SlicesPut: []*discoveryv1.EndpointSlice{backedBy("web", 1)},
	})))
	for _, ns := range b.inside() {
		b.everybody(t, ns, "10.96.0.1:80", "pod-0")
		b.everybody(t, ns, "10.97.0.1:80", "pod-1")
	}
	require.NoError(t, backend.Remove(t.Context()))
	b.everybody(t, b.pods[1].ns, "10.96.0.1:80", "pod-0")
}
