package policy

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events/nodewire"
)

func tcp(port, end uint16) []nodewire.PolicyPort {
	return []nodewire.PolicyPort{{Protocol: corev1.ProtocolTCP, Port: port, End: end}}
}

func policyOf(rules ...nodewire.PolicyRule) *nodewire.Policy { return &nodewire.Policy{Ingress: rules} }

// TestBehaviour asks packets, once for each way in which kernels treat those between ports of a bridge.
func TestBehaviour(t *testing.T) {
	tests := []struct {
		name string
		run  func(*world)
	}{
		{"without policies everything passes", nothingIsolated},
		{"default deny, and what is let in all the same", defaultDeny},
		{"peers, ports, ranges and names", peersAndPorts},
		{"blocks with exceptions, for clients from outside", blocks},
		{"egress", egressIsolated},
		{"policies add up", union},
		{"services are seen through", throughService},
		{"a peer more or less opens and cuts", peersChange},
		{"broadcasts don't get around", broadcasts},
		{"a new process takes over without a gap", takesOver},
		{"an address that is another's now", addressReused},
		{"somebody meddled", meddled},
	}
	for _, bridged := range []bool{false, true} {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%s, bridge netfilter %v", test.name, bridged), func(t *testing.T) { test.run(newWorld(t, bridged)) })
		}
	}
}

func nothingIsolated(w *world) {
	a, b := w.pods["a"], w.pods["b"]
	require.ErrorIs(w.t, w.enforcer.Sync(w.t.Context()), ErrNotFull)
	w.reaches(a.ns, "tcp", at(b.v4, 8080), "b")
	w.apply(w.full())
	for _, addr := range b.addresses() {
		w.reaches(a.ns, "tcp", at(addr, 8080), "b")
		w.reaches(a.ns, "udp", at(addr, 5353), "b")
	}
	w.reaches(w.client, "tcp", at(b.v4, 8080), "b")
	w.reaches(w.node, "tcp", at(b.v4, 8080), "b")
}

func defaultDeny(w *world) {
	a, b := w.pods["a"], w.pods["b"]
	c := w.full()
	isolate(&c, "b", []string{"deny"}, nil)
	c.Policies[named("deny")] = policyOf()
	w.apply(c)
	for _, addr := range b.addresses() {
		w.misses(a.ns, "tcp", at(addr, 8080))
		w.misses(a.ns, "udp", at(addr, 5353))
		w.reaches(w.node, "tcp", at(addr, 8080), "b") // probes
		w.reaches(b.ns, "tcp", at(addr, 8080), "b")   // itself
	}
	w.misses(w.client, "tcp", at(b.v4, 8080))
	for _, addr := range a.addresses() {
		w.reaches(b.ns, "tcp", at(addr, 8080), "a") // answers come back
		w.reaches(b.ns, "udp", at(addr, 5353), "a")
	}
	w.reaches(b.ns, "tcp", netip.MustParseAddrPort("10.88.0.1:8080"), "node")
}

func peersAndPorts(w *world) {
	a, b, other := w.pods["a"], w.pods["b"], w.pods["c"]
	c := w.full()
	isolate(&c, "b", []string{"p"}, nil)
	w.group(&c, "g1", "a")
	w.group(&c, "g2", "c")
	c.Policies[named("p")] = policyOf(
		nodewire.PolicyRule{Groups: []string{"g1"}, Ports: append(tcp(8085, 8095), nodewire.PolicyPort{Protocol: corev1.ProtocolUDP})},
		nodewire.PolicyRule{Groups: []string{"g2"}, Ports: []nodewire.PolicyPort{{Protocol: corev1.ProtocolTCP, Name: "http"}}},
	)
	w.apply(c)
	for _, addr := range b.addresses() {
		w.reaches(a.ns, "tcp", at(addr, 8090), "b")
		w.reaches(a.ns, "udp", at(addr, 5353), "b")
		w.misses(a.ns, "tcp", at(addr, 8080))
		w.reaches(other.ns, "tcp", at(addr, 8080), "b")
		w.misses(other.ns, "tcp", at(addr, 8090))
		w.misses(other.ns, "udp", at(addr, 5353))
	}
	// Overlapping and whole ranges, other protocols, many ports.
	c = Change{}
	c.Policies = map[nameOf]*nodewire.Policy{named("p"): policyOf(nodewire.PolicyRule{Groups: []string{"g1", "g2"}, Ports: append(tcp(8080, 8085),
		nodewire.PolicyPort{Protocol: corev1.ProtocolTCP, Port: 8084, End: 8091}, nodewire.PolicyPort{Protocol: corev1.ProtocolSCTP, Port: 1},
		nodewire.PolicyPort{Protocol: corev1.ProtocolTCP, Port: 8080})})}
	w.apply(c)
	w.reaches(a.ns, "tcp", at(b.v6, 8080), "b")
	w.reaches(other.ns, "tcp", at(b.v4, 8090), "b")
	w.misses(a.ns, "udp", at(b.v4, 5353))
}

