package nft

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/knftables"

	"github.com/wakehq/wake/agent/proxy"
)

// update is a transaction, and what the backend knows once it has run.
type update struct {
	tx     *knftables.Transaction
	placed map[proxy.Key]placement // a placement without a key: it is gone
	chains map[string]bool
	rules  int // of these
	// flows are the UDP and TCP servers that lost endpoints or are new, with those that they have now.
	flows map[proxy.Key][]netip.AddrPort
	// unstick says that clients may stick to an endpoint that is gone.
	unstick bool
}

// plan turns a difference into the transaction that brings it about. It changes nothing.
func (b *Backend) plan(diff proxy.Diff) update {
	u := update{
		tx:     b.nft.NewTransaction(),
		placed: map[proxy.Key]placement{},
		chains: map[string]bool{},
		flows:  map[proxy.Key][]netip.AddrPort{},
	}
	var gone, put []element
	var chains []chain
	var stale []*knftables.Map
	for _, key := range diff.Gone {
		if !b.family.serves(key) {
			continue
		}
		before := b.placed[key]
		u.placed[key] = placement{}
		gone = append(gone, elementsOf(before)...)
		u.unstick = u.unstick || before.stickFor > 0
		note(u.flows, key, nil)
	}
	for _, server := range diff.Put {
		if !b.family.serves(server.Key) {
			continue
		}
		before, after := b.placed[server.Key], place(b.placed[server.Key], server)
		u.placed[server.Key] = after
		less, more := replace(elementsOf(before), after.elements())
		gone, put = append(gone, less...), append(put, more...)
		for _, c := range after.chains(b.family) {
			if !b.chains[c.Name] && !u.chains[c.Name] {
				u.chains[c.Name] = true
				chains = append(chains, c)
			}
		}
		stale = append(stale, stale6(before, after)...)
		lost := loses(before.slots, server.Endpoints)
		u.unstick = u.unstick || lost && before.stickFor > 0
		if lost || len(before.slots) == 0 { // while nobody served it, flows may have gone past us
			note(u.flows, server.Key, server.Endpoints)
		}
	}
	for _, c := range chains {
		c.write(u.tx)
		c.writeRules(u.tx)
		u.rules += len(c.rules)
	}
	for _, m := range stale {
		u.tx.Flush(m)
	}
	for _, e := range gone {
		u.tx.Delete(e.object())
	}
	for _, e := range put {
		u.tx.Add(e.object())
	}
	return u
}

// commit remembers what an update that has run did.
func (b *Backend) commit(u update) {
	for key, p := range u.placed {
		if p.key == (proxy.Key{}) {
			delete(b.placed, key)
		} else {
			b.placed[key] = p
		}
	}
	for name := range u.chains {
		b.chains[name] = true
	}
	b.rules += u.rules
}

// elementsOf are the elements of a placement; none if there was none.
func elementsOf(p placement) []element {
	if p.key == (proxy.Key{}) {
		return nil
	}
	return p.elements()
}

// loses says whether an endpoint of before is missing now.
func loses(before, now []netip.AddrPort) bool {
	has := make(map[netip.AddrPort]bool, len(now))
	for _, ep := range now {
		has[ep] = true
	}
	for _, ep := range before {
		if !has[ep] {
			return true
		}
	}
	return false
}

// note remembers the flows of a server for checking: UDP's have no end that conntrack sees, and a TCP connection that is not answered yet would go on asking
// an endpoint that is gone, as would later ones from the same port.
func note(flows map[proxy.Key][]netip.AddrPort, key proxy.Key, endpoints []netip.AddrPort) {
	if key.Protocol == corev1.ProtocolUDP || key.Protocol == corev1.ProtocolTCP {
		flows[key] = endpoints
	}
}
