package ipvs_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	kernel "github.com/cloudflare/ipvs"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/behaviour"
	"github.com/wakehq/wake/agent/proxy/ipvs"
)

// patience bounds every wait for a packet: an emulated machine may stand still for seconds while its own is busy.
const patience = 10 * time.Second

// lone is a node whose only endpoints are its own: a bridge with addresses at which a listener echoes.
type lone struct {
	node behaviour.Node
	web  proxy.VirtualServer
}

func newLone(t *testing.T) lone {
	t.Helper()
	needIPVS(t)
	scratch(t)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "pods"}}
	require.NoError(t, netlink.LinkAdd(bridge))
	n := lone{
		node: behaviour.Node{
			Cluster: "one", PodDevice: "pods", PodNet: netip.MustParsePrefix("10.88.0.0/24"), ServiceNet: netip.MustParsePrefix("10.96.0.0/16"),
		},
		web: proxy.VirtualServer{Key: proxy.Key{Addr: netip.MustParseAddrPort("10.96.0.1:80"), Protocol: corev1.ProtocolTCP}},
	}
	require.NoError(t, netlink.LinkSetUp(bridge))
	for i := 1; i <= 2; i++ {
		addr, err := netlink.ParseAddr(fmt.Sprintf("10.88.0.%d/24", i))
		require.NoError(t, err)
		require.NoError(t, netlink.AddrAdd(bridge, addr))
		n.web.Endpoints = append(n.web.Endpoints, echo(t, addr.IP.String()))
	}
	return n
}

