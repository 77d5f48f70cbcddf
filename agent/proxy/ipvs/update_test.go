package ipvs

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudflare/ipvs"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/knftables"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/proxytest"
)

var rewrite = flag.Bool("update", false, "rewrite the golden transcripts")

const tcp, udp = corev1.ProtocolTCP, corev1.ProtocolUDP

func testConfig(t require.TestingT) Config {
	cfg, err := Config{
		Table:       "wake-test",
		PodNets:     []netip.Prefix{netip.MustParsePrefix("10.88.0.0/24")},
		ServiceNets: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
	}.complete()
	require.NoError(t, err)
	return cfg
}

// recorder is a fake nft that shows the text of each transaction.
type recorder struct {
	*knftables.Fake
	ran func(text string)
}

func (r recorder) Run(ctx context.Context, tx *knftables.Transaction) error {
	if err := r.Fake.Run(ctx, tx); err != nil {
		return err
	}
	r.ran(strings.TrimSpace(tx.String()))
	return nil
}

// rig is a backend on fakes, whose clock stands still unless told.
type rig struct {
	*Backend
	ipvs *fakeIPVS
	nft  *knftables.Fake
	time time.Time
}

func newRig(t require.TestingT, told func(words string)) *rig {
	r := &rig{ipvs: newFakeIPVS(told), nft: knftables.NewFake(knftables.IPv4Family, "wake-test"), time: time.Unix(1_000_000, 0)}
	r.restart(t, told)
	return r
}

// restart puts a new process in the place of the one before.
func (r *rig) restart(t require.TestingT, told func(words string)) {
	r.Backend = newBackend(testConfig(t), r.ipvs, recorder{r.nft, told}, noKernel{told})
	r.now = func() time.Time { return r.time }
}

func server(addr string, protocol corev1.Protocol, endpoints ...string) proxy.VirtualServer {
	s := proxy.VirtualServer{Key: proxy.Key{Addr: netip.MustParseAddrPort(addr), Protocol: protocol}}
	for _, ep := range endpoints {
		s.Endpoints = append(s.Endpoints, netip.MustParseAddrPort(ep))
	}
	return s
}

func state(servers ...proxy.VirtualServer) proxy.State {
	s := proxy.State{Servers: map[proxy.Key]proxy.VirtualServer{}}
	for _, server := range servers {
		s.Servers[server.Key] = server
	}
	return s
}

