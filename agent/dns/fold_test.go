package dns

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	discoveryv1 "k8s.io/api/discovery/v1"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/proxytest"
)

// contents is all that a table holds, to compare two.
type contents struct {
	entries    map[string]*entry
	names      map[netip.Addr][]string
	namespaces map[string]bool
}

func contentsOf(t *table) contents {
	c := contents{map[string]*entry{}, map[netip.Addr][]string{}, map[string]bool{}}
	t.entries.Range(func(k, v any) bool { c.entries[k.(string)] = v.(*entry); return true })
	t.names.Range(func(k, v any) bool { c.names[k.(netip.Addr)] = v.([]string); return true })
	t.namespaces.Range(func(k, _ any) bool { c.namespaces[k.(string)] = true; return true })
	return c
}

// disguise gives the slices of a drawn change what only names care about: host names, other families, endpoints that aren't ready.
func disguise(t *rapid.T, change proxy.Change) {
	for _, slice := range change.SlicesPut {
		for i := range slice.Endpoints {
			if slice.Endpoints[i].Hostname == nil && rapid.Bool().Draw(t, "hostname?") {
				host := rapid.SampledFrom([]string{"db-0", "db-1"}).Draw(t, "hostname")
				slice.Endpoints[i].Hostname = &host
			}
		}
	}
}

func TestChangesOneByOneLeadWhereAllAtOnceDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cluster := proxytest.NewCluster()
		one := newFold()
		var grown table
		grown.update(one.apply(cluster.Everything()))
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			change := cluster.Change(t)
			disguise(t, change)
			d := one.apply(change)
			for name, e := range d.entries {
				if e != nil {
					old, known := grown.entries.Load(name.Name + "." + name.Namespace)
					require.False(t, known && old.(*entry).equal(e), "%s is replaced by the same", name)
				}
			}
			grown.update(d)
		}
		everything := cluster.Everything()
		slices.Reverse(everything.SlicesPut)
		var rebuilt table
		rebuilt.update(newFold().apply(everything))
		require.Equal(t, contentsOf(&rebuilt), contentsOf(&grown))

		grown.update(one.apply(proxy.Change{Full: true}))
		require.Equal(t, contentsOf(&table{}), contentsOf(&grown), "what remains of an empty cluster")
		require.Empty(t, one.callers)
		require.Equal(t, proxy.NewCatalog(), one.known)
	})
}

func TestAnUpdateCostsTheServicesItNames(t *testing.T) {
	f := newFold()
	f.apply(everything(t))
	f.apply(proxy.Change{Services: everything(t).Services[:1]})
	d := f.apply(proxy.Change{SlicesPut: []*discoveryv1.EndpointSlice{slice("shop", "web", "web-1", nil, ready("10.244.0.99", ""))}})
	require.Len(t, d.entries, 1)
	require.Empty(t, d.names, "an endpoint without a host name of its own gives its address none")
	require.Equal(t, []string{"shop"}, slices.Collect(maps.Keys(d.namespaces)))
}

func TestNoNameBreaksTheZone(t *testing.T) {
	s := open(t, Config{})
	require.NoError(t, s.Apply(everything(t)))
	labels := []string{"_http", "_tcp", "_", "", "web", "db", "db-0", "shop", "svc", "pod", "dns", "ns", "dns-version", "10-1-2-3", "fd00--1", "---", "cluster", "local",
		`a\.b`, `\000`, "in-addr", "ip6", "arpa", "1", "f"}
	rapid.Check(t, func(t *rapid.T) {
		drawn := rapid.SliceOfN(rapid.SampledFrom(labels), 0, 36).Draw(t, "labels")
		name := ""
		for _, label := range drawn {
			name += label + "."
		}
		name += rapid.SampledFrom([]string{"cluster.local.", ".", "svc.cluster.local.", "in-addr.arpa.", "ip6.arpa."}).Draw(t, "zone")
		query := new(dns.Msg)
		query.SetQuestion(name, rapid.SampledFrom([]uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeANY, dns.TypeSOA}).Draw(t, "type"))
		reply := s.reply(t.Context(), query, true)
		require.True(t, reply.Response)
		if s.zone.holds(name) {
			require.Contains(t, []int{dns.RcodeSuccess, dns.RcodeNameError}, reply.Rcode)
			require.NotEmpty(t, append(reply.Answer, reply.Ns...), "neither an answer nor how long there is none")
		}
	})
}
