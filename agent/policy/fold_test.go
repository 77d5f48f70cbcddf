package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events/nodewire"
)

func emptyKernel() *written {
	return &written{chains: map[string][]string{}, sets: map[string]map[string]string{}}
}

// settle writes what is due, as Sync does.
func settle(f *fold, w *written) update {
	u := f.since(w)
	w.commit(&u)
	f.settled()
	return u
}

// drawChange draws something that a node may learn.
func drawChange(r *rapid.T) Change {
	c := Change{Pods: map[nameOf]*nodewire.PodPolicy{}, Policies: map[nameOf]*nodewire.Policy{}, Peers: map[PeerName]*nodewire.PolicyPeer{}}
	names := rapid.SampledFrom([]string{"p", "q", "r"})
	gone := rapid.IntRange(0, 2).Draw(r, "gone") == 0
	addr := netip.MustParseAddr(rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "fd00::1"}).Draw(r, "address"))
	switch rapid.IntRange(0, 3).Draw(r, "what") {
	case 0:
		name := named(names.Draw(r, "policy"))
		c.Policies[name] = nil
		if !gone {
			group, port := rapid.SampledFrom([]string{"g", "h"}), nodewire.PolicyPort{Protocol: corev1.ProtocolTCP, Port: 80, Name: rapid.SampledFrom([]string{"", "http"}).Draw(r, "port")}
			c.Policies[name] = &nodewire.Policy{
				Ingress: []nodewire.PolicyRule{{Groups: []string{group.Draw(r, "group")}, Ports: []nodewire.PolicyPort{port}}},
				Egress:  []nodewire.PolicyRule{{Targets: []string{group.Draw(r, "target")}}},
			}
		}
	case 1:
		name := rapid.SampledFrom([]string{"a", "b"}).Draw(r, "pod")
		c.Pods[named(name)] = nil
		if !gone {
			isolate(&c, name, rapid.SliceOfNDistinct(names, 0, 2, rapid.ID).Draw(r, "ingress"), rapid.SliceOfNDistinct(names, 0, 2, rapid.ID).Draw(r, "egress"))
			c.Pods[named(name)].UID += fmt.Sprint(rapid.IntRange(1, 2).Draw(r, "uid"))
		}
	case 2:
		name := PeerName{rapid.SampledFrom([]string{"g", "h"}).Draw(r, "group"), rapid.SampledFrom([]string{"default/a", "default/b"}).Draw(r, "peer")}
		c.Peers[name] = nil
		if !gone {
			c.Peers[name] = &nodewire.PolicyPeer{Addresses: []netip.Addr{addr}}
			if rapid.Bool().Draw(r, "has a port") {
				c.Peers[name].Port = &nodewire.PolicyPort{Protocol: corev1.ProtocolTCP, Port: 80}
			}
		}
	case 3:
		var addresses []netip.Addr
		if !gone {
			addresses = []netip.Addr{addr}
		}
		c.Place(rapid.SampledFrom([]string{"uid-a1", "uid-a2", "uid-b1", "uid-b2"}).Draw(r, "uid"), addresses)
	}
	return c
}

// everything is a full change that tells what a fold knows.
func (f *fold) everything() Change {
	c := Change{Full: true, Policies: f.policies, Peers: f.peers, Pods: map[nameOf]*nodewire.PodPolicy{}, Addresses: f.addresses}
	for name, p := range f.pods {
		c.Pods[name] = p.PodPolicy
	}
	return c
}

