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
	"golang.org/x/sys/unix"
)

// Node is what a backend is told about the node that it serves.
type Node struct {
	// Cluster is a name that no other cluster on the node has.
	Cluster    string
	PodNet     netip.Prefix
	ServiceNet netip.Prefix
	// PodDevice is the pods' bridge.
	PodDevice string
	// ForwardMark marks what a filter on the node lets pass.
	ForwardMark uint32
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
	balancerIP        = "198.51.100.8"
	podNet            = "10.88.0.0/24"
	podCount          = 3
	tcpPort           = 8080
	udpPort           = 5353
	forwardMark       = 0x2000
	pathToNet         = "/proc/sys/net/"
	narrowest         = 1280 // bytes of the largest packet that each IPv6 link carries
)

// world is a node, its pods and a client, each in a namespace of its own. The test's thread is in the node's.
type world struct {
	kind
	node, client netns.NsHandle
	pods         []*pod
}

// podIP is the address of a pod, the first being 0.
func podIP(i int) string { return fmt.Sprintf("10.88.0.%d", 10+i) }

// newWorld builds a world. The calling goroutine is bound to its thread for good.
func newWorld(t testing.TB, k kind) *world {
	t.Helper()
	require.Zero(t, os.Geteuid(), "this test builds network namespaces and needs root: run it with sudo")
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	w := &world{kind: k, node: newNamespace(t), client: newNamespace(t)}
	w.enter(t, w.node)

	up(t, "lo")
	require.NoError(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}))
	w.address(t, bridge, bridgeIP+"/24")
	up(t, bridge)
	forward(t)
	setBridgeNetfilter(t, k.bridged)

	w.cable(t, w.client, "outside", clientIP+"/24", nodeIP)
	w.address(t, "outside", nodeIP+"/24")
	up(t, "outside")
	for i := range podCount {
		w.addPod(t, i)
	}
	return w
}

// forward has the current namespace forward packets, and say what it refuses however often it does.
func forward(t testing.TB) {
	t.Helper()
	for name, value := range map[string]string{"ipv4/ip_forward": "1", "ipv4/icmp_ratelimit": "0", "ipv6/conf/all/forwarding": "1", "ipv6/icmp/ratelimit": "0"} {
		setSysctl(t, name, value)
	}
}

// setBridgeNetfilter turns the filtering of bridged packets on or off. A kernel without it is off already.
func setBridgeNetfilter(t testing.TB, on bool) {
	t.Helper()
	for _, name := range []string{"bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"} {
		if _, err := os.Stat(pathToNet + name); err == nil {
			setSysctl(t, name, map[bool]string{false: "0", true: "1"}[on])
		}
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
		w.address(t, "eth0", addr)
		up(t, "eth0")
		require.NoError(t, netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(w.at(gateway))}))
	})
}

// behindNarrowLink makes the client a router and gives a namespace behind it, to which only small packets pass. Neither end knows.
func (w *world) behindNarrowLink(t testing.TB) netns.NsHandle {
	t.Helper()
	far := newNamespace(t)
	w.enter(t, w.client)
	forward(t)
	w.cable(t, far, "narrow", farIP+"/24", farGateway)
	if w.six { // requests that don't fit get lost on the way in, unlike IPv4's; what is asked for is large answers
		w.in(t, far, func() {
			require.NoError(t, netlink.RouteReplace(&netlink.Route{Gw: net.ParseIP(w.at(farGateway)), MTU: narrowest, AdvMSS: 1440}))
		})
	}
	w.enter(t, w.client) // cable comes back to the node
	w.address(t, "narrow", farGateway+"/24")
	require.NoError(t, netlink.LinkSetMTU(linkOf(t, "narrow"), map[bool]int{false: 1000, true: narrowest}[w.six]))
	up(t, "narrow")
	w.enter(t, w.node)
	beyond := netip.MustParsePrefix(w.at(farGateway + "/24")).Masked()
	require.NoError(t, netlink.RouteAdd(&netlink.Route{
		Dst: &net.IPNet{IP: beyond.Addr().AsSlice(), Mask: net.CIDRMask(beyond.Bits(), beyond.Addr().BitLen())}, Gw: net.ParseIP(w.at(clientIP)),
	}))
	return far
}

func (w *world) addPod(t testing.TB, i int) {
	t.Helper()
	p := &pod{name: fmt.Sprintf("pod-%d", i), ip: w.at(podIP(i)), ns: newNamespace(t)}
	w.enter(t, w.node)
	port := fmt.Sprintf("port-%d", i)
	w.cable(t, p.ns, port, podIP(i)+"/24", bridgeIP)
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

func (w *world) address(t testing.TB, name, cidr string) {
	t.Helper()
	addr, err := netlink.ParseAddr(w.at(cidr))
	require.NoError(t, err)
	if w.six {
		addr.Flags = unix.IFA_F_NODAD // nobody else has it, and nobody waits
	}
	require.NoError(t, netlink.AddrAdd(linkOf(t, name), addr))
}
