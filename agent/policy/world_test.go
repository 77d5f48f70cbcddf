package policy

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events/nodewire"
)

const (
	patience = 20 * time.Second       // with what must get through
	silence  = 600 * time.Millisecond // after which a packet counts as dropped
	bridge   = "pods"
	table    = "wake-policy-test"
	clientIP = "192.0.2.2"
)

var podNets = []netip.Prefix{netip.MustParsePrefix("10.88.0.0/24"), netip.MustParsePrefix("fd00:88::/64")}

// world is a node with pods on a bridge, and a client beside it, each in a network namespace of its own. The test's thread is in the node's.
type world struct {
	t            testing.TB
	node, client netns.NsHandle
	pods         map[string]*pod
	enforcer     *Enforcer
}

// pod answers at TCP ports 8080 and 8090 and UDP port 5353.
type pod struct {
	name   string
	ns     netns.NsHandle
	v4, v6 netip.Addr
}

func (p *pod) addresses() []netip.Addr { return []netip.Addr{p.v4, p.v6} }

// newWorld builds a world with the pods a, b and c. bridgeNetfilter says whether netfilter sees bridged packets by itself.
func newWorld(t testing.TB, bridgeNetfilter bool) *world {
	t.Helper()
	require.Zero(t, os.Geteuid(), "this test builds network namespaces and needs root: run it with sudo")
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	w := &world{t: t, pods: map[string]*pod{}}
	w.node, w.client = w.namespace(), w.namespace()
	w.enter(w.node)
	w.up("lo")
	require.NoError(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}))
	w.address(bridge, "10.88.0.1/24")
	w.address(bridge, "fd00:88::1/64")
	w.up(bridge)
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		require.NoError(t, os.WriteFile("/proc/sys/net/"+name, []byte("1"), 0o644))
	}
	for _, name := range []string{"iptables", "ip6tables"} {
		if path := "/proc/sys/net/bridge/bridge-nf-call-" + name; bridgeNetfilter {
			require.NoError(t, os.WriteFile(path, []byte("1"), 0o644), "a kernel with br_netfilter is needed to see both ways")
		} else if _, err := os.Stat(path); err == nil {
			require.NoError(t, os.WriteFile(path, []byte("0"), 0o644))
		}
	}
	w.cable(w.client, "outside", "192.0.2.1", clientIP+"/24")
	w.address("outside", "192.0.2.1/24")
	w.up("outside")
	for i, name := range []string{"a", "b", "c"} {
		w.addPod(name, 10+i)
	}
	w.listen(w.node, "node", "10.88.0.1:8080")
	w.enforcer = w.start()
	return w
}

// start starts an enforcer, as a process does.
func (w *world) start() *Enforcer {
	w.t.Helper()
	e, err := New(w.t.Context(), table, slog.New(slog.NewTextHandler(w.t.Output(), nil)))
	require.NoError(w.t, err)
	return e
}

func (w *world) namespace() netns.NsHandle {
	w.t.Helper()
	ns, err := netns.New()
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = ns.Close() })
	return ns
}

func (w *world) enter(ns netns.NsHandle) {
	w.t.Helper()
	require.NoError(w.t, netns.Set(ns))
}

// in runs do in another namespace and comes back.
func (w *world) in(ns netns.NsHandle, do func()) {
	w.t.Helper()
	w.enter(ns)
	defer w.enter(w.node)
	do()
}

func (w *world) link(name string) netlink.Link {
	w.t.Helper()
	link, err := netlink.LinkByName(name)
	require.NoError(w.t, err)
	return link
}

func (w *world) up(name string) {
	w.t.Helper()
	require.NoError(w.t, netlink.LinkSetUp(w.link(name)))
}

func (w *world) address(name, cidr string) {
	w.t.Helper()
	addr, err := netlink.ParseAddr(cidr)
	require.NoError(w.t, err)
	addr.Flags |= 0x02 // IFA_F_NODAD: usable at once
	require.NoError(w.t, netlink.AddrAdd(w.link(name), addr))
}

// cable connects the node's interface of a name to a namespace's eth0.
func (w *world) cable(ns netns.NsHandle, name, gateway string, cidrs ...string) {
	w.t.Helper()
	require.NoError(w.t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns)}))
	w.in(ns, func() {
		w.up("lo")
		w.up("eth0")
		for _, cidr := range cidrs {
			w.address("eth0", cidr)
		}
		require.NoError(w.t, netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(gateway)}))
	})
}

