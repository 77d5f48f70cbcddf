package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/agent/proxy"
)

func ptr[T any](v T) *T { return &v }

func service(namespace, name string, ips []string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: ips[0], ClusterIPs: ips, Ports: ports},
	}
}

func slice(namespace, service, name string, ports []discoveryv1.EndpointPort, eps ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		Ports:      ports, Endpoints: eps,
	}
}

func ready(ip, host string) discoveryv1.Endpoint {
	ep := discoveryv1.Endpoint{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(true)}}
	if host != "" {
		ep.Hostname = &host
	}
	return ep
}

func unready(ip string) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(false)}}
}

func external(namespace, name, target string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: target},
	}
}

// everything is a cluster with a service of each kind.
func everything(testing.TB) proxy.Change {
	http := corev1.ServicePort{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}
	pg := []discoveryv1.EndpointPort{{Name: ptr("pg"), Protocol: ptr(corev1.ProtocolTCP), Port: ptr(int32(5432))}}
	starting := service("shop", "starting", []string{"None"})
	starting.Spec.PublishNotReadyAddresses = true
	return proxy.Change{
		Full: true,
		Services: []*corev1.Service{
			service("shop", "web", []string{"10.96.0.10", "fd00:96::10"}, http, corev1.ServicePort{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53}),
			service("default", "kubernetes", []string{"10.96.0.1"}, corev1.ServicePort{Name: "https", Port: 443}),
			service("shop", "db", []string{"None"}), service("shop", "idle", []string{"None"}), starting,
			external("shop", "mail", "MX.example.org"), external("shop", "alias", "web.shop.svc.cluster.local."),
			external("shop", "gone", "nothing.shop.svc.cluster.local"), external("shop", "circle", "circle.shop.svc.cluster.local"),
		},
		SlicesPut: []*discoveryv1.EndpointSlice{
			slice("shop", "web", "web-1", []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr(int32(8080))}}, ready("10.244.0.5", "")),
			slice("shop", "db", "db-1", pg, ready("10.244.0.6", "db-0"), ready("10.244.1.6", "db-1"), ready("10.244.2.6", ""), unready("10.244.3.6")),
			slice("shop", "db", "db-2", pg, ready("fd00:244::6", "db-0")),
			slice("shop", "idle", "idle-1", nil, unready("10.244.0.7")),
			slice("shop", "starting", "starting-1", nil, unready("10.244.0.8")),
		},
	}
}