func blocks(w *world) {
	b := w.pods["b"]
	c := w.full()
	isolate(&c, "b", []string{"p"}, nil)
	allow := func(cidr string, except ...string) {
		block := nodewire.PolicyBlock{CIDR: netip.MustParsePrefix(cidr)}
		for _, e := range except {
			block.Except = append(block.Except, netip.MustParsePrefix(e))
		}
		c.Policies[named("p")] = policyOf(nodewire.PolicyRule{Blocks: []nodewire.PolicyBlock{block}})
		w.apply(c)
	}
	allow("192.0.2.0/24")
	w.reaches(w.client, "tcp", at(b.v4, 8080), "b")
	w.misses(w.pods["a"].ns, "tcp", at(b.v4, 8080))
	allow("192.0.2.0/24", clientIP+"/32")
	w.misses(w.client, "tcp", at(b.v4, 8080))
	allow("0.0.0.0/0")
	w.reaches(w.client, "tcp", at(b.v4, 8080), "b")
	w.reaches(w.pods["a"].ns, "tcp", at(b.v4, 8080), "b")
	w.misses(w.pods["a"].ns, "tcp", at(b.v6, 8080))
	allow("::/0", "fd00:88::c/127")
	w.reaches(w.pods["a"].ns, "tcp", at(b.v6, 8080), "b")
	w.misses(w.client, "tcp", at(b.v4, 8080))
}

func egressIsolated(w *world) {
	a, b, other := w.pods["a"], w.pods["b"], w.pods["c"]
	c := w.full()
	isolate(&c, "a", nil, []string{"p"})
	c.Policies[named("p")] = &nodewire.Policy{}
	w.apply(c)
	w.misses(a.ns, "tcp", at(b.v4, 8080))
	w.misses(a.ns, "tcp", at(b.v6, 8080))
	w.reaches(a.ns, "tcp", netip.MustParseAddrPort("10.88.0.1:8080"), "node") // the node is always near
	w.reaches(b.ns, "tcp", at(a.v4, 8080), "a")                               // answers leave
	w.reaches(w.client, "tcp", at(a.v4, 8080), "a")

	w.group(&c, "g", "b")
	port := nodewire.PolicyPort{Protocol: corev1.ProtocolTCP, Port: 8080}
	c.Peers[PeerName{"t", "default/c"}] = &nodewire.PolicyPeer{Addresses: other.addresses(), Port: &port}
	c.Policies[named("p")] = &nodewire.Policy{Egress: []nodewire.PolicyRule{{Groups: []string{"g"}, Ports: tcp(8090, 0)}, {Targets: []string{"t"}}}}
	w.apply(c)
	for i := range 2 {
		w.reaches(a.ns, "tcp", at(b.addresses()[i], 8090), "b")
		w.misses(a.ns, "tcp", at(b.addresses()[i], 8080))
		w.reaches(a.ns, "tcp", at(other.addresses()[i], 8080), "c")
		w.misses(a.ns, "tcp", at(other.addresses()[i], 8090))
	}
	// Both ends must agree.
	isolate(&c, "b", []string{"deny"}, nil)
	c.Policies[named("deny")] = policyOf()
	w.apply(c)
	w.misses(a.ns, "tcp", at(b.v4, 8090))
}

