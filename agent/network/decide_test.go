package network

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func addr(text string) netip.Addr     { return netip.MustParseAddr(text) }
func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func TestWays(t *testing.T) {
	q := question{
		local: Local{Ranges: []netip.Prefix{prefix("10.244.0.0/24"), prefix("fd00::/64")}, Gateways: []netip.Addr{addr("10.244.0.1"), addr("fd00::1")}},
		self:  "self", routing: Auto, tunnel: 9, from: addr("192.0.2.1"),
		peers: []Peer{
			{Name: "beside", Ranges: []netip.Prefix{prefix("10.244.1.0/24"), prefix("fd00:0:0:1::/64")}, Addrs: []netip.Addr{addr("192.0.2.2")}},
			{Name: "far", Ranges: []netip.Prefix{prefix("10.244.2.0/24")}, Addrs: []netip.Addr{addr("198.51.100.1")}},
			{Name: "here", Ranges: []netip.Prefix{prefix("10.244.3.0/24")}, Addrs: []netip.Addr{addr("192.0.2.1")}},
			{Name: "lost", Ranges: []netip.Prefix{prefix("10.244.4.0/24")}, Addrs: []netip.Addr{addr("192.0.2.4")}},
			{Name: "liar", Ranges: []netip.Prefix{prefix("10.244.0.128/25")}, Addrs: []netip.Addr{addr("192.0.2.5")}},
			{Name: "self", Ranges: []netip.Prefix{prefix("10.244.0.0/24")}, Addrs: []netip.Addr{addr("192.0.2.1")}},
		},
		reaches: map[netip.Addr]reach{addr("192.0.2.2"): {onLink: true, device: 2}, addr("198.51.100.1"): {device: 2}, addr("192.0.2.1"): {own: true}},
		before:  map[netip.Prefix]bool{prefix("10.244.4.0/24"): true},
	}
	w := decide(q)
	require.Equal(t, map[netip.Prefix]route{
		prefix("10.244.1.0/24"):   {via: addr("192.0.2.2"), device: 2},
		prefix("fd00:0:0:1::/64"): {via: addr("fd00:0:0:1::"), device: 9, source: addr("fd00::1"), onLink: true},
		prefix("10.244.2.0/24"):   {via: addr("10.244.2.0"), device: 9, source: addr("10.244.0.1"), onLink: true},
	}, w.routes)
	require.Equal(t, map[netip.Prefix]bool{prefix("10.244.4.0/24"): true}, w.kept, "one whose link is down stays where it was")
	require.Equal(t, []netip.Addr{addr("192.0.2.2")}, w.nodes, "only nodes on the link are left untranslated")
	require.Len(t, w.tunnels, 2)

	q.routing = Direct
	w = decide(q)
	require.Equal(t, []string{"beside", "far"}, w.stranded)
	require.Empty(t, w.tunnels)
}

// TestLeases holds that no address is ever two sandboxes', whatever is allocated, claimed and released.
func TestLeases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l leases
		l.serve([]netip.Prefix{prefix("10.244.0.0/28"), prefix("fd00::/64")})
		held := map[string][]netip.Addr{}
		owner := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"})
		t.Repeat(map[string]func(*rapid.T){
			"allocate": func(t *rapid.T) {
				who := owner.Draw(t, "who")
				got, err := l.allocate(who)
				if err != nil {
					require.Len(t, held, 13, "of 16 addresses the first, the second and the last are not given")
					return
				}
				held[who] = got
			},
			"claim": func(t *rapid.T) {
				who, at := owner.Draw(t, "who"), l.at(rapid.IntRange(2, 14).Draw(t, "at"))
				if err := l.claim(who, at); err == nil {
					held[who] = at
				} else {
					require.True(t, slices.ContainsFunc(slices.Collect(func(yield func([]netip.Addr) bool) {
						for other, addrs := range held {
							if other != who && !yield(addrs) {
								return
							}
						}
					}), func(addrs []netip.Addr) bool { return slices.Equal(addrs, at) }), "refused without a reason: %v", err)
				}
			},
			"release": func(t *rapid.T) {
				who := owner.Draw(t, "who")
				l.release(who)
				delete(held, who)
			},
			"rename": func(t *rapid.T) {
				from, to := owner.Draw(t, "from"), owner.Draw(t, "to")
				if held[from] == nil || held[to] != nil {
					return
				}
				l.rename(from, to)
				held[to] = held[from]
				delete(held, from)
			},
			"": func(t *rapid.T) {
				owned := map[netip.Addr]string{}
				for who, addrs := range held {
					require.Len(t, addrs, 2)
					for _, a := range addrs {
						require.Empty(t, owned[a], "%s is of %s and %s", a, owned[a], who)
						owned[a] = who
						require.Equal(t, who, l.owner[a])
						require.NotContains(t, []string{"10.244.0.0", "10.244.0.1", "10.244.0.15"}, a.String())
					}
				}
				require.Len(t, l.owner, len(owned))
			},
		})
	})
}