func open(t testing.TB, config Config) *Server {
	t.Helper()
	if config.Listen == nil {
		config.Listen = []string{"127.0.0.1:0"}
	}
	s, err := Open(config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// serve starts a server that knows everything.
func serve(t testing.TB, config Config) *Server {
	t.Helper()
	s := open(t, config)
	require.NoError(t, s.Apply(everything(t)))
	start(t, s)
	return s
}

func start(t testing.TB, s *Server) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

func ask(t testing.TB, s *Server, network, name string, qtype uint16, change ...func(*dns.Msg)) *dns.Msg {
	t.Helper()
	query := new(dns.Msg)
	query.SetQuestion(name, qtype)
	for _, c := range change {
		c(query)
	}
	client := dns.Client{Net: network, Timeout: 20 * time.Second}
	reply, _, err := client.Exchange(query, s.Addrs()[0].String())
	require.NoError(t, err)
	return reply
}

// said shows a reply in a few words: "10.1.2.3 10.1.2.4", or why there is nothing.
func said(m *dns.Msg) string {
	var words []string
	for _, rr := range m.Answer {
		words = append(words, strings.ReplaceAll(strings.TrimPrefix(rr.String(), rr.Header().String()), ".cluster.local.", "…"))
	}
	slices.Sort(words)
	if m.Rcode != dns.RcodeSuccess || len(words) == 0 {
		words = append(words, dns.RcodeToString[m.Rcode])
	}
	if len(m.Ns) > 0 && m.Ns[0].Header().Rrtype == dns.TypeSOA {
		words = append(words, "SOA")
	}
	return strings.Join(words, " ")
}

// names are questions to the cluster of everything, below cluster.local, and what is said.
var names = []struct {
	name  string
	qtype uint16
	want  string
}{
	{"web.shop.svc", dns.TypeA, "10.96.0.10"},
	{"WEB.Shop.svc", dns.TypeA, "10.96.0.10"},
	{"web.shop.svc", dns.TypeAAAA, "fd00:96::10"},
	{"web.shop.svc", dns.TypeMX, "NOERROR SOA"},
	{"kubernetes.default.svc", dns.TypeA, "10.96.0.1"},
	{"kubernetes.default.svc", dns.TypeAAAA, "NOERROR SOA"},
	{"nothing.shop.svc", dns.TypeA, "NXDOMAIN SOA"},
	{"shop.svc", dns.TypeA, "NOERROR SOA"},
	{"nowhere.svc", dns.TypeA, "NXDOMAIN SOA"},
	{"svc", dns.TypeA, "NOERROR SOA"},
	{"other", dns.TypeA, "NXDOMAIN SOA"},
	{"a.b.c.web.shop.svc", dns.TypeA, "NXDOMAIN SOA"},
	{"10-244-0-5.web.shop.svc", dns.TypeA, "10.244.0.5"},

	{"db.shop.svc", dns.TypeA, "10.244.0.6 10.244.1.6 10.244.2.6"},
	{"db.shop.svc", dns.TypeAAAA, "fd00:244::6"},
	{"db-0.db.shop.svc", dns.TypeA, "10.244.0.6"},
	{"db-0.db.shop.svc", dns.TypeAAAA, "fd00:244::6"},
	{"db-1.db.shop.svc", dns.TypeAAAA, "NOERROR SOA"},
	{"10-244-2-6.db.shop.svc", dns.TypeA, "10.244.2.6"},
	{"10-244-3-6.db.shop.svc", dns.TypeA, "NXDOMAIN SOA"},
	{"idle.shop.svc", dns.TypeA, "NXDOMAIN SOA"},
	{"starting.shop.svc", dns.TypeA, "10.244.0.8"},

	{"_http._tcp.web.shop.svc", dns.TypeSRV, "0 100 80 web.shop.svc…"},
	{"_dns._udp.web.shop.svc", dns.TypeSRV, "0 100 53 web.shop.svc…"},
	{"_http._udp.web.shop.svc", dns.TypeSRV, "NXDOMAIN SOA"},
	{"_tcp.web.shop.svc", dns.TypeSRV, "NOERROR SOA"},
	{"web.shop.svc", dns.TypeSRV, "0 50 53 web.shop.svc… 0 50 80 web.shop.svc…"},
	{"_http._tcp.web.shop.svc", dns.TypeA, "10.96.0.10"},
	{"_pg._tcp.db.shop.svc", dns.TypeSRV, "0 33 5432 10-244-2-6.db.shop.svc… 0 33 5432 db-0.db.shop.svc… 0 33 5432 db-1.db.shop.svc…"},

	{"alias.shop.svc", dns.TypeA, "10.96.0.10 web.shop.svc…"},
	{"alias.shop.svc", dns.TypeCNAME, "web.shop.svc…"},
	{"gone.shop.svc", dns.TypeA, "nothing.shop.svc… NXDOMAIN SOA"},
	{"mail.shop.svc", dns.TypeCNAME, "mx.example.org."},
	{"mail.shop.svc", dns.TypeA, "mx.example.org. SERVFAIL"},

	{"10-244-9-9.any.pod", dns.TypeA, "10.244.9.9"},
	{"fd00-244--9.any.pod", dns.TypeAAAA, "fd00:244::9"},
	{"10-244-9-9.any.pod", dns.TypeAAAA, "NOERROR SOA"},
	{"10-1-9-9.any.pod", dns.TypeA, "NXDOMAIN SOA"},
	{"some-name.any.pod", dns.TypeA, "NXDOMAIN SOA"},
	{"any.pod", dns.TypeA, "NOERROR SOA"},

	{"dns-version", dns.TypeTXT, `"1.1.0"`},
	{"ns.dns", dns.TypeA, "127.0.0.1"},
	{"", dns.TypeNS, "ns.dns…"},
	{"", dns.TypeA, "NOERROR SOA"},
}

func TestNames(t *testing.T) {
	s := serve(t, Config{PodRanges: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/32")}})
	for _, c := range names {
		reply := ask(t, s, "udp", strings.TrimPrefix(c.name+".cluster.local.", "."), c.qtype)
		require.Equal(t, c.want, said(reply), "%s %s", c.name, dns.TypeToString[c.qtype])
		require.True(t, reply.Authoritative, c.name)
	}
	for address, want := range map[string]string{
		"10.96.0.10": "web.shop.svc…", "fd00:96::10": "web.shop.svc…", "10.244.1.6": "db-1.db.shop.svc…", "fd00:244::6": "db-0.db.shop.svc…",
		"10.244.2.6": "NXDOMAIN SOA", "192.0.2.1": "REFUSED",
	} {
		name, err := dns.ReverseAddr(address)
		require.NoError(t, err)
		require.Equal(t, want, said(ask(t, s, "udp", name, dns.TypePTR)), address)
	}
	soa := ask(t, s, "udp", "nothing.shop.svc.cluster.local.", dns.TypeA).Ns[0].(*dns.SOA)
	require.EqualValues(t, []uint32{5, 5}, []uint32{soa.Hdr.Ttl, soa.Minttl}, "denials last as long as answers")
	require.Equal(t, "Web.SHOP.svc.cluster.local.", ask(t, s, "udp", "Web.SHOP.svc.cluster.local.", dns.TypeA).Answer[0].Header().Name)
	require.Len(t, ask(t, s, "udp", "_http._tcp.web.shop.svc.cluster.local.", dns.TypeSRV).Extra, 2, "the addresses of SRV targets come along")
}

// TestTheSystemsResolver asks as programs do.
func TestTheSystemsResolver(t *testing.T) {
	s := serve(t, Config{})
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.Addrs()[0].String())
	}}
	addrs, err := r.LookupHost(t.Context(), "web.shop.svc.cluster.local")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"10.96.0.10", "fd00:96::10"}, addrs)
	_, srvs, err := r.LookupSRV(t.Context(), "pg", "tcp", "db.shop.svc.cluster.local")
	require.NoError(t, err)
	require.Len(t, srvs, 3)
	_, err = r.LookupHost(t.Context(), "nothing.shop.svc.cluster.local")
	var missing *net.DNSError
	require.ErrorAs(t, err, &missing)
	require.True(t, missing.IsNotFound)
}

