package behaviour

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Node is what a backend is told about the node that it serves.
type Node struct {
	// Cluster is a name that no other cluster on the node has.
	Cluster    string
	PodNet     netip.Prefix
	ServiceNet netip.Prefix
	// PodDevice is the pods' bridge.
	PodDevice string
}

// The addresses of the world.
const (
	nodeName = "node-a"
	bridge   = "pods"
	bridgeIP = "10.88.0.1"
	nodeIP   = "192.0.2.1"
	clientIP = "192.0.2.2"
	// The namespace behind the client, if a test has one.
	farIP, farGateway = "203.0.113.2", "203.0.113.1"
	publicIP          = "198.51.100.7" // an external IP
	podNet            = "10.88.0.0/24"
	podCount          = 3
	tcpPort           = 8080
	udpPort           = 5353
	pathToNet         = "/proc/sys/net/"
)

// world is a node, its pods and a client, each in a namespace of its own. The test's thread is in the node's.
type world struct {
	node, client netns.NsHandle
	pods         []*pod
}

// podIP is the address of a pod, the first being 0.
func podIP(i int) string { return fmt.Sprintf("10.88.0.%d", 10+i) }

// newWorld builds a world. bridgeNetfilter says whether netfilter sees bridged packets, which kernels and
// distributions do differently. The calling goroutine is bound to its thread for good.
func newWorld(t testing.TB, bridgeNetfilter bool) *world {
	t.Helper()
	require.Zero(t, os.Geteuid(), "this test builds network namespaces and needs root: run it with sudo")
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	w := &world{node: newNamespace(t), client: newNamespace(t)}
	w.enter(t, w.node)

	up(t, "lo")
	require.NoError(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}))
	address(t, bridge, bridgeIP+"/24")
	up(t, bridge)
	setSysctl(t, "ipv4/ip_forward", "1")
	setBridgeNetfilter(t, bridgeNetfilter)

	w.cable(t, w.client, "outside", clientIP+"/24", nodeIP)
	address(t, "outside", nodeIP+"/24")
	up(t, "outside")
	for i := range podCount {
		w.addPod(t, i)
	}
	return w
}

// setBridgeNetfilter turns the filtering of bridged packets on or off. A kernel without it is off already.
func setBridgeNetfilter(t testing.TB, on bool) {
	t.Helper()
	const name = "bridge/bridge-nf-call-iptables"
	if _, err := os.Stat(pathToNet + name); err == nil {
		setSysctl(t, name, map[bool]string{false: "0", true: "1"}[on])
	}
}

func setSysctl(t testing.TB, name, value string) {
	t.Helper()
	require.NoError(t, os.WriteFile(pathToNet+name, []byte(value), 0o644))
}

// newNamespace makes a namespace and leaves the thread in it.
func newNamespace(t testing.TB) netns.NsHandle {
	t.Helper()
	ns, err := netns.New()
	require.NoError(t, err, "making a network namespace")
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

func (w *world) enter(t testing.TB, ns netns.NsHandle) {
	t.Helper()
	require.NoError(t, netns.Set(ns), "entering a network namespace")
}

// in runs do in another namespace and comes back.
func (w *world) in(t testing.TB, ns netns.NsHandle, do func()) {
	t.Helper()
	w.enter(t, ns)
	defer w.enter(t, w.node)
	do()
}

// cable connects the node's interface of the given name to a namespace's eth0, which gets an address and a way out.
func (w *world) cable(t testing.TB, ns netns.NsHandle, name, addr, gateway string) {
	t.Helper()
	require.NoError(t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns),
	}))
	w.in(t, ns, func() {
		up(t, "lo")
		address(t, "eth0", addr)
		up(t, "eth0")
		require.NoError(t, netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(gateway)}))
	})
}

// behindNarrowLink makes the client a router and gives a namespace behind it, to which only small packets pass. Neither end knows.
func (w *world) behindNarrowLink(t testing.TB) netns.NsHandle {
	t.Helper()
	far := newNamespace(t)
	w.enter(t, w.client)
	setSysctl(t, "ipv4/ip_forward", "1")
	w.cable(t, far, "narrow", farIP+"/24", farGateway)
	w.enter(t, w.client) // cable comes back to the node
	address(t, "narrow", farGateway+"/24")
	require.NoError(t, netlink.LinkSetMTU(linkOf(t, "narrow"), 1000))
	up(t, "narrow")
	w.enter(t, w.node)
	require.NoError(t, netlink.RouteAdd(&netlink.Route{
		Dst: &net.IPNet{IP: net.ParseIP(farGateway).Mask(net.CIDRMask(24, 32)), Mask: net.CIDRMask(24, 32)}, Gw: net.ParseIP(clientIP),
	}))
	return far
}

func (w *world) addPod(t testing.TB, i int) {
	t.Helper()
	p := &pod{name: fmt.Sprintf("pod-%d", i), ip: podIP(i), ns: newNamespace(t)}
	w.enter(t, w.node)
	port := fmt.Sprintf("port-%d", i)
	w.cable(t, p.ns, port, p.ip+"/24", bridgeIP)
	link, br := linkOf(t, port), linkOf(t, bridge)
	require.NoError(t, netlink.LinkSetMaster(link, br))
	// With bridge netfilter, a pod's packet to itself leaves by the port at which it came.
	require.NoError(t, netlink.LinkSetHairpin(link, true))
	up(t, port)
	w.in(t, p.ns, func() { p.listen(t) })
	w.pods = append(w.pods, p)
}

func linkOf(t testing.TB, name string) netlink.Link {
	t.Helper()
	link, err := netlink.LinkByName(name)
	require.NoError(t, err)
	return link
}

func up(t testing.TB, name string) {
	t.Helper()
	require.NoError(t, netlink.LinkSetUp(linkOf(t, name)))
}

func address(t testing.TB, name, cidr string) {
	t.Helper()
	addr, err := netlink.ParseAddr(cidr)
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(linkOf(t, name), addr))
}
