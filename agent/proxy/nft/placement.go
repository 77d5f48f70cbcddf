package nft

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/knftables"

	"github.com/wakehq/wake/agent/proxy"
)

// placement is how a virtual server lies in the maps. Its endpoints keep their index as long as they can, so that
// a change moves few of them.
type placement struct {
	key            proxy.Key
	slots          []netip.AddrPort
	stickFor       int // seconds
	preserveSource bool
	guarded        bool
	sources        []netip.Prefix
	unserved       proxy.Unserved
}

// place gives the placement of a server that moves the fewest endpoints of the one before.
func place(before placement, server proxy.VirtualServer) placement {
	p := placement{key: server.Key, stickFor: int(server.Affinity.Seconds()), preserveSource: server.PreserveSource, guarded: server.Guarded, sources: server.Sources, unserved: server.Unserved}
	wanted := make(map[netip.AddrPort]bool, len(server.Endpoints))
	for _, ep := range server.Endpoints {
		wanted[ep] = true
	}
	p.slots = make([]netip.AddrPort, len(server.Endpoints))
	for i, ep := range before.slots {
		if i < len(p.slots) && wanted[ep] {
			p.slots[i] = ep
			delete(wanted, ep)
		}
	}
	free := 0
	for _, ep := range server.Endpoints {
		if wanted[ep] {
			for p.slots[free].IsValid() {
				free++
			}
			p.slots[free] = ep
		}
	}
	return p
}

// transport is nft's word for the protocol.
func (p placement) transport() string { return strings.ToLower(string(p.key.Protocol)) }

// chains are the shared chains that the placement needs, in the order in which they refer to each other.
func (p placement) chains(f family) []chain {
	n, t := len(p.slots), p.transport()
	switch {
	case n == 0:
		return nil
	case p.stickFor == 0:
		return []chain{f.pick(t, n)}
	case p.sticks6():
		return p.chains6(f)
	default:
		return []chain{f.pick(t, n), f.sticky(t, n), f.learn(t, p.stickFor)}
	}
}

// element is one element of a map, or of the set if it has no value. Parts of keys and values are
// separated by " . ".
type element struct{ in, key, value string }

// elements are all elements of a placement. Each key occurs once per container.
func (p placement) elements() []element {
	key := elementKey(p.key)
	n, t := len(p.slots), p.transport()
	all := make([]element, 0, n+4+len(p.sources))
	if p.guarded {
		all = append(all, element{guarded, key, ""})
		for _, source := range p.sources {
			all = append(all, element{admitted, source.String() + " . " + key, ""})
		}
	}
	if n == 0 {
		verdict := "goto refuse"
		if p.unserved == proxy.Drop {
			verdict = "drop"
		}
		return append(all, element{unserved, key, verdict})
	}
	to := pickChain(t, n)
	if p.stickFor > 0 {
		to = p.stickyChain()
		all = append(all, element{learn, key, "jump " + p.learnChain()})
	}
	all = append(all, element{servers, key, "goto " + to})
	if !p.preserveSource {
		all = append(all, element{external, key, ""})
	}
	for i, ep := range p.slots {
		slot := elementTarget(p.key.Addr) + " . " + strconv.Itoa(i)
		all = append(all, element{endpoints + "-" + t, slot, elementTarget(ep)})
	}
	return all
}

func elementKey(key proxy.Key) string {
	return key.Addr.Addr().String() + " . " + strings.ToLower(string(key.Protocol)) + " . " + strconv.Itoa(int(key.Addr.Port()))
}

func elementTarget(ep netip.AddrPort) string {
	return ep.Addr().String() + " . " + strconv.Itoa(int(ep.Port()))
}

func (e element) object() *knftables.Element {
	if e.value == "" {
		return &knftables.Element{Set: e.in, Key: []string{e.key}}
	}
	return &knftables.Element{Map: e.in, Key: []string{e.key}, Value: []string{e.value}}
}

// replace gives the elements to delete and to add for getting from one placement to another.
func replace(before, after []element) (gone, put []element) {
	has := make(map[element]bool, len(before))
	for _, e := range before {
		has[e] = true
	}
	for _, e := range after {
		if has[e] {
			delete(has, e)
		} else {
			put = append(put, e)
		}
	}
	gone = slices.DeleteFunc(slices.Clone(before), func(e element) bool { return !has[e] })
	return gone, put
}