// TestTranscript compares everything that is sent to the kernel, in its order, with the golden transcript.
func TestTranscript(t *testing.T) {
	var transcript strings.Builder
	r := newRig(t, func(words string) { transcript.WriteString(words + "\n") })
	web := server("10.96.0.1:80", tcp, "10.88.0.2:8080", "10.88.0.3:8080")
	dns := server("10.96.0.9:53", udp, "10.88.0.9:53")
	local := server("192.0.2.1:30080", tcp)
	local.PreserveSource, local.Unserved = true, proxy.Drop
	served, nobody := local, local
	served.Endpoints, nobody.Unserved = web.Endpoints, proxy.Reject
	sticky := web
	sticky.Affinity = time.Minute
	busy := openKey(web.Key, netip.MustParseAddrPort("10.88.0.3:8080"))
	put := func(servers ...proxy.VirtualServer) func() error {
		return func() error { return r.Update(t.Context(), proxy.Diff{Put: servers}) }
	}
	gone := func(keys ...proxy.Key) func() error {
		return func() error { return r.Update(t.Context(), proxy.Diff{Gone: keys}) }
	}
	steps := []struct {
		title string
		do    func() error
	}{
		{"start", func() error {
			return r.Reconcile(t.Context(), state(web, dns, local, server("[fd00::1]:80", tcp, "[fd01::2]:80")))
		}},
		{"one endpoint in the place of another: no transaction", put(server("10.96.0.1:80", tcp, "10.88.0.2:8080", "10.88.0.4:8080"))},
		{"it comes back before it has drained", put(web)},
		{"affinity", put(sticky)},
		{"the last UDP endpoint goes: refused first", put(server("10.96.0.9:53", udp))},
		{"the first UDP endpoint comes: refused until then", put(server("10.96.0.9:53", udp, "10.88.0.8:53"))},
		{"local endpoints come", put(served)},
		{"local endpoints go", put(local)},
		{"nobody has any: refused, not dropped", put(nobody)},
		{"nothing for this family", put(server("[fd00::1]:80", tcp))},
		{"services go, one with an open connection", func() error {
			r.ipvs.open[busy] = 1
			return gone(web.Key, dns.Key)()
		}},
		{"a while later: what is idle has drained", func() error {
			r.time = r.time.Add(time.Minute)
			return put()()
		}},
		{"started again: the connection is still open", func() error {
			r.restart(t, r.ipvs.sent)
			return r.Reconcile(t.Context(), state(nobody))
		}},
		{"it has ended", func() error {
			delete(r.ipvs.open, busy)
			r.time = r.time.Add(time.Minute)
			return put(dns)()
		}},
		{"removed", func() error { return r.Remove(t.Context()) }},
	}
	for _, step := range steps {
		fmt.Fprintf(&transcript, "== %s\n", step.title)
		require.NoError(t, step.do(), step.title)
	}
	const golden = "testdata/transcript.txt"
	if *rewrite {
		require.NoError(t, os.WriteFile(golden, []byte(transcript.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(string(want), transcript.String()))
}

// witness looks at the kernel after every step of an update: nobody's connection is cut, and whoever is served before and after the update meets
// an endpoint of one or the other at any time.
type witness struct {
	t             *rapid.T
	rig           *rig
	before, after map[proxy.Key]proxy.VirtualServer
}

func (w *witness) look(words string) {
	if w.rig == nil {
		return
	}
	for key, before := range w.before {
		after, stays := w.after[key]
		if !stays || len(before.Endpoints) == 0 || len(after.Endpoints) == 0 || !ipv4.serves(key) {
			continue
		}
		serving := w.rig.ipvs.serving(key)
		require.NotEmpty(w.t, serving, "nobody serves %s after %q", key, words)
		require.Subset(w.t, append(slices.Clone(before.Endpoints), after.Endpoints...), serving, "%s after %q", key, words)
		require.Empty(w.t, w.rig.verdict(key), "%s is refused after %q", key, words)
		require.True(w.t, w.rig.led(key), "%s isn't led to IPVS after %q", key, words)
	}
	for name, open := range w.rig.ipvs.open {
		addr, endpoint, _ := strings.Cut(name, " ")
		if open == 0 || strings.HasSuffix(addr, "UDP") {
			continue
		}
		var there bool
		for key, weights := range w.rig.ipvs.weights {
			_, has := weights[netip.MustParseAddrPort(endpoint)]
			there = there || key.String() == addr && has && w.rig.led(key)
		}
		require.True(w.t, there, "the connection %s is cut by %q", name, words)
	}
}

// verdict is what the table says of a key that nobody serves; led says whether it leads packets to IPVS.
func (r *rig) verdict(key proxy.Key) string {
	if e := r.nft.Table.Maps[unserved].FindElement(elementKey(key)); e != nil {
		return strings.Join(e.Value, " ")
	}
	return ""
}

func (r *rig) led(key proxy.Key) bool {
	return r.nft.Table.Sets[virtual].FindElement(elementKey(key)) != nil
}

// check compares the kernel with what it should serve.
func (r *rig) check(t *rapid.T, servers map[proxy.Key]proxy.VirtualServer) {
	for key, server := range servers {
		if !ipv4.serves(key) {
			continue
		}
		require.Equal(t, append([]netip.AddrPort(nil), server.Endpoints...), r.ipvs.serving(key), key)
		want := ""
		if len(server.Endpoints) == 0 {
			want = map[proxy.Unserved]string{proxy.Reject: "goto refuse", proxy.Drop: "drop"}[server.Unserved]
		}
		require.Equal(t, want, r.verdict(key), key)
		if s, there := r.ipvs.services[key]; there && len(server.Endpoints) > 0 {
			require.Equal(t, uint32(server.Affinity.Seconds()), s.Timeout, key)
			hidden := r.nft.Table.Sets[external].FindElement(elementKey(key)) != nil
			require.Equal(t, !server.PreserveSource, hidden, key)
		}
	}
	for key := range r.ipvs.services {
		require.True(t, r.led(key), "%s is in IPVS but not led there", key)
		if _, wanted := servers[key]; !wanted {
			require.Empty(t, r.ipvs.serving(key), "%s serves though it is gone", key)
			require.Equal(t, "goto refuse", r.verdict(key), key)
		}
	}
	for _, e := range r.nft.Table.Sets[virtual].Elements {
		key, ok := parseKey(e.Key)
		require.True(t, ok)
		require.Contains(t, r.ipvs.services, key, "led to IPVS, which has nothing")
	}
}

// spy passes a proxy's orders on and tells the witness what they are.
type spy struct {
	*rig
	w     *witness
	state map[proxy.Key]proxy.VirtualServer
}

func (s *spy) Reconcile(ctx context.Context, state proxy.State) error {
	s.w.before, s.w.after, s.state = s.state, state.Servers, maps.Clone(state.Servers)
	return s.rig.Reconcile(ctx, state)
}

func (s *spy) Update(ctx context.Context, diff proxy.Diff) error {
	s.w.before, s.state = s.state, maps.Clone(s.state)
	for _, key := range diff.Gone {
		delete(s.state, key)
	}
	for _, server := range diff.Put {
		s.state[server.Key] = server
	}
	s.w.after = s.state
	return s.rig.Update(ctx, diff)
}

const killed = "killed"

// dies runs do, which may be killed.
func dies(do func()) {
	defer func() {
		if why := recover(); why != nil && why != killed {
			panic(why)
		}
	}()
	do()
}

// After any history of changes, connections that open and close, and kills at any step, the kernel serves what it should; and at every step between, nobody who is
// served all along is refused, and no connection is cut.
func TestEveryStepServes(t *testing.T) {
	node := proxy.Node{Name: "node-a", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	rapid.Check(t, func(t *rapid.T) {
		cluster, w := proxytest.NewCluster(), &witness{t: t}
		steps := 0 // until the process is killed; 0: it isn't
		look := func(words string) {
			w.look(words)
			if steps--; steps == 0 {
				panic(killed)
			}
		}
		r := newRig(t, look)
		s := &spy{rig: r, w: w}
		p := proxy.New(s, node, failing(t))
		require.NoError(t, p.Apply(t.Context(), proxy.Change{Full: true}))
		w.rig = r
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0: // killed at some step of an update, or after it, and started again
				steps = rapid.IntRange(1, 6).Draw(t, "steps")
				dies(func() { require.NoError(t, p.Apply(t.Context(), cluster.Change(t))) })
				steps, s.state = 0, w.before
				r.restart(t, look)
				p = proxy.New(s, node, failing(t))
				require.NoError(t, p.Apply(t.Context(), cluster.Everything()))
			case 1:
				require.NoError(t, p.Reconcile(t.Context()))
			case 2, 3: // connections to some endpoints
				for key := range r.ipvs.services {
					for _, endpoint := range r.ipvs.serving(key) {
						r.ipvs.open[openKey(key, endpoint)] = rapid.Uint32Range(0, 1).Draw(t, "open")
					}
				}
			case 4: // some end
				for name := range r.ipvs.open {
					if rapid.Bool().Draw(t, "ends") {
						delete(r.ipvs.open, name)
					}
				}
			default:
				require.NoError(t, p.Apply(t.Context(), cluster.Change(t)))
			}
			r.time = r.time.Add(time.Duration(rapid.Int64Range(0, 20).Draw(t, "seconds")) * time.Second)
			r.check(t, s.state)
		}
		// When all connections have ended, nothing is left of what drained.
		clear(r.ipvs.open)
		for range 2 { // weight 0 first, then out
			require.NoError(t, p.Reconcile(t.Context()))
		}
		fresh := newRig(t, func(string) {})
		require.NoError(t, fresh.Reconcile(t.Context(), proxy.State{Servers: s.state}))
		require.Empty(t, cmp.Diff(fresh.ipvs.contents(), r.ipvs.contents()))
		require.Len(t, r.ipvs.services, len(fresh.ipvs.services), "leftover services")
		// A further reconciliation has nothing to tell IPVS.
		var told []string
		r.ipvs.sent = func(words string) { told = append(told, words) }
		require.NoError(t, p.Reconcile(t.Context()))
		require.Empty(t, told)
	})
}

// failing is a logger whose lines fail the test: they tell of updates that had to be rescued.
func failing(t *rapid.T) *slog.Logger { return slog.New(slog.NewTextHandler(writer{t}, nil)) }

type writer struct{ t *rapid.T }

func (w writer) Write(line []byte) (int, error) {
	w.t.Errorf("%s", line)
	return len(line), nil
}

// However many services drain, one update looks at a few of them.
func TestSweepsInPortions(t *testing.T) {
	r := newRig(t, func(string) {})
	var all []proxy.VirtualServer
	var keys []proxy.Key
	for i := range 2*sweepAtMost + 1 {
		s := server(fmt.Sprintf("10.96.%d.%d:80", i/200, i%200), tcp, "10.88.0.2:8080")
		all, keys = append(all, s), append(keys, s.Key)
	}
	require.NoError(t, r.Reconcile(t.Context(), state(all...)))
	require.NoError(t, r.Update(t.Context(), proxy.Diff{Gone: keys}))
	r.time = r.time.Add(time.Minute)
	for _, left := range []int{sweepAtMost + 1, 1, 0, 0} {
		require.NoError(t, r.Update(t.Context(), proxy.Diff{}))
		require.Len(t, r.ipvs.services, left)
	}
}

// However many services there are, the endpoints of each get their turn.
func TestEndpointsAreLookedAtInTurns(t *testing.T) {
	r := newRig(t, func(string) {})
	var all []proxy.VirtualServer
	for i := range 2*lookAtMost + 1 {
		all = append(all, server(fmt.Sprintf("10.96.%d.%d:80", i/200, i%200), tcp, "10.88.0.2:8080", "10.88.0.3:8080"))
	}
	require.NoError(t, r.Reconcile(t.Context(), state(all...)))
	round := func() (missed int) {
		for range 3 {
			there, err := r.endpointsThere()
			require.NoError(t, err)
			if !there {
				missed++
			}
		}
		return missed
	}
	require.Zero(t, round())
	one := all[7]
	at := message(one.Key, service{})
	require.NoError(t, r.ipvs.RemoveDestination(at, destination(one.Endpoints[1], 0)))
	require.Equal(t, 1, round())
	require.NoError(t, r.ipvs.CreateDestination(at, destination(one.Endpoints[1], 0)))
	require.Equal(t, 1, round(), "a weight that somebody changed counts too")
	require.NoError(t, r.Reconcile(t.Context(), state(all...)))
	require.NoError(t, r.Update(t.Context(), proxy.Diff{Gone: []proxy.Key{one.Key}, Put: []proxy.VirtualServer{server("10.97.0.1:80", tcp, "10.88.0.2:8080")}}))
	require.Zero(t, round(), "what the backend changes itself is no meddling")
}

func TestOthersServicesAreLeftAlone(t *testing.T) {
	r := newRig(t, func(string) {})
	foreign := server("198.51.100.1:80", tcp).Key
	require.NoError(t, r.ipvs.CreateService(message(foreign, service{scheduler: "wlc"})))
	inOurNet := server("10.96.7.7:80", tcp).Key
	require.NoError(t, r.ipvs.CreateService(message(inOurNet, service{scheduler: "wlc"})))
	web := server("10.96.0.1:80", tcp, "10.88.0.2:8080")
	require.NoError(t, r.Reconcile(t.Context(), state(web)))
	require.Contains(t, r.ipvs.services, foreign)
	require.NotContains(t, r.ipvs.services, inOurNet)
	require.NoError(t, r.Remove(t.Context()))
	require.Equal(t, []proxy.Key{foreign}, slices.Collect(maps.Keys(r.ipvs.services)))
}

// Whatever somebody did to our services is undone, without cutting them.
func TestMeddlingIsUndone(t *testing.T) {
	r := newRig(t, func(string) {})
	web := server("10.96.0.1:80", tcp, "10.88.0.2:8080", "10.88.0.3:8080")
	require.NoError(t, r.Reconcile(t.Context(), state(web)))
	s := message(web.Key, service{scheduler: "wlc", flags: ipvs.ServiceOnePacket})
	require.NoError(t, r.ipvs.UpdateService(s))
	tunnel := destination(web.Endpoints[0], 1)
	tunnel.FwdMethod = ipvs.Tunnel
	require.NoError(t, r.ipvs.UpdateDestination(s, tunnel))
	require.NoError(t, r.ipvs.RemoveDestination(s, destination(web.Endpoints[1], 0)))
	require.NoError(t, r.ipvs.CreateDestination(s, destination(netip.MustParseAddrPort("10.88.0.9:1"), 1)))
	var told []string
	r.ipvs.sent = func(words string) { told = append(told, words) }
	require.NoError(t, r.Reconcile(t.Context(), state(web)))
	require.Equal(t, []string{
		"ipvs: set service 10.96.0.1:80/TCP rr  timeout=0",
		"ipvs: add endpoint 10.96.0.1:80/TCP 10.88.0.3:8080 Masquerade weight=1",
		"ipvs: set endpoint 10.96.0.1:80/TCP 10.88.0.2:8080 Masquerade weight=1",
		"ipvs: set endpoint 10.96.0.1:80/TCP 10.88.0.9:1 Masquerade weight=0",
	}, told)
}

// When somebody deletes the table, the process still knows what it made.
func TestTableGoneServiceGone(t *testing.T) {
	r := newRig(t, func(string) {})
	port := server("192.0.2.1:30080", tcp, "10.88.0.2:8080")
	require.NoError(t, r.Reconcile(t.Context(), state(port)))
	tx := r.nft.NewTransaction()
	tx.Delete(&knftables.Table{})
	require.NoError(t, r.nft.Run(t.Context(), tx))
	require.Error(t, r.Update(t.Context(), proxy.Diff{Gone: []proxy.Key{port.Key}}))
	for range 2 { // weight 0 first, then out
		require.NoError(t, r.Reconcile(t.Context(), state()))
	}
	require.Empty(t, r.ipvs.services)
}

// A service that IPVS refused after the table knew it is found again by a new process, which doesn't want it any more.
func TestNothingLeaksWhenKilledBetween(t *testing.T) {
	r := newRig(t, func(string) {})
	require.NoError(t, r.Reconcile(t.Context(), state()))
	port := server("192.0.2.1:30080", tcp, "10.88.0.2:8080")
	// The process dies with the service in IPVS and its endpoint not.
	r.ipvs.sent = func(words string) {
		if strings.HasPrefix(words, "ipvs: add service") {
			panic("killed")
		}
	}
	require.PanicsWithValue(t, "killed", func() { _ = r.Update(t.Context(), proxy.Diff{Put: []proxy.VirtualServer{port}}) })
	require.Contains(t, r.ipvs.services, port.Key)
	r.ipvs.sent = func(string) {}
	r.restart(t, func(string) {})
	require.NoError(t, r.Reconcile(t.Context(), state()))
	require.Empty(t, r.ipvs.services)
	require.False(t, r.led(port.Key))
}

func TestErrorsSayWhatWasSent(t *testing.T) {
	r := newRig(t, func(string) {})
	require.NoError(t, r.Reconcile(t.Context(), state()))
	r.ipvs.fail = errors.New("no memory")
	err := r.Update(t.Context(), proxy.Diff{Put: []proxy.VirtualServer{server("10.96.0.1:80", tcp, "10.88.0.2:8080")}})
	require.ErrorIs(t, err, r.ipvs.fail)
	require.ErrorContains(t, err, "add service 10.96.0.1:80/TCP scheduler=rr")
	require.ErrorContains(t, err, "operation 1 of 2")
}

func TestConfigErrors(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`table name "a b"`:            func(c *Config) { c.Table = "a b" },
		`scheduler "round robin"`:     func(c *Config) { c.Scheduler = "round robin" },
		"mark 0x3: want a single bit": func(c *Config) { c.Mark = 3 },
		"0 pod networks":              func(c *Config) { c.PodNets = nil },
		"no address family in common": func(c *Config) { c.ServiceNets = []netip.Prefix{netip.MustParsePrefix("fd00::/64")} },
	} {
		cfg := testConfig(t)
		change(&cfg)
		_, err := New(t.Context(), cfg)
		require.ErrorContains(t, err, want)
	}
}
