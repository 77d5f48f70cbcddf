package announce

import (
	"net"
	"net/netip"
	"slices"
)

// link is an interface on which neighbours can be answered.
type link struct {
	index    int
	name     string
	mac      net.HardwareAddr
	prefixes []netip.Prefix // of its own addresses
	default4 bool           // the default route of IPv4 goes through it
	default6 bool
}

// place is an address on a link.
type place struct {
	link    int // its index
	address netip.Addr
}

// places says on which links which addresses are to be answered for.
func places(addresses []netip.Addr, links []link) map[place]bool {
	found := map[place]bool{}
	for _, address := range addresses {
		on := slices.DeleteFunc(slices.Clone(links), func(l link) bool {
			return !slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool { return p.Bits() > 0 && p.Contains(address) })
		})
		if len(on) == 0 {
			on = slices.DeleteFunc(slices.Clone(links), func(l link) bool {
				return address.Is4() && !l.default4 || address.Is6() && !l.default6
			})
		}
		for _, l := range on {
			found[place{l.index, address}] = true
		}
	}
	return found
}
