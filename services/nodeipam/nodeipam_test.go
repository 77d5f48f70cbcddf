package nodeipam

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

func ranges(t require.TestingT, list string, mask4, mask6 int) []Range {
	parsed, err := ParseRanges(list, mask4, mask6)
	require.NoError(t, err)
	return parsed
}

func TestTranscripts(t *testing.T) {
	for pattern, list := range map[string]string{
		"testdata/one/*.txt": "10.244.0.0/16", "testdata/dual/*.txt": "10.244.0.0/16,fd00:244::/56", "testdata/narrow/*.txt": "10.244.0.0/23",
	} {
		transcript.Test(t, transcript.Registry(t), pattern, func() runner.Decider { return New(ranges(t, list, 24, 64)) })
	}
}

func TestParseRanges(t *testing.T) {
	for list, want := range map[string]string{
		"10.244.0.0":                  "no address range",
		"10.244.0.1/16":               "say 10.244.0.0/16",
		"10.244.0.0/25":               "can't be a /24",
		"11.0.0.0/7":                  "bits set",
		"8.0.0.0/7":                   "more than 65536 parts",
		"fd00::/40":                   "more than 65536 parts",
		"10.244.0.0/16,10.245.0.0/16": "one IPv4 and one IPv6",
		"":                            "no address range",
	} {
		_, err := ParseRanges(list, 24, 64)
		require.ErrorContains(t, err, want, list)
	}
	_, err := ParseRanges("10.244.0.0/16", 31, 64)
	require.ErrorContains(t, err, "can't be a /31")
}

func TestBlocks(t *testing.T) {
	for _, c := range []struct {
		list, mask string
		n          int
		want       string
	}{
		{"10.244.0.0/16", "24", 0, "10.244.0.0/24"},
		{"10.244.0.0/16", "24", 255, "10.244.255.0/24"},
		{"10.0.0.0/8", "24", 65535, "10.255.255.0/24"},
		{"10.244.0.0/16", "26", 5, "10.244.1.64/26"},
		{"fd00:244::/56", "64", 255, "fd00:244:0:ff::/64"},
		{"fd00:244::/48", "64", 65535, "fd00:244:0:ffff::/64"},
		{"fd00:244::/60", "72", 4095, "fd00:244:0:f:ff00::/72"},
		{"fd00:244::/100", "112", 3, "fd00:244::3:0/112"},
	} {
		var mask int
		_, err := fmt.Sscan(c.mask, &mask)
		require.NoError(t, err)
		block := ranges(t, c.list, mask, mask)[0].block(c.n)
		require.Equal(t, c.want, block.String())
		again, ok := claimedBlock(claimName(block))
		require.True(t, ok)
		require.Equal(t, block, again, "a claim's name tells the block")
	}
}

// TestNoRangeTwice lets three deciders share out ranges for three nodes among more nodes than that, on states of different ages.
func TestNoRangeTwice(t *testing.T) {
	kinds := transcript.Registry(t)
	cluster := ranges(t, "10.244.0.0/22,fd00:244::/62", 24, 64)
	fresh := func() runner.Decider { return New(cluster) }
	rapid.Check(t, func(t *rapid.T) {
		w := transcript.NewWorld(kinds, fresh, fresh, fresh)
		name := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("n%d", rapid.IntRange(0, 6).Draw(t, "name")) })
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				ref := nodeRef(name.Draw(t, "name"))
				if _, exists := w.State().Get(ref); exists {
					return
				}
				own := rapid.SampledFrom([]string{"", "", "", "podCIDR: 10.244.1.0/24", "podCIDR: 10.244.0.0/23", "podCIDR: 10.244.1.128/25", "podCIDR: 192.168.0.0/24"}).Draw(t, "own")
				agent := rapid.Bool().Draw(t, "agent")
				require.NoError(t, w.Apply(fmt.Appendf(nil, "{apiVersion: v1, kind: Node, metadata: {name: %s, labels: {%s: %q}}, spec: {%s}}", ref.Name, events.AgentLabel, fmt.Sprint(agent), own)))
			},
			"delete": func(t *rapid.T) { _ = w.Vanish(nodeRef(name.Draw(t, "name"))) },
			"turn": func(t *rapid.T) {
				seat := rapid.SampledFrom(w.Seats()).Draw(t, "seat")
				if rapid.Bool().Draw(t, "look") {
					seat.Look()
					return
				}
				require.NoError(t, seat.Decide())
			},
			"": func(t *rapid.T) { checkRanges(t, w.State(), cluster, false) },
		})
		require.NoError(t, w.Settle())
		checkRanges(t, w.State(), cluster, true)
		before := len(w.Entries())
		for _, seat := range w.Seats() {
			seat.Restart()
		}
		require.NoError(t, w.Settle())
		require.Len(t, w.Entries(), before, "deciders that begin again have nothing to add")
	})
}

// checkRanges holds that no two nodes hold addresses of the cluster by right of a claim, and, when quiet, that claims and nodes are one.
func checkRanges(t *rapid.T, state *events.State, cluster []Range, quiet bool) {
	held := map[netip.Prefix]string{}
	needed := map[string]bool{}
	for o := range state.All(nodesKind, "") {
		n, typed := nodeOf(o), o.Typed().(*corev1.Node)
		for _, r := range cluster {
			own, ok := n.of(r)
			if quiet && !ok {
				require.True(t, exhausted(state, cluster), "%s has no range, and there are some", o.Ref.Name)
				require.Equal(t, n.agent, refused(typed) != nil, "%s is told so", o.Ref.Name)
			}
			if !ok || !r.holds(own) {
				continue
			}
			for _, block := range r.covering(own) {
				claim, ok := state.Get(claimRef(block))
				h, _ := holderOf(claim)
				if !ok || h != (holder{o.Ref.Name, o.UID()}) {
					// Who came with the range of another has it in its spec until a decider has seen it.
					require.False(t, quiet && !exhausted(state, cluster), "%s has no claim for %s", o.Ref.Name, block)
					continue
				}
				needed[claim.Ref.Name] = true
				for other, name := range held {
					require.False(t, other.Overlaps(block), "%s and %s share %s", name, o.Ref.Name, block)
				}
				held[block] = o.Ref.Name
			}
		}
	}
	if quiet {
		for claim := range state.All(leasesKind, "") {
			require.True(t, needed[claim.Ref.Name], "%s is left over", claim.Ref.Name)
		}
	}
}

// exhausted says that one of the ranges has no block left.
func exhausted(state *events.State, cluster []Range) bool {
	return slices.ContainsFunc(cluster, func(r Range) bool {
		for n := range r.blocks() {
			if _, taken := state.Get(claimRef(r.block(n))); !taken {
				return false
			}
		}
		return true
	})
}

// TestManyNodes holds that a thousand nodes that come at once are served without a conflict, in order.
func TestManyNodes(t *testing.T) {
	const nodes = 1000
	w := transcript.NewWorld(transcript.Registry(t), func() runner.Decider { return New(ranges(t, "10.0.0.0/8", 24, 64)) })
	for i := range nodes {
		require.NoError(t, w.Apply(fmt.Appendf(nil, "{apiVersion: v1, kind: Node, metadata: {name: n%04d}}", i)))
	}
	require.NoError(t, w.Settle())
	require.Len(t, w.Entries(), 3*nodes, "created, given a range, claimed")
	for i := range nodes {
		o, _ := w.State().Get(nodeRef(fmt.Sprintf("n%04d", i)))
		require.Equal(t, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256), o.Typed().(*corev1.Node).Spec.PodCIDR)
	}
}