func TestChangesAreSeenByTheNextQuery(t *testing.T) {
	s := open(t, Config{})
	start(t, s)
	require.ErrorIs(t, s.Apply(proxy.Change{}), ErrNotFull)
	require.Equal(t, "SERVFAIL", said(ask(t, s, "udp", "web.shop.svc.cluster.local.", dns.TypeA)), "what isn't known yet isn't denied")
	require.NoError(t, s.Apply(everything(t)))
	require.Equal(t, "10.96.0.10", said(ask(t, s, "udp", "web.shop.svc.cluster.local.", dns.TypeA)))
	require.NoError(t, s.Apply(proxy.Change{SlicesPut: []*discoveryv1.EndpointSlice{slice("shop", "idle", "idle-1", nil, ready("10.244.0.7", ""))}}))
	require.Equal(t, "10.244.0.7", said(ask(t, s, "udp", "idle.shop.svc.cluster.local.", dns.TypeA)))
	require.NoError(t, s.Apply(proxy.Change{ServicesGone: []types.NamespacedName{{Namespace: "shop", Name: "web"}}}))
	require.Equal(t, "NXDOMAIN SOA", said(ask(t, s, "udp", "web.shop.svc.cluster.local.", dns.TypeA)))
}

func TestLargeAnswers(t *testing.T) {
	s := serve(t, Config{})
	var eps []discoveryv1.Endpoint
	for i := range 1000 {
		eps = append(eps, ready(fmt.Sprintf("10.244.%d.%d", i/250, i%250), ""))
	}
	require.NoError(t, s.Apply(proxy.Change{SlicesPut: []*discoveryv1.EndpointSlice{slice("shop", "idle", "idle-1", nil, eps...)}}))
	const name = "idle.shop.svc.cluster.local."
	plain := ask(t, s, "udp", name, dns.TypeA)
	require.True(t, plain.Truncated)
	plain.Compress = true
	require.LessOrEqual(t, plain.Len(), 512)
	require.Nil(t, plain.IsEdns0())
	wide := ask(t, s, "udp", name, dns.TypeA, func(m *dns.Msg) { m.SetEdns0(4096, false) })
	require.True(t, wide.Truncated)
	require.Greater(t, len(wide.Answer), 2*len(plain.Answer))
	require.EqualValues(t, bufferBytes, wide.IsEdns0().UDPSize())
	whole := ask(t, s, "tcp", name, dns.TypeA)
	require.False(t, whole.Truncated)
	require.Len(t, whole.Answer, 1000)

	first := map[string]bool{}
	for range 30 {
		first[ask(t, s, "udp", name, dns.TypeA).Answer[0].String()] = true
	}
	require.Greater(t, len(first), 10, "every endpoint gets to be the first")
}