func union(w *world) {
	a, b, other := w.pods["a"], w.pods["b"], w.pods["c"]
	c := w.full()
	isolate(&c, "b", []string{"deny", "from-a"}, nil)
	isolate(&c, "c", []string{"deny"}, nil)
	w.group(&c, "g", "a")
	c.Policies[named("deny")] = policyOf()
	c.Policies[named("from-a")] = policyOf(nodewire.PolicyRule{Groups: []string{"g"}})
	w.apply(c)
	w.reaches(a.ns, "tcp", at(b.v4, 8080), "b")
	w.misses(other.ns, "tcp", at(b.v4, 8080))
	w.misses(a.ns, "tcp", at(other.v4, 8080))
	// One goes, then the last.
	next := Change{}
	next.Pods = map[nameOf]*nodewire.PodPolicy{named("c"): nil, named("b"): {UID: "uid-b", Ingress: []string{"deny"}}}
	next.Policies = map[nameOf]*nodewire.Policy{named("from-a"): nil}
	next.Peers = map[PeerName]*nodewire.PolicyPeer{{"g", "default/a"}: nil}
	w.apply(next)
	w.misses(a.ns, "tcp", at(b.v4, 8080))
	w.reaches(a.ns, "tcp", at(other.v4, 8080), "c")
	next = Change{Pods: map[nameOf]*nodewire.PodPolicy{named("b"): nil}, Policies: map[nameOf]*nodewire.Policy{named("deny"): nil}}
	w.apply(next)
	w.reaches(a.ns, "tcp", at(b.v4, 8080), "b")
	require.NotContains(w.t, w.rules(), "ingress-policy-", "what nobody needs is gone")
	require.NotContains(w.t, w.rules(), "group-")
}

func throughService(w *world) {
	a, b, other := w.pods["a"], w.pods["b"], w.pods["c"]
	nat := exec.Command("nft", "-f", "-")
	nat.Stdin = strings.NewReader(`table ip nat {
		chain pre { type nat hook prerouting priority dstnat; ip daddr 10.96.0.1 dnat to 10.88.0.11; }
		chain post { type nat hook postrouting priority srcnat; ct status dnat masquerade; }
	}`)
	out, err := nat.CombinedOutput()
	require.NoError(w.t, err, "%s", out)
	service := netip.MustParseAddrPort("10.96.0.1:8080")
	c := w.full()
	isolate(&c, "a", nil, []string{"out"})
	isolate(&c, "b", []string{"in"}, nil)
	w.group(&c, "a", "a")
	w.group(&c, "b", "b")
	c.Policies[named("in")] = policyOf(nodewire.PolicyRule{Groups: []string{"a"}})
	c.Policies[named("out")] = &nodewire.Policy{Egress: []nodewire.PolicyRule{{Groups: []string{"b"}}}}
	w.apply(c)
	w.reaches(a.ns, "tcp", service, "b")
	w.misses(other.ns, "tcp", service)
	w.misses(w.client, "tcp", service)
	w.reaches(b.ns, "tcp", service, "b") // itself, by way of its service
	c.Peers[PeerName{"b", "default/b"}] = nil
	w.apply(c)
	w.misses(a.ns, "tcp", service)
}

func peersChange(w *world) {
	a, b, other := w.pods["a"], w.pods["b"], w.pods["c"]
	c := w.full()
	isolate(&c, "b", []string{"p"}, nil)
	c.Policies[named("p")] = policyOf(nodewire.PolicyRule{Groups: []string{"g"}})
	w.group(&c, "g", "a", "c")
	w.apply(c)
	cut, kept := w.dial(a.ns, "tcp", at(b.v4, 8080), patience), w.dial(other.ns, "tcp", at(b.v4, 8080), patience)
	flow := w.dial(a.ns, "udp", at(b.v4, 5353), patience)
	require.True(w.t, cut.echoes(patience) && kept.echoes(patience) && flow != nil)
	w.apply(Change{Peers: map[PeerName]*nodewire.PolicyPeer{{"g", "default/a"}: nil}})
	require.False(w.t, cut.echoes(silence), "what is forbidden now stands still, though it was allowed when it began")
	_, err := flow.conn.Write([]byte("still there?\n"))
	require.NoError(w.t, err)
	_, err = flow.read(silence)
	require.Error(w.t, err)
	require.True(w.t, kept.echoes(patience), "others go on")
	w.misses(a.ns, "tcp", at(b.v4, 8080))
	c = Change{Peers: map[PeerName]*nodewire.PolicyPeer{}}
	w.group(&c, "g", "a")
	w.apply(c)
	w.reaches(a.ns, "tcp", at(b.v4, 8080), "b")
}

func broadcasts(w *world) {
	a, b := w.pods["a"], w.pods["b"]
	w.apply(w.full())
	heard := make(chan string, 64)
	w.in(b.ns, func() {
		conn, err := net.ListenPacket("udp4", ":7777")
		require.NoError(w.t, err)
		w.t.Cleanup(func() { _ = conn.Close() })
		go func() {
			buf := make([]byte, 64)
			for {
				n, _, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				heard <- string(buf[:n])
			}
		}()
	})
	for _, to := range []string{"10.88.0.255:7777", "255.255.255.255:7777", "224.0.0.1:7777", at(b.v4, 7777).String()} {
		w.in(a.ns, func() {
			conn, err := net.Dial("udp4", to)
			require.NoError(w.t, err)
			_, err = conn.Write([]byte(to))
			require.NoError(w.t, err)
			require.NoError(w.t, conn.Close())
		})
	}
	require.Equal(w.t, at(b.v4, 7777).String(), <-heard, "the one that was sent to the pod alone comes, and comes first")
}

