package nft

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"
)

// IPv6 clients stick by maps of their own, one for each virtual server and port of its endpoints, from client to endpoint: nft 1.0.6, which is the one of Debian 12,
// aborts on rules that learn a key or a value of more than 16 bytes. A map that a server comes back to is emptied first: meanwhile nobody took stale endpoints out of it.

// stickies bounds how many clients of a server are remembered.
const stickies = 1 << 16

// sticks6 says whether the placement is one of those.
func (p placement) sticks6() bool {
	return p.stickFor > 0 && len(p.slots) > 0 && p.key.Addr.Addr().Is6()
}

// own names the placement's key as nft's objects can be named.
func (p placement) own() string {
	bytes := p.key.Addr.Addr().As16()
	return fmt.Sprintf("%s-%d-%s", p.transport(), p.key.Addr.Port(), hex.EncodeToString(bytes[:]))
}

// ports are those of the endpoints.
func (p placement) ports() []uint16 {
	var all []uint16
	for _, ep := range p.slots {
		all = append(all, ep.Port())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (p placement) stickyMap(port uint16) *knftables.Map {
	return &knftables.Map{Name: fmt.Sprintf("%s-%s-%d", affinity, p.own(), port), Type: "ipv6_addr : ipv6_addr",
		Flags: []knftables.SetFlag{knftables.DynamicFlag, knftables.TimeoutFlag}, Size: knftables.PtrTo(uint64(stickies))}
}

// stickyChain and learnChain name the chains through which clients of the placement go and are remembered.
func (p placement) stickyChain() string {
	if p.key.Addr.Addr().Is4() {
		return stickyChain(p.transport(), len(p.slots))
	}
	return fmt.Sprintf("sticky-%s-%d-%s", p.own(), len(p.slots), p.portsHash())
}

func (p placement) learnChain() string {
	if p.key.Addr.Addr().Is4() {
		return learnChain(p.transport(), p.stickFor)
	}
	return fmt.Sprintf("learn-%s-%d-%s", p.own(), p.stickFor, p.portsHash())
}

func (p placement) portsHash() string {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, p.ports())
	return fmt.Sprintf("%08x", h.Sum32())
}

// chains6 are the chains of a placement that sticks6.
func (p placement) chains6(f family) []chain {
	t := p.transport()
	sticky, learn := shared(p.stickyChain()), shared(p.learnChain())
	for _, port := range p.ports() {
		m := p.stickyMap(port)
		sticky.maps = append(sticky.maps, m)
		sticky.rules = append(sticky.rules, fmt.Sprintf("meta l4proto %s dnat ip6 to ip6 saddr map @%s : %d", t, m.Name, port))
		learn.rules = append(learn.rules, fmt.Sprintf("meta l4proto %s th dport %d update @%s { ct original ip6 saddr timeout %ds : ip6 daddr }", t, port, m.Name, p.stickFor))
	}
	sticky.rules = append(sticky.rules, "goto "+pickChain(t, len(p.slots)))
	return []chain{f.pick(t, len(p.slots)), sticky, learn}
}

// stale6 are the maps that a placement comes back to, or has never had.
func stale6(before, after placement) []*knftables.Map {
	if !after.sticks6() {
		return nil
	}
	var stale []*knftables.Map
	for _, port := range after.ports() {
		if !before.sticks6() || !slices.Contains(before.ports(), port) {
			stale = append(stale, after.stickyMap(port))
		}
	}
	return stale
}

// unstick6 is unstickOnce for IPv6.
func (b *Backend) unstick6(ctx context.Context) error {
	tx := b.nft.NewTransaction()
	for _, p := range b.sorted() {
		if !p.sticks6() {
			continue
		}
		for _, port := range p.ports() {
			name := p.stickyMap(port).Name
			elements, err := b.nft.ListElements(ctx, "map", name)
			if err != nil {
				return err
			}
			for _, e := range elements {
				addr, err := netip.ParseAddr(strings.Join(e.Value, ""))
				if err == nil && slices.Contains(p.slots, netip.AddrPortFrom(addr, port)) {
					continue
				}
				stale := &knftables.Element{Map: name, Key: e.Key, Value: e.Value}
				tx.Add(stale)
				tx.Delete(stale)
			}
		}
	}
	if tx.NumOperations() == 0 {
		return nil
	}
	return b.run(ctx, tx)
}