func (w *world) addPod(name string, number int) {
	w.t.Helper()
	p := &pod{name: name, ns: w.namespace(), v4: netip.MustParseAddr(fmt.Sprintf("10.88.0.%d", number)), v6: netip.MustParseAddr(fmt.Sprintf("fd00:88::%d", number))}
	w.enter(w.node)
	w.cable(p.ns, "port-"+name, "10.88.0.1", p.v4.String()+"/24", p.v6.String()+"/64")
	require.NoError(w.t, netlink.LinkSetMaster(w.link("port-"+name), w.link(bridge)))
	// With bridge netfilter, a pod's packet to its own service leaves by the port at which it came.
	require.NoError(w.t, netlink.LinkSetHairpin(w.link("port-"+name), true))
	w.up("port-" + name)
	for _, port := range []string{"8080", "8090"} {
		w.listen(p.ns, name, ":"+port)
	}
	w.in(p.ns, func() {
		conn, err := net.ListenPacket("udp", ":5353")
		require.NoError(w.t, err)
		w.t.Cleanup(func() { _ = conn.Close() })
		go func() {
			buf := make([]byte, 64)
			for {
				_, from, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = conn.WriteTo([]byte(name+"\n"), from)
			}
		}()
	})
	w.pods[name] = p
}

// listen echoes lines in a namespace, after a greeting.
func (w *world) listen(ns netns.NsHandle, greeting, at string) {
	w.t.Helper()
	var l net.Listener
	w.in(ns, func() {
		var err error
		l, err = net.Listen("tcp", at)
		require.NoError(w.t, err)
	})
	w.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_, err := conn.Write([]byte(greeting + "\n"))
				for lines := bufio.NewScanner(conn); err == nil && lines.Scan(); {
					_, err = conn.Write([]byte(lines.Text() + "\n"))
				}
			}()
		}
	}()
}

// dial connects from a namespace; nil: nothing got through in time.
func (w *world) dial(from netns.NsHandle, network string, to netip.AddrPort, within time.Duration) *session {
	w.t.Helper()
	s, err := connect(from, network, to, within)
	w.enter(w.node)
	if err != nil {
		return nil
	}
	w.t.Cleanup(func() { _ = s.conn.Close() })
	return s
}

// connect leaves the thread in the namespace.
func connect(from netns.NsHandle, network string, to netip.AddrPort, within time.Duration) (*session, error) {
	if err := netns.Set(from); err != nil {
		return nil, err
	}
	conn, err := net.DialTimeout(network, to.String(), within)
	if err != nil {
		return nil, err
	}
	s := &session{conn, bufio.NewReader(conn), ""}
	if network == "udp" {
		_, err = conn.Write([]byte("who?\n"))
	}
	if err == nil {
		s.greeting, err = s.read(within)
	}
	if err != nil {
		_ = conn.Close()
	}
	return s, err
}

type session struct {
	conn     net.Conn
	in       *bufio.Reader
	greeting string
}

func (s *session) read(within time.Duration) (string, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return "", err
	}
	line, err := s.in.ReadString('\n')
	return strings.TrimSpace(line), err
}

// echoes says whether the connection still works.
func (s *session) echoes(within time.Duration) bool {
	if _, err := s.conn.Write([]byte("still there?\n")); err != nil {
		return false
	}
	line, err := s.read(within)
	return err == nil && line == "still there?"
}

func at(addr netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(addr, port) }

func (w *world) reaches(from netns.NsHandle, network string, to netip.AddrPort, who string) {
	w.t.Helper()
	s := w.dial(from, network, to, patience)
	require.NotNil(w.t, s, "%s %s must be reachable:\n%s", network, to, w.rules())
	require.Equal(w.t, who, s.greeting)
}

func (w *world) misses(from netns.NsHandle, network string, to netip.AddrPort) {
	w.t.Helper()
	require.Nil(w.t, w.dial(from, network, to, silence), "%s %s must not be reachable:\n%s", network, to, w.rules())
}

func (w *world) rules() string {
	out, _ := exec.Command("nft", "list", "ruleset").CombinedOutput()
	return string(out)
}

// full is a change that tells everything: no policies so far.
func (w *world) full() Change {
	c := Change{Full: true, Bridge: &Bridge{bridge, podNets}, Pods: map[types.NamespacedName]*nodewire.PodPolicy{},
		Policies: map[types.NamespacedName]*nodewire.Policy{}, Peers: map[PeerName]*nodewire.PolicyPeer{}}
	for name, p := range w.pods {
		c.Place("uid-"+name, p.addresses())
	}
	return c
}

// isolate has policies isolate a pod.
func isolate(c *Change, name string, ingress, egress []string) {
	c.Pods[named(name)] = &nodewire.PodPolicy{UID: "uid-" + name, Ingress: ingress, Egress: egress,
		Ports: []nodewire.PolicyPort{{Protocol: corev1.ProtocolTCP, Port: 8080, Name: "http"}}}
}

type nameOf = types.NamespacedName

func named(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "default", Name: name}
}

// group makes pods the members of a group.
func (w *world) group(c *Change, id string, names ...string) {
	for _, name := range names {
		c.Peers[PeerName{id, "default/" + name}] = &nodewire.PolicyPeer{Addresses: w.pods[name].addresses()}
	}
}

func (w *world) apply(c Change) {
	w.t.Helper()
	w.enforcer.Note(c)
	require.NoError(w.t, w.enforcer.Sync(w.t.Context()))
}
