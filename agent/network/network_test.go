package network

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPodsReachPods asks every pod from every pod, on one node, over a shared link, and through a tunnel, in both families.
func TestPodsReachPods(t *testing.T) {
	for _, routing := range []Routing{Auto, VXLAN} {
		t.Run(string(routing), func(t *testing.T) {
			w, outside := office(t, routing, true)
			a, b, c := w.nodes["a"], w.nodes["b"], w.nodes["c"]
			pods := []*pod{a.pod(), a.pod(), b.pod(), c.pod()}
			way := map[Routing]string{Auto: "via 192.0.2.2 dev eth0", VXLAN: "via 10.244.1.0 dev wvx-"}
			require.Contains(t, a.ip("route show proto 157"), way[routing])
			require.Contains(t, a.ip("route show proto 157"), "10.244.2.0/24 via 10.244.2.0 dev wvx-")
			for _, from := range pods {
				for _, to := range pods {
					for family := range 2 {
						gets(t, from.ns, to.Addrs[family], 8080, from.Addrs[family].String(), fmt.Sprintf("%s to %s", from.Addrs[family], to.Addrs[family]))
					}
				}
			}
			// Nodes reach pods everywhere; pods reach nodes on their link untranslated, and what is outside as their node.
			for _, p := range pods[1:] {
				connects(t, a.ns, "tcp", netip.AddrPortFrom(p.Addrs[0], 8080).String(), fmt.Sprintf("node a to %s", p.Addrs[0]))
			}
			serve(t, b.ns, 9090)
			serve(t, outside.ns, 9090)
			seen := map[Routing]string{Auto: pods[0].Addrs[0].String(), VXLAN: "192.0.2.1"}
			gets(t, pods[0].ns, b.config.NodeIP, 9090, seen[routing], "a pod to another node")
			gets(t, pods[0].ns, netip.MustParseAddr("192.0.2.254"), 9090, "192.0.2.1", "a pod to what is outside")
			serve(t, a.ns, 9090)
			got := connects(t, pods[0].ns, "tcp", netip.AddrPortFrom(a.config.NodeIP, 9090).String(), "a pod to its own node")
			require.Equal(t, pods[0].Addrs[0].String(), got)
		})
	}
}

// TestNarrowTunnel holds that pods that were attached before there was a tunnel get large answers through it.
func TestNarrowTunnel(t *testing.T) {
	w, _ := office(t, Auto, false)
	w.meet("a")
	w.meet("b")
	w.meet("c")
	// The route to b over the link goes last, after the node has taken in that it needs no tunnel.
	soon(t, noticed, "no tunnel", func() bool { return w.nodes["a"].ip("route show proto 157") == "" })
	p := w.nodes["a"].pod()
	require.Contains(t, w.nodes["a"].ip("link show "+vethName(p.ID)), "mtu 1500")
	w.meet("a", "b", "c")
	q := w.nodes["c"].pod()
	gets(t, p.ns, q.Addrs[0], 8080, p.Addrs[0].String(), "from the wide to the narrow")
	gets(t, q.ns, p.Addrs[0], 8080, q.Addrs[0].String(), "from the narrow to the wide")
}

// flow sends packets without pause, and counts those that were not answered.
type flow struct{ sent, lost atomic.Int64 }

