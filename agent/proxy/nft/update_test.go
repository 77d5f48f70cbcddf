package nft

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

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/knftables"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/proxytest"
)

var rewrite = flag.Bool("update", false, "rewrite the golden transcripts")

var testConfig = Config{
	Table:       "wake-test",
	PodNets:     []netip.Prefix{netip.MustParsePrefix("10.88.0.0/24")},
	ServiceNets: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
}

// noKernel records whose flows should be forgotten.
type noKernel struct{ forgotten *strings.Builder }

func (n noKernel) ForgetFlows(current map[proxy.Key][]netip.AddrPort) error {
	for _, key := range slices.SortedFunc(maps.Keys(current), proxy.Key.Compare) {
		fmt.Fprintf(n.forgotten, "# forget flows of %s but those to %v\n", key, current[key])
	}
	return nil
}
func (noKernel) Route([]netip.Prefix, string) error          { return nil }
func (noKernel) Unroute([]netip.Prefix, string) error        { return nil }
func (noKernel) Generation() (uint32, error)                 { return 0, nil }
func (noKernel) Rules(uint8, string) (int, error)            { return 0, nil }
func (noKernel) Elements(uint8, string, string) (int, error) { return 0, nil }

// recorder is a fake nft that keeps the text of each transaction.
type recorder struct {
	*knftables.Fake
	transcript *strings.Builder
}