// TestChangesComeToWhatTheyAddUpTo holds that many small updates lead to the same rules as one look at everything, and that there is nothing to do when
// all is told again.
func TestChangesComeToWhatTheyAddUpTo(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		f, kernel := newFold(), emptyKernel()
		f.all = true
		for range rapid.IntRange(1, 40).Draw(r, "changes") {
			f = f.apply(drawChange(r))
			if rapid.Bool().Draw(r, "write") {
				u := settle(f, kernel)
				requireReferences(r, kernel, u)
			}
		}
		settle(f, kernel)
		fresh := emptyKernel()
		again := newFold().apply(f.everything())
		settle(again, fresh)
		require.Equal(r, fresh.sets, kernel.sets)
		require.Equal(r, fresh.chains, kernel.chains)
		again = f.apply(f.everything())
		u := again.since(kernel)
		require.True(r, u.empty(), "%+v", u)
	})
}

// requireReferences holds that rules and verdicts refer to what is there, which nft demands.
func requireReferences(r *rapid.T, w *written, u update) {
	for name, verdicts := range w.sets {
		for key, verdict := range verdicts {
			if verdict != "" {
				require.Contains(r, w.chains, verdict[len("jump "):], "%s of %s", key, name)
			}
		}
	}
	for _, name := range u.oldChains {
		for other, rules := range w.chains {
			require.NotContains(r, rules, "jump "+name, other)
		}
	}
}

// TestAPeerCostsAnElement holds that a peer that changes costs one element of each of its groups, whatever else there is.
func TestAPeerCostsAnElement(t *testing.T) {
	f, kernel := newFold(), emptyKernel()
	c := Change{Full: true, Pods: map[nameOf]*nodewire.PodPolicy{}, Policies: map[nameOf]*nodewire.Policy{}, Peers: map[PeerName]*nodewire.PolicyPeer{}}
	for i := range 100 {
		name := fmt.Sprint("p", i)
		c.Policies[named(name)] = policyOf(nodewire.PolicyRule{Groups: []string{"g"}})
		isolate(&c, name, []string{name}, nil)
		c.Peers[PeerName{"g", name}] = &nodewire.PolicyPeer{Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}}
	}
	f = f.apply(c)
	settle(f, kernel)
	f = f.apply(Change{Peers: map[PeerName]*nodewire.PolicyPeer{{"g", "p7"}: {Addresses: []netip.Addr{netip.MustParseAddr("10.9.9.9")}}}})
	u := settle(f, kernel)
	require.Equal(t, update{rules: map[string]chain{}, gone: []entry{{"group-g-4", "10.0.0.7", ""}}, put: []entry{{"group-g-4", "10.9.9.9", ""}}}, u)
}

// TestIntervals compares the addresses of blocks with what the prefixes say of each.
func TestIntervals(t *testing.T) {
	draw := rapid.Custom(func(r *rapid.T) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 255).Draw(r, "byte"))}), rapid.IntRange(24, 32).Draw(r, "bits")).Masked()
	})
	rapid.Check(t, func(r *rapid.T) {
		var blocks []nodewire.PolicyBlock
		for range rapid.IntRange(0, 3).Draw(r, "blocks") {
			blocks = append(blocks, nodewire.PolicyBlock{CIDR: draw.Draw(r, "cidr"), Except: rapid.SliceOfN(draw, 0, 3).Draw(r, "except")})
		}
		all := intervalsOf(blocks, families[0])
		for i := range 256 {
			addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			want := slices.ContainsFunc(blocks, func(b nodewire.PolicyBlock) bool {
				return b.CIDR.Contains(addr) && !slices.ContainsFunc(b.Except, func(e netip.Prefix) bool { return e.Contains(addr) })
			})
			in := 0
			for _, i := range all {
				if i.from.Compare(addr) <= 0 && addr.Compare(i.to) <= 0 {
					in++
				}
			}
			require.Equal(r, want, in == 1, "%s in %v", addr, all)
			require.LessOrEqual(r, in, 1, "%s in %v", addr, all)
		}
	})
	require.Equal(t, []interval{{netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("255.255.255.255")}},
		intervalsOf([]nodewire.PolicyBlock{{CIDR: netip.MustParsePrefix("0.0.0.0/0")}, {CIDR: netip.MustParsePrefix("10.0.0.0/8")}}, families[0]))
}