func (p *pod) stream(to netip.Addr) (f *flow, stop func()) {
	f = &flow{}
	quit, done := make(chan struct{}), make(chan struct{})
	var c net.Conn
	in(p.t, p.ns, func() {
		var err error
		c, err = net.Dial("udp", netip.AddrPortFrom(to, 8080).String())
		require.NoError(p.t, err)
	})
	go func() {
		defer close(done)
		buffer := make([]byte, 100)
		for {
			select {
			case <-quit:
				return
			default:
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // what is lost is never answered
			_, err := c.Write([]byte("x"))
			if err == nil {
				_, err = c.Read(buffer)
			}
			f.sent.Add(1)
			if err != nil {
				f.lost.Add(1)
			}
		}
	}()
	return f, func() {
		close(quit)
		<-done
		_ = c.Close()
	}
}

// TestRestartDropsNothing kills nodes' processes under traffic; the next ones find all as it should be, and what went meanwhile disappears.
func TestRestartDropsNothing(t *testing.T) {
	w, _ := office(t, Auto, false)
	a := w.nodes["a"]
	from, near, far := a.pod(), w.nodes["b"].pod(), w.nodes["c"].pod()
	gets(t, from.ns, near.Addrs[0], 8080, from.Addrs[0].String(), "before")
	gets(t, from.ns, far.Addrs[0], 8080, from.Addrs[0].String(), "before")
	soon(t, patience, "the kernel says that all links are up", func() bool { return !strings.Contains(a.ip("link show"), "DOWN") })
	before := a.ip("link show") + a.ip("route") + a.ip("neigh show nud permanent") + a.sh("bridge fdb show | grep dst")
	direct, stopDirect := from.stream(near.Addrs[0])
	tunnel, stopTunnel := from.stream(far.Addrs[0])
	for range 3 {
		a.kill()
		a.start()
		require.Empty(t, a.tell(order{Use: a.peer.Ranges}))
		require.Empty(t, a.tell(order{Attach: &from.Sandbox}))
		require.Empty(t, a.tell(order{Peers: []Peer{a.peer, w.nodes["b"].peer, w.nodes["c"].peer}}))
	}
	enough := [2]int64{direct.sent.Load() + 100, tunnel.sent.Load() + 100}
	soon(t, patience, "traffic after the last restart", func() bool { return direct.sent.Load() > enough[0] && tunnel.sent.Load() > enough[1] })
	stopDirect()
	stopTunnel()
	for _, f := range []*flow{direct, tunnel} {
		require.Zero(t, f.lost.Load(), "of %d packets", f.sent.Load())
	}
	require.Equal(t, before, a.ip("link show")+a.ip("route")+a.ip("neigh show nud permanent")+a.sh("bridge fdb show | grep dst"), "the new process has changed nothing")

	a.kill()
	a.start()
	require.Empty(t, a.tell(order{Use: a.peer.Ranges}))
	require.Empty(t, a.tell(order{Peers: []Peer{a.peer, w.nodes["b"].peer}}))
	soon(t, noticed, "the route of who went meanwhile disappears", func() bool { return !strings.Contains(a.ip("route"), "10.244.2.0/24") })
	soon(t, patience, "and then its entries of the tunnel", func() bool {
		return !strings.Contains(a.ip("neigh show nud permanent"), "10.244.2.0") && !strings.Contains(a.sh("bridge fdb show | grep dst || true"), "198.51.100.1")
	})
}

// TestMeddling holds that what somebody else takes away comes back.
func TestMeddling(t *testing.T) {
	w, _ := office(t, Auto, false)
	a := w.nodes["a"]
	from, near, far := a.pod(), w.nodes["b"].pod(), w.nodes["c"].pod()
	gets(t, from.ns, near.Addrs[0], 8080, from.Addrs[0].String(), "before")
	bridge, tunnel := a.names().bridge, a.names().vxlan
	for _, meddle := range []string{
		"ip route del 10.244.1.0/24", "ip route del 10.244.2.0/24", "ip link del " + tunnel, "ip neigh flush nud permanent dev " + tunnel,
		"bridge fdb del $(bridge fdb show dev " + tunnel + " | grep dst | cut -d' ' -f1) dev " + tunnel, "ip addr flush dev " + bridge, "ip link set " + bridge + " down",
		"ip link set " + vethName(from.ID) + " nomaster", "ip link del " + bridge, "ip link set eth0 down; ip link set eth0 up; ip route add default via 192.0.2.254",
	} {
		a.sh(meddle)
		for _, to := range []*pod{near, far} {
			soon(t, noticed, meddle, func() bool {
				seen, err := ask(t, from.ns, "udp", netip.AddrPortFrom(to.Addrs[0], 8080).String())
				return err == nil && seen == from.Addrs[0].String()
			})
		}
	}
	for _, meddle := range []string{"nft delete table inet " + a.names().table, "nft flush chain inet " + a.names().table + " forward", "iptables -w -F FORWARD"} {
		a.sh(meddle)
		soon(t, patience, meddle, func() bool {
			seen, err := ask(t, from.ns, "udp", netip.AddrPortFrom(near.Addrs[0], 8080).String())
			return err == nil && seen == from.Addrs[0].String()
		})
	}
	require.Empty(t, a.tell(order{Remove: true}))
	require.NotContains(t, a.ip("link")+a.ip("route"), "10.244")
	require.NotContains(t, a.ip("link"), "wbr-")
	require.NotContains(t, a.ip("link"), "wvx-")
	require.NotContains(t, a.sh("nft list tables"), a.names().table)
	require.NotContains(t, a.sh("iptables -S"), a.names().table)
}

func (n *node) names() names { return namesOf(n.config.Mark) }

// TestComingAndGoing holds that routes follow at once, and that a range that moves moves.
func TestComingAndGoing(t *testing.T) {
	w, _ := office(t, Auto, false)
	a, b := w.nodes["a"], w.nodes["b"]
	require.Empty(t, a.tell(order{Peers: []Peer{b.peer}}))
	soon(t, noticed, "it comes", func() bool { return strings.Contains(a.ip("route"), "10.244.1.0/24 via 192.0.2.2 dev eth0") })
	moved := b.peer
	moved.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.77")}
	require.Empty(t, a.tell(order{Peers: []Peer{moved}}))
	soon(t, noticed, "it moves", func() bool { return strings.Contains(a.ip("route"), "10.244.1.0/24 via 192.0.2.77 dev eth0") })
	moved.Addrs = []netip.Addr{netip.MustParseAddr("198.51.100.77")}
	require.Empty(t, a.tell(order{Peers: []Peer{moved}}))
	soon(t, noticed, "it moves away", func() bool { return strings.Contains(a.ip("route"), "10.244.1.0/24 via 10.244.1.0 dev wvx-") })
	require.Empty(t, a.tell(order{Alone: true}))
	soon(t, noticed, "it goes", func() bool { return !strings.Contains(a.ip("route"), "10.244.1.0/24") })
	soon(t, noticed, "the tunnel goes with the last", func() bool { return !strings.Contains(a.ip("link"), "wvx-") })
}

// TestHalfAttached holds that an attachment that was cut short isn't taken for one, and is done again.
func TestHalfAttached(t *testing.T) {
	w, _ := office(t, Auto, false)
	a := w.nodes["a"]
	other := a.pod()
	p := a.unattached()
	name := vethName(p.ID)
	for _, step := range []string{
		fmt.Sprintf("ip link add %s type veth peer name eth0 netns %d", name, p.PID),
		fmt.Sprintf("nsenter -t %d -n ip addr add %s/24 dev eth0", p.PID, p.Addrs[0]),
		fmt.Sprintf("nsenter -t %d -n ip link set eth0 up", p.PID),
		fmt.Sprintf("ip link set %s master %s", name, a.names().bridge),
	} {
		a.sh(step)
		a.kill()
		a.start()
		in(t, a.ns, func() {
			n, err := New(a.config)
			require.NoError(t, err)
			require.False(t, n.Attached(p.Sandbox), step)
		})
		require.Empty(t, a.tell(order{Use: a.peer.Ranges}))
	}
	require.Empty(t, a.tell(order{Attach: &p.Sandbox}))
	gets(t, other.ns, p.Addrs[0], 8080, other.Addrs[0].String(), "when it is attached")
	require.Contains(t, a.tell(order{Attach: &Sandbox{ID: "else", PID: p.PID, Addrs: p.Addrs}}), "belongs to sandbox")
	require.Contains(t, a.tell(order{Attach: &Sandbox{ID: "elsewhere", PID: p.PID, Addrs: []netip.Addr{netip.MustParseAddr("10.1.1.1")}}}), "aren't this node's")
}

// TestHostPorts asks a port of the node from outside, from the node, from other pods and from the pod itself.
func TestHostPorts(t *testing.T) {
	w, outside := office(t, Auto, false)
	a := w.nodes["a"]
	serves := a.pod(HostPort{Protocol: "tcp", Port: 1080, PodPort: 8080}, HostPort{Protocol: "udp", Port: 1080, PodPort: 8080},
		HostPort{At: a.config.NodeIP, Protocol: "tcp", Port: 1081, PodPort: 8080})
	other, far := a.pod(), w.nodes["c"].pod()
	gets(t, outside.ns, a.config.NodeIP, 1080, "192.0.2.254", "from outside")
	gets(t, a.ns, a.config.NodeIP, 1080, "192.0.2.1", "from the node")
	gets(t, a.ns, netip.MustParseAddr("127.0.0.1"), 1080, "10.244.0.1", "from the node at 127.0.0.1")
	gets(t, other.ns, a.config.NodeIP, 1080, "10.244.0.1", "from a pod of the node")
	gets(t, serves.ns, a.config.NodeIP, 1080, "10.244.0.1", "from the pod itself")
	connects(t, far.ns, "tcp", "192.0.2.1:1080", "from a pod elsewhere")
	connects(t, outside.ns, "tcp", "192.0.2.1:1081", "at one address")
	_, err := ask(t, a.ns, "tcp", "127.0.0.1:1081")
	require.Error(t, err, "not at another")

	thief := a.unattached()
	thief.Ports = []HostPort{{Protocol: "tcp", Port: 1080, PodPort: 8080}}
	require.Contains(t, a.tell(order{Attach: &thief.Sandbox}), "address already in use")
	a.kill()
	gets(t, outside.ns, a.config.NodeIP, 1080, "192.0.2.254", "without an agent")
	a.start()
	require.Empty(t, a.tell(order{Use: a.peer.Ranges}))
	require.Empty(t, a.tell(order{Attach: &serves.Sandbox}))
	require.Empty(t, a.tell(order{Alone: true}))
	soon(t, noticed, "the new process serves them", func() bool { return a.tell(order{Attach: &thief.Sandbox}) != "" })
	require.Empty(t, a.tell(order{Release: serves.ID}))
	soon(t, noticed, "gone", func() bool { _, err := ask(t, outside.ns, "tcp", "192.0.2.1:1080"); return err != nil })
	require.Empty(t, a.tell(order{Attach: &thief.Sandbox}))
	connects(t, outside.ns, "tcp", "192.0.2.1:1080", "the next one has it")
}

// TestPodsLoopback holds that pods can't reach what the node serves to itself, though packets from 127.0.0.1 are let through to them.
func TestPodsLoopback(t *testing.T) {
	w, _ := office(t, Auto, false)
	p := w.nodes["a"].pod()
	serve(t, w.nodes["a"].ns, 7070)
	require.NoError(t, exec.Command("nsenter", "-t", fmt.Sprint(p.PID), "-n", "sh", "-ec",
		"echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip addr flush dev lo; ip route del table local 127.0.0.0/8 2>/dev/null || true; ip route add 127.0.0.1/32 via 10.244.0.1 dev eth0").Run())
	_, err := ask(t, p.ns, "tcp", "127.0.0.1:7070")
	require.Error(t, err)
}

// TestTakenRange holds that a range that something else uses is refused, and seen when one is looked for.
func TestTakenRange(t *testing.T) {
	w := newWorld(t)
	m := w.machine("a")
	m.ip("link add other type bridge")
	m.ip("addr add 10.244.0.1/24 dev other")
	m.ip("link set other up")
	in(t, m.ns, func() {
		n, err := New(Config{Mark: w.prefix[6:], Cluster: "c", Node: "a", NodeIP: netip.MustParseAddr("192.0.2.1")})
		require.NoError(t, err)
		err = n.Use(t.Context(), []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")})
		require.ErrorContains(t, err, "uses at other already")
		by, err := Used(netip.MustParsePrefix("10.244.0.0/16"))
		require.NoError(t, err)
		require.Equal(t, "other", by)
		by, err = Used(netip.MustParsePrefix("10.245.0.0/16"))
		require.NoError(t, err)
		require.Empty(t, by)
	})
}
