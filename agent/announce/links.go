package announce

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/wakehq/wake/agent/rtnetlink"
)

// macBytes is how long the addresses of links are that ARP and neighbour discovery are spoken on here: Ethernet's.
const macBytes = 6

// listLinks lists the links of this machine's network namespace on which neighbours can be answered.
func listLinks() ([]link, error) {
	all, err := rtnetlink.Whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("listing the links to announce addresses on: %w", err)
	}
	defaults4, err := defaultLinks(netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	defaults6, err := defaultLinks(netlink.FAMILY_V6)
	if err != nil {
		return nil, err
	}
	var links []link
	for _, l := range all {
		a := l.Attrs()
		if a.Flags&net.FlagUp == 0 || a.Flags&net.FlagLoopback != 0 || len(a.HardwareAddr) != macBytes {
			continue
		}
		addresses, err := rtnetlink.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
		if err != nil {
			return nil, fmt.Errorf("listing the addresses of %s: %w", a.Name, err)
		}
		found := link{index: a.Index, name: a.Name, mac: a.HardwareAddr, default4: defaults4[a.Index], default6: defaults6[a.Index]}
		for _, address := range addresses {
			ip, ok := netip.AddrFromSlice(address.IP)
			bits, _ := address.Mask.Size()
			if ok {
				found.prefixes = append(found.prefixes, netip.PrefixFrom(ip.Unmap(), bits).Masked())
			}
		}
		links = append(links, found)
	}
	return links, nil
}

// defaultLinks are the links that default routes of a family go through.
func defaultLinks(family int) (map[int]bool, error) {
	routes, err := rtnetlink.Whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, family) })
	if err != nil {
		return nil, fmt.Errorf("listing the routes: %w", err)
	}
	found := map[int]bool{}
	for _, r := range routes {
		if bits := 0; r.Dst != nil {
			if bits, _ = r.Dst.Mask.Size(); bits > 0 {
				continue
			}
		}
		found[r.LinkIndex] = true
		for _, hop := range r.MultiPath {
			found[hop.LinkIndex] = true
		}
	}
	return found, nil
}