func TestQueriesThatAreNotAnswered(t *testing.T) {
	s := serve(t, Config{})
	const name = "web.shop.svc.cluster.local."
	require.Equal(t, dns.RcodeBadVers, ask(t, s, "udp", name, dns.TypeA, func(m *dns.Msg) { m.SetEdns0(512, false); m.IsEdns0().SetVersion(1) }).Rcode)
	require.Equal(t, dns.RcodeRefused, ask(t, s, "udp", name, dns.TypeA, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }).Rcode)
	require.Equal(t, dns.RcodeRefused, ask(t, s, "tcp", "cluster.local.", dns.TypeAXFR).Rcode)
	require.Equal(t, dns.RcodeNotImplemented, ask(t, s, "udp", name, dns.TypeA, func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }).Rcode)
	require.Equal(t, dns.RcodeServerFailure, ask(t, s, "udp", "circle.shop.svc.cluster.local.", dns.TypeA).Rcode)
	require.Equal(t, dns.RcodeRefused, ask(t, s, "udp", "example.org.", dns.TypeA).Rcode, "there is nobody to ask")
}

func TestConfigurationIsChecked(t *testing.T) {
	_, err := Open(Config{})
	require.ErrorContains(t, err, "Listen")
	_, err = Open(Config{Listen: []string{"127.0.0.1:0"}, Domain: "a..b"})
	require.ErrorContains(t, err, "a..b")
	s := open(t, Config{})
	_, err = Open(Config{Listen: []string{s.Addrs()[0].String()}})
	require.ErrorContains(t, err, s.Addrs()[0].String())
	_, err = Open(Config{Listen: []string{"127.0.0.1:0"}, ResolvConf: "/nowhere/resolv.conf"})
	require.ErrorContains(t, err, "/nowhere/resolv.conf")
}

// authority is a name server that knows names of example.org, on a real socket.
type authority struct {
	addr  netip.AddrPort
	asked atomic.Int64
	stop  func()
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	k, err := listen("127.0.0.1:0")
	require.NoError(t, err)
	a := &authority{addr: k.addr}
	handle := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		if r.Question[0].Qtype != dns.TypeHINFO { // by which the server looks for loops, beside
			a.asked.Add(1)
		}
		m := new(dns.Msg)
		m.SetReply(r)
		rr := func(text string) dns.RR { record, _ := dns.NewRR(text); return record }
		switch name := r.Question[0].Name; name {
		case "mx.example.org.":
			m.Answer = []dns.RR{rr(name + " 60 IN A 192.0.2.25")}
		case "big.example.org.":
			for i := range 200 {
				m.Answer = append(m.Answer, rr(fmt.Sprintf("%s 60 IN A 192.0.2.%d", name, i)))
			}
		case "broken.example.org.":
			m.Rcode = dns.RcodeServerFailure
		default:
			m.Rcode = dns.RcodeNameError
			m.Ns = []dns.RR{rr("example.org. 60 IN SOA ns.example.org. root.example.org. 1 2 3 4 60")}
		}
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			m.Truncate(512)
		}
		_ = w.WriteMsg(m)
	})
	for _, server := range []*dns.Server{{PacketConn: k.udp, Handler: handle}, {Listener: k.tcp, Handler: handle}} {
		go func() { _ = server.ActivateAndServe() }()
	}
	a.stop = func() { _ = k.udp.Close(); _ = k.tcp.Close() }
	t.Cleanup(a.stop)
	return a
}