// takesOver restarts the enforcer again and again while one client connects to where it may and another to where it mustn't.
func takesOver(w *world) {
	a, b, other := w.pods["a"], w.pods["b"], w.pods["c"]
	c := w.full()
	isolate(&c, "b", []string{"p"}, nil)
	c.Policies[named("p")] = policyOf(nodewire.PolicyRule{Groups: []string{"g"}})
	w.group(&c, "g", "a")
	w.apply(c)
	open := w.dial(a.ns, "tcp", at(b.v4, 8080), patience)
	stop := make(chan struct{})
	var made, refused atomic.Int64
	var failure, leak error
	var clients sync.WaitGroup
	client := func(do func() bool) {
		clients.Go(func() {
			runtime.LockOSThread() // never unlocked
			for {
				select {
				case <-stop:
					return
				default:
				}
				if !do() {
					return
				}
			}
		})
	}
	client(func() bool {
		s, err := connect(a.ns, "tcp", at(b.v4, 8080), patience)
		if err != nil {
			failure = fmt.Errorf("after %d connections: %w", made.Load(), err)
			return false
		}
		made.Add(1)
		return s.conn.Close() == nil
	})
	client(func() bool {
		if s, err := connect(other.ns, "tcp", at(b.v4, 8080), silence/20); err == nil {
			leak = fmt.Errorf("connected after %d tries: %w", refused.Load(), s.conn.Close())
			return false
		}
		refused.Add(1)
		return true
	})
	leftover := exec.Command("nft", "add chain inet "+table+" left; add set inet "+table+" over { type ipv4_addr; }; add rule inet "+table+" left ip saddr @over drop")
	out, err := leftover.CombinedOutput()
	require.NoError(w.t, err, "%s", out)
	for made.Load() < 300 || refused.Load() < 30 {
		w.enforcer = w.start()
		w.apply(c)
		if failure != nil || leak != nil {
			break
		}
	}
	close(stop)
	clients.Wait()
	require.NoError(w.t, failure)
	require.NoError(w.t, leak)
	require.True(w.t, open.echoes(patience))
	require.NotContains(w.t, w.rules(), "left")
	w.t.Logf("%d connections made, %d refused", made.Load(), refused.Load())
}

func addressReused(w *world) {
	a, b := w.pods["a"], w.pods["b"]
	c := w.full()
	isolate(&c, "b", []string{"deny"}, nil)
	c.Policies[named("deny")] = policyOf()
	isolate(&c, "new", []string{"open"}, nil)
	c.Policies[named("open")] = policyOf(nodewire.PolicyRule{Everybody: true})
	w.apply(c)
	w.misses(a.ns, "tcp", at(b.v4, 8080))
	require.NoError(w.t, w.enforcer.Place(w.t.Context(), "uid-new", b.addresses()))
	w.reaches(a.ns, "tcp", at(b.v4, 8080), "b")
	w.apply(Change{Addresses: map[string][]netip.Addr{"uid-b": nil}, Pods: map[nameOf]*nodewire.PodPolicy{named("b"): nil}})
	w.reaches(a.ns, "tcp", at(b.v4, 8080), "b")
	isolateAgain := Change{Pods: map[nameOf]*nodewire.PodPolicy{}}
	isolate(&isolateAgain, "new", []string{"deny"}, nil)
	w.apply(isolateAgain)
	w.misses(a.ns, "tcp", at(b.v4, 8080))
}

func meddled(w *world) {
	a, b := w.pods["a"], w.pods["b"]
	c := w.full()
	isolate(&c, "b", []string{"deny"}, nil)
	c.Policies[named("deny")] = policyOf()
	w.apply(c)
	out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput()
	require.NoError(w.t, err, "%s", out)
	w.reaches(a.ns, "tcp", at(b.v4, 8080), "b")
	require.NoError(w.t, w.enforcer.Verify(w.t.Context()))
	w.misses(a.ns, "tcp", at(b.v4, 8080))
	require.NoError(w.t, w.enforcer.Remove(w.t.Context()))
	require.NotContains(w.t, w.rules(), table)
}