// echo listens at an address and echoes lines after one that says who it is.
func echo(t *testing.T, ip string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", ip+":8080")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_, err := fmt.Fprintln(conn, ip)
				lines := bufio.NewScanner(conn)
				for err == nil && lines.Scan() {
					_, err = fmt.Fprintln(conn, lines.Text())
				}
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// session is a connection through the service.
type session struct {
	net.Conn
	in  *bufio.Reader
	who string
}

func (n lone) open(t *testing.T) *session {
	t.Helper()
	conn, err := net.DialTimeout("tcp4", n.web.Addr.String(), patience)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	s := &session{Conn: conn, in: bufio.NewReader(conn)}
	s.who = s.hear(t)
	return s
}

func (s *session) hear(t *testing.T) string {
	t.Helper()
	require.NoError(t, s.SetReadDeadline(time.Now().Add(patience)))
	line, err := s.in.ReadString('\n')
	require.NoError(t, err, "the connection was cut")
	return strings.TrimSpace(line)
}

func (s *session) say(t *testing.T) {
	t.Helper()
	_, err := fmt.Fprintln(s, "still there?")
	require.NoError(t, err)
	require.Equal(t, "still there?", s.hear(t))
}

func stateOf(servers ...proxy.VirtualServer) proxy.State {
	state := proxy.State{Servers: map[proxy.Key]proxy.VirtualServer{}}
	for _, s := range servers {
		state.Servers[s.Key] = s
	}
	return state
}

// held are the kernel's services, with the weights of their endpoints.
func held(t *testing.T) map[string]map[string]uint32 {
	t.Helper()
	client, err := kernel.New()
	require.NoError(t, err)
	all := map[string]map[string]uint32{}
	services, err := client.Services()
	if err != nil {
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	for _, s := range services {
		weights := map[string]uint32{}
		endpoints, err := client.Destinations(s.Service)
		if err != nil {
			require.ErrorIs(t, err, os.ErrNotExist)
		}
		for _, d := range endpoints {
			weights[netip.AddrPortFrom(d.Address, d.Port).String()] = d.Weight
		}
		all[netip.AddrPortFrom(s.Address, s.Port).String()] = weights
	}
	return all
}

// A service that is gone stays in the kernel for its last connection, and no longer.
func TestDrains(t *testing.T) {
	n := newLone(t)
	backend := factory("rr")(t, n.node)
	require.NoError(t, backend.Reconcile(t.Context(), stateOf(n.web)))
	s := n.open(t)
	require.NoError(t, backend.Update(t.Context(), proxy.Diff{Gone: []proxy.Key{n.web.Key}}))
	s.say(t)
	_, err := net.DialTimeout("tcp4", n.web.Addr.String(), patience)
	require.ErrorContains(t, err, "connection refused")
	require.Equal(t, map[string]map[string]uint32{"10.96.0.1:80": {"10.88.0.1:8080": 0, "10.88.0.2:8080": 0}}, held(t))
	require.NoError(t, backend.Reconcile(t.Context(), stateOf()))
	require.Equal(t, map[string]map[string]uint32{"10.96.0.1:80": {s.who + ":8080": 0}}, held(t), "only the idle endpoint has drained")
	s.say(t)

	require.NoError(t, s.Conn.(*net.TCPConn).SetLinger(0)) // a reset, which IPVS forgets soon
	require.NoError(t, s.Close())
	for start := time.Now(); len(held(t)) > 0; time.Sleep(time.Second) { // this thread's namespace counts, so no goroutine may look
		require.NoError(t, backend.Reconcile(t.Context(), stateOf()))
		require.Less(t, time.Since(start), time.Minute, "an endpoint is there without a connection")
	}
}

// Connections survive the change from nftables to IPVS, which takes over the table of the same name.
func TestTakesOverFromNft(t *testing.T) {
	n := newLone(t)
	before := both[1].make(t, n.node)
	require.NoError(t, before.Reconcile(t.Context(), stateOf(n.web)))
	s := n.open(t)
	s.say(t)
	require.NoError(t, before.Close())
	require.NoError(t, factory("rr")(t, n.node).Reconcile(t.Context(), stateOf(n.web)))
	s.say(t)
	n.open(t).say(t)
	require.Len(t, held(t)["10.96.0.1:80"], 2)

	after := both[1].make(t, n.node)
	for range 2 { // the second time there is nothing
		require.NoError(t, ipvs.RemoveLeft(t.Context(), configFor(n.node, "")))
	}
	require.NoError(t, after.Reconcile(t.Context(), stateOf(n.web)))
	n.open(t).say(t)
	require.Empty(t, held(t))
}

// An endpoint that somebody takes away, or tells to drain, is noticed and put back.
func TestEndpointsComeBack(t *testing.T) {
	n := newLone(t)
	backend := factory("rr")(t, n.node)
	require.NoError(t, backend.Reconcile(t.Context(), stateOf(n.web)))
	client, err := kernel.New()
	require.NoError(t, err)
	services, err := client.Services()
	require.NoError(t, err)
	require.Len(t, services, 1)
	endpoints, err := client.Destinations(services[0].Service)
	require.NoError(t, err)
	drained := endpoints[0].Destination
	drained.Weight = 0
	for _, meddle := range []func() error{
		func() error { return client.RemoveDestination(services[0].Service, endpoints[0].Destination) },
		func() error { return client.UpdateDestination(services[0].Service, drained) },
	} {
		intact, err := backend.Intact(t.Context())
		require.NoError(t, err)
		require.True(t, intact, "before anybody meddles")
		require.NoError(t, meddle())
		intact, err = backend.Intact(t.Context())
		require.NoError(t, err)
		require.False(t, intact)
		require.NoError(t, backend.Reconcile(t.Context(), stateOf(n.web)))
		require.Equal(t, map[string]map[string]uint32{"10.96.0.1:80": {"10.88.0.1:8080": 1, "10.88.0.2:8080": 1}}, held(t))
	}
}

// A change of the scheduler by a new process cuts nothing.
func TestSchedulerChanges(t *testing.T) {
	n := newLone(t)
	require.NoError(t, factory("rr")(t, n.node).Reconcile(t.Context(), stateOf(n.web)))
	s := n.open(t)
	require.NoError(t, factory("mh")(t, n.node).Reconcile(t.Context(), stateOf(n.web)))
	s.say(t)
	first := n.open(t).who
	for range 5 {
		require.Equal(t, first, n.open(t).who)
	}
}

// Affinity is IPVS' persistence with the same timeout, and is turned off without cutting anybody.
func TestAffinityReachesTheKernel(t *testing.T) {
	n := newLone(t)
	backend := factory("rr")(t, n.node)
	n.web.Affinity = time.Minute
	require.NoError(t, backend.Reconcile(t.Context(), stateOf(n.web)))
	first := n.open(t)
	for range 5 {
		require.Equal(t, first.who, n.open(t).who)
	}
	client, err := kernel.New()
	require.NoError(t, err)
	services, err := client.Services()
	require.NoError(t, err)
	require.Len(t, services, 1)
	require.Equal(t, uint32(60), services[0].Timeout)
	require.NotZero(t, services[0].Flags&kernel.ServicePersistent)
	n.web.Affinity = 0
	require.NoError(t, backend.Update(t.Context(), proxy.Diff{Put: []proxy.VirtualServer{n.web}}))
	first.say(t)
	heard := map[string]bool{}
	for range 10 {
		heard[n.open(t).who] = true
	}
	require.Len(t, heard, 2)
}

// What IPVS must know, and what is left after Remove.
func TestSurroundings(t *testing.T) {
	n := newLone(t)
	rules := func() int {
		list, err := netlink.RuleList(netlink.FAMILY_V4)
		require.NoError(t, err)
		return len(list)
	}
	before := rules()
	backend := factory("rr")(t, n.node)
	for range 2 {
		require.NoError(t, backend.Reconcile(t.Context(), stateOf(n.web)))
		require.Equal(t, before+2, rules())
	}
	for _, name := range []string{"conntrack", "expire_nodest_conn", "expire_quiescent_template"} {
		value, err := os.ReadFile("/proc/sys/net/ipv4/vs/" + name)
		require.NoError(t, err)
		require.Equal(t, "1", string(bytes.TrimSpace(value)), name)
	}
	n.open(t).say(t)
	conns, err := os.ReadFile("/proc/thread-self/net/ip_vs_conn")
	require.NoError(t, err)
	fields := strings.Fields(strings.Split(string(conns), "\n")[1])
	seconds, err := strconv.Atoi(fields[len(fields)-1])
	require.NoError(t, err)
	require.Greater(t, seconds, 86400, "an established connection must be known for days: %s", conns)
	require.NoError(t, backend.Remove(t.Context()))
	require.Empty(t, held(t))
	require.Equal(t, before, rules())
	_, err = ipvs.New(t.Context(), ipvs.Config{Table: "wake-one"})
	require.ErrorContains(t, err, "0 pod networks")
}

// Many services are sent in few calls, and come to the same as those that are sent one by one.
func TestManyAtOnce(t *testing.T) {
	n := newLone(t)
	six, err := netlink.ParseAddr("fd00:88::1/64")
	require.NoError(t, err)
	six.Flags = unix.IFA_F_NODAD
	bridge, err := netlink.LinkByName("pods")
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(bridge, six))
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0o644))
	config := configFor(n.node, "wlc")
	config.PodNets = append(config.PodNets, netip.MustParsePrefix("fd00:88::/64"))
	config.ServiceNets = append(config.ServiceNets, netip.MustParsePrefix("fd00:96::/112"))
	var servers []proxy.VirtualServer
	for i := range 10 {
		for _, base := range []string{"10.96.1.0", "fd00:96::100"} {
			addr, endpoint := netip.MustParseAddr(base), map[bool]string{true: "10.88.0.%d", false: "fd00:88::%d"}
			for range i {
				addr = addr.Next()
			}
			s := proxy.VirtualServer{Key: proxy.Key{Addr: netip.AddrPortFrom(addr, 80), Protocol: corev1.ProtocolTCP}, Affinity: time.Duration(i%2) * 100 * time.Second}
			if i%3 == 0 {
				s.Protocol = corev1.ProtocolUDP
			}
			for e := range 6 { // with its service less than what is sent in one call when it comes alone
				s.Endpoints = append(s.Endpoints, netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf(endpoint[addr.Is4()], 10+e)), uint16(8000+e)))
			}
			servers = append(servers, s)
		}
	}
	kernelHas := func() map[string]string {
		client, err := kernel.New()
		require.NoError(t, err)
		services, err := client.Services()
		require.NoError(t, err)
		all := map[string]string{}
		for _, s := range services {
			s.Stats, s.Stats64 = kernel.Stats{}, kernel.Stats{}
			all[fmt.Sprint(s.Protocol, netip.AddrPortFrom(s.Address, s.Port))] = fmt.Sprintf("%+v", s.Service)
		}
		for at, weights := range held(t) {
			all[at] = fmt.Sprint(weights)
		}
		return all
	}
	atOnce, err := ipvs.New(t.Context(), config)
	require.NoError(t, err)
	require.NoError(t, atOnce.Reconcile(t.Context(), stateOf(servers...)))
	has := kernelHas()
	require.Len(t, has, 2*len(servers))
	intact, err := atOnce.Intact(t.Context())
	require.NoError(t, err)
	require.True(t, intact)
	require.NoError(t, atOnce.Remove(t.Context()))
	require.NoError(t, atOnce.Reconcile(t.Context(), stateOf()))
	for _, s := range servers {
		require.NoError(t, atOnce.Update(t.Context(), proxy.Diff{Put: []proxy.VirtualServer{s}}))
	}
	require.Equal(t, kernelHas(), has)
	require.NoError(t, atOnce.Remove(t.Context()))
	servers[0].Endpoints[1] = netip.MustParseAddrPort("224.0.0.1:1")
	require.ErrorContains(t, atOnce.Reconcile(t.Context(), stateOf(servers...)), "add endpoint "+servers[0].Key.String()+" 224.0.0.1:1")
}