func TestOtherNames(t *testing.T) {
	deaf, err := net.ListenPacket("udp", "127.0.0.1:0") // a server that never answers
	require.NoError(t, err)
	defer func() { _ = deaf.Close() }()
	a := newAuthority(t)
	s := serve(t, Config{Upstreams: []netip.AddrPort{deaf.LocalAddr().(*net.UDPAddr).AddrPort(), a.addr}})

	reply := ask(t, s, "udp", "MX.example.org.", dns.TypeA)
	require.Equal(t, "192.0.2.25", said(reply))
	require.Equal(t, "MX.example.org.", reply.Answer[0].Header().Name)
	require.False(t, reply.Authoritative)
	before := a.asked.Load()
	require.Equal(t, "192.0.2.25", said(ask(t, s, "udp", "mx.example.org.", dns.TypeA)))
	require.Equal(t, "192.0.2.25 mx.example.org.", said(ask(t, s, "udp", "mail.shop.svc.cluster.local.", dns.TypeA)), "an alias ends in what is kept")
	require.Equal(t, before, a.asked.Load(), "what is kept isn't asked again")

	require.Equal(t, "NXDOMAIN SOA", said(ask(t, s, "udp", "no.example.org.", dns.TypeA)))
	require.Len(t, ask(t, s, "tcp", "big.example.org.", dns.TypeA).Answer, 200, "a truncated answer is fetched over TCP")
	require.True(t, ask(t, s, "udp", "big.example.org.", dns.TypeA).Truncated)
	require.Equal(t, "SERVFAIL", said(ask(t, s, "udp", "broken.example.org.", dns.TypeA)))

	a.stop()
	require.Equal(t, "192.0.2.25", said(ask(t, s, "udp", "mx.example.org.", dns.TypeA)))
	require.Equal(t, "10.96.0.10", said(ask(t, s, "udp", "web.shop.svc.cluster.local.", dns.TypeA)))
}

// TestServersThatLoopAreLeftOut has a server ask a forwarder that asks it in turn.
func TestServersThatLoopAreLeftOut(t *testing.T) {
	s := open(t, Config{})
	k, err := listen("127.0.0.1:0")
	require.NoError(t, err)
	var right atomic.Bool // the forwarder has been set right
	forwarder := &dns.Server{PacketConn: k.udp, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		if right.Load() {
			_ = w.WriteMsg(new(dns.Msg).SetRcode(r, dns.RcodeNameError))
			return
		}
		if reply, err := dns.Exchange(r, s.Addrs()[0].String()); err == nil {
			_ = w.WriteMsg(reply)
		}
	})}
	go func() { _ = forwarder.ActivateAndServe() }()
	t.Cleanup(func() { _ = k.udp.Close(); _ = k.tcp.Close() })

	s.upstreams.set(append(s.Addrs(), k.addr))
	require.Len(t, *s.upstreams.list.Load(), 1, "it doesn't ask itself")
	start(t, s)
	require.Eventually(t, func() bool { return len(s.upstreams.usable(time.Now())) == 0 }, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, "REFUSED", said(ask(t, s, "udp", "example.org.", dns.TypeA)))

	s.upstreams.probe(t.Context(), true, s.secret)
	require.Empty(t, s.upstreams.usable(time.Now()), "it still loops")
	right.Store(true)
	require.Eventually(t, func() bool { // one that doesn't answer in time stays left out
		s.upstreams.probe(t.Context(), true, s.secret)
		return len(s.upstreams.usable(time.Now())) == 1
	}, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, "NXDOMAIN", said(ask(t, s, "udp", "example.org.", dns.TypeA)))
}