func (r recorder) Run(ctx context.Context, tx *knftables.Transaction) error {
	r.transcript.WriteString(tx.String())
	return r.Fake.Run(ctx, tx)
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

// TestTransactions compares the text of transactions with the golden transcript.
func TestTransactions(t *testing.T) {
	const tcp, udp = corev1.ProtocolTCP, corev1.ProtocolUDP
	var transcript strings.Builder
	b := newBackend(testConfig, recorder{knftables.NewFake(knftables.IPv4Family, testConfig.Table), &transcript}, noKernel{&transcript})
	web := server("10.96.0.1:80", tcp, "10.88.0.2:8080", "10.88.0.3:8080", "10.88.0.4:8080")
	local := server("192.0.2.1:30080", tcp)
	local.PreserveSource, local.Unserved = true, proxy.Drop
	start := state(web, local, server("10.96.0.9:53", udp, "10.88.0.9:53"), server("[fd00::1]:80", tcp, "[fd01::2]:80"))
	sticky := web
	sticky.Affinity = time.Minute

	steps := []struct {
		title string
		do    func() error
	}{
		{"start", func() error { return b.Reconcile(t.Context(), start) }},
		{"an endpoint goes: one moves into its place", putting(b, server("10.96.0.1:80", tcp, "10.88.0.3:8080", "10.88.0.4:8080"))},
		{"an endpoint comes", putting(b, server("10.96.0.1:80", tcp, "10.88.0.2:8080", "10.88.0.3:8080", "10.88.0.4:8080"))},
		{"affinity", putting(b, sticky)},
		{"the last endpoint goes", putting(b, server("10.96.0.9:53", udp))},
		{"the first endpoint comes", putting(b, server("10.96.0.9:53", udp, "10.88.0.8:53"))},
		{"local endpoints come", func() error {
			local := server("192.0.2.1:30080", tcp, "10.88.0.2:8080")
			local.PreserveSource = true
			return b.Update(t.Context(), proxy.Diff{Put: []proxy.VirtualServer{local}})
		}},
		{"nothing for this family", putting(b, server("[fd00::1]:80", tcp))},
		{"a service goes", func() error {
			return b.Update(t.Context(), proxy.Diff{Gone: []proxy.Key{server("10.96.0.9:53", udp).Key}})
		}},
		{"started again with less", func() error { return b.Reconcile(t.Context(), state(web)) }},
		{"removed", func() error { return b.Remove(t.Context()) }},
	}
	for _, step := range steps {
		fmt.Fprintf(&transcript, "== %s\n", step.title)
		require.NoError(t, step.do(), step.title)
	}
	const golden = "testdata/transactions.txt"
	if *rewrite {
		require.NoError(t, os.WriteFile(golden, []byte(transcript.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(string(want), transcript.String()))
}

func putting(b *Backend, servers ...proxy.VirtualServer) func() error {
	return func() error { return b.Update(context.Background(), proxy.Diff{Put: servers}) }
}

// After any sequence of changes the table holds what a reconciliation from scratch of the final objects puts there,
// but for the order of endpoints and chains that nobody needs any more.
func TestIncrementalEqualsReconciled(t *testing.T) {
	node := proxy.Node{Name: "node-a", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	rapid.Check(t, func(t *rapid.T) {
		cluster := proxytest.NewCluster()
		fake := knftables.NewFake(knftables.IPv4Family, testConfig.Table)
		p := proxy.New(newBackend(testConfig, fake, noKernel{&strings.Builder{}}), node, failing(t))
		require.NoError(t, p.Apply(t.Context(), proxy.Change{Full: true}))
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			require.NoError(t, p.Apply(t.Context(), cluster.Change(t)))
			if rapid.IntRange(0, 9).Draw(t, "reconcile") == 0 {
				require.NoError(t, p.Reconcile(t.Context()))
			}
		}
		fresh := knftables.NewFake(knftables.IPv4Family, testConfig.Table)
		q := proxy.New(newBackend(testConfig, fresh, noKernel{&strings.Builder{}}), node, failing(t))
		require.NoError(t, q.Apply(t.Context(), cluster.Everything()))
		require.Empty(t, cmp.Diff(contents(t, fresh), contents(t, fake)))

		// The earlier process's table is as good a start as none.
		again := proxy.New(newBackend(testConfig, fake, noKernel{&strings.Builder{}}), node, failing(t))
		require.NoError(t, again.Apply(t.Context(), cluster.Everything()))
		require.Empty(t, cmp.Diff(contents(t, fresh), contents(t, fake)))
		require.ElementsMatch(t, chainNames(fresh), chainNames(fake), "leftover chains")
	})
}

// failing is a logger whose lines fail the test: they tell of updates that had to be rescued.
func failing(t *rapid.T) *slog.Logger { return slog.New(slog.NewTextHandler(writer{t}, nil)) }

type writer struct{ t *rapid.T }

func (w writer) Write(line []byte) (int, error) {
	w.t.Errorf("%s", line)
	return len(line), nil
}

func chainNames(fake *knftables.Fake) []string { return slices.Collect(maps.Keys(fake.Table.Chains)) }

// contents are the elements of a table; the endpoints of a server are a set, numbered from 0 without a gap.
func contents(t *rapid.T, fake *knftables.Fake) map[string]string {
	all := map[string]string{}
	slots := map[string][]string{}
	for _, m := range fake.Table.Maps {
		for _, e := range m.Elements {
			key := strings.Join(e.Key, " . ")
			if !strings.HasPrefix(m.Name, endpoints) {
				all[m.Name+" "+key] = strings.Join(e.Value, " . ")
				continue
			}
			parts := fields(e.Key)
			require.Len(t, parts, 3)
			name := m.Name + " " + parts[0] + " . " + parts[1]
			slots[name] = append(slots[name], parts[2]+" "+strings.Join(e.Value, " . "))
		}
	}
	for name, list := range slots {
		slices.Sort(list)
		var targets []string
		for i, slot := range list {
			index, target, _ := strings.Cut(slot, " ")
			require.Equal(t, fmt.Sprint(i), index, "a gap among the endpoints of %s", name)
			targets = append(targets, target)
		}
		slices.Sort(targets)
		all[name] = strings.Join(targets, ", ")
	}
	for _, e := range fake.Table.Sets[external].Elements {
		all[external+" "+strings.Join(e.Key, " . ")] = ""
	}
	return all
}

func TestFailedUpdateChangesNothing(t *testing.T) {
	fake := knftables.NewFake(knftables.IPv4Family, testConfig.Table)
	b := newBackend(testConfig, fake, noKernel{&strings.Builder{}})
	web := server("10.96.0.1:80", corev1.ProtocolTCP, "10.88.0.2:8080")
	require.NoError(t, b.Reconcile(t.Context(), state(web)))
	before := b.placed[web.Key]
	require.NoError(t, b.Remove(t.Context()))
	b.placed = map[proxy.Key]placement{web.Key: before}
	require.Error(t, b.Update(t.Context(), proxy.Diff{Gone: []proxy.Key{web.Key}}))
	require.Equal(t, before, b.placed[web.Key])
}

func TestConfigErrors(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`table name "a b"`:            func(c *Config) { c.Table = "a b" },
		"0 pod networks":              func(c *Config) { c.PodNets = nil },
		"no address family in common": func(c *Config) { c.ServiceNets = []netip.Prefix{netip.MustParsePrefix("fd00::/64")} },
	} {
		cfg := testConfig
		change(&cfg)
		_, err := New(t.Context(), cfg)
		require.ErrorContains(t, err, want)
	}
}

func TestMissingNftNamesTheRemedy(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := Check(t.Context())
	require.ErrorContains(t, err, "apt-get install nftables")
	require.True(t, errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "not found"))
}
