package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wakehq/wake/agent/rtnetlink"
)

// ipNet is p as netlink has it.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefixOf is the inverse of ipNet; the zero value is what no address is in.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	address, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}
	}
	ones, bits := n.Mask.Size()
	if address = address.Unmap(); address.BitLen() != bits {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(address, ones)
}

// find is a device by its name; nil if there is none.
func find(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the device %s: %w", name, err)
	}
	return link, nil
}

// linkMTU is that of the device that has an address; 1500 if none has.
func linkMTU(address netip.Addr) (int, error) {
	links, err := rtnetlink.Whole(netlink.LinkList)
	if err != nil {
		return 0, fmt.Errorf("listing this machine's devices: %w", err)
	}
	for _, link := range links {
		own, err := addressesOf(link)
		if err != nil {
			return 0, err
		}
		if slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Addr() == address }) {
			return min(link.Attrs().MTU, 65535), nil
		}
	}
	return 1500, nil
}

// addressesOf are the addresses of a device that mean something beyond its link.
func addressesOf(link netlink.Link) ([]netip.Prefix, error) {
	list, err := rtnetlink.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("listing the addresses of %s: %w", link.Attrs().Name, err)
	}
	var own []netip.Prefix
	for _, a := range list {
		if p := prefixOf(a.IPNet); p.IsValid() && !p.Addr().IsLinkLocalUnicast() {
			own = append(own, p)
		}
	}
	return own, nil
}

// bridgeRanges are the ranges that a bridge serves; none if it isn't there.
func bridgeRanges(name string) ([]netip.Prefix, error) {
	link, err := find(name)
	if link == nil {
		return nil, err
	}
	ranges, err := addressesOf(link)
	for i := range ranges {
		ranges[i] = ranges[i].Masked()
	}
	slices.SortFunc(ranges, func(a, b netip.Prefix) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	return ranges, err
}

// Used tells which device of this machine uses a part of a range; empty if none does.
func Used(r netip.Prefix) (device string, err error) { return usedBy(r, "") }

// usedBy is Used with one device left out. Wider routes don't count: the way to a company's 10.0.0.0/8 is no reason against a part of it.
func usedBy(r netip.Prefix, except string) (device string, err error) {
	routes, err := rtnetlink.Whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return "", fmt.Errorf("listing this machine's routes: %w", err)
	}
	for _, route := range routes {
		to := prefixOf(route.Dst)
		if !to.IsValid() || to.Bits() < r.Bits() || !r.Contains(to.Addr()) || route.Protocol == protocol {
			continue
		}
		link, err := netlink.LinkByIndex(route.LinkIndex)
		if err != nil {
			continue // it has just gone, and its routes with it
		}
		if name := link.Attrs().Name; name != except {
			return name, nil
		}
	}
	return "", nil
}

// ensureBridge brings the bridge to what it should be.
func (n *Network) ensureBridge(local Local) error {
	link, err := find(local.Device)
	if err != nil {
		return err
	}
	if link == nil {
		attrs := netlink.NewLinkAttrs()
		// Without an address of its own a bridge takes that of a port, and changes it when the port goes.
		attrs.Name, attrs.HardwareAddr, attrs.MTU = local.Device, macOf(local.Gateways[0]), n.mtu
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return fmt.Errorf("creating the pods' bridge %s: %w", local.Device, err)
		}
		if link, err = netlink.LinkByName(local.Device); err != nil {
			return fmt.Errorf("finding the pods' bridge: %w", err)
		}
	}
	if err := bridgeSettings(local); err != nil {
		return err
	}
	if err := n.ensureGateways(link, local); err != nil {
		return err
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("starting the pods' bridge %s: %w", local.Device, err)
		}
	}
	return n.rejoin(link)
}

// ensureGateways gives the bridge the node's own addresses, and no others.
func (n *Network) ensureGateways(link netlink.Link, local Local) error {
	has, err := addressesOf(link)
	if err != nil {
		return err
	}
	var wanted []netip.Prefix
	for i, r := range local.Ranges {
		wanted = append(wanted, netip.PrefixFrom(local.Gateways[i], r.Bits()))
	}
	for _, p := range wanted {
		if slices.Contains(has, p) {
			continue
		}
		address := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrReplace(link, address); err != nil {
			return fmt.Errorf("giving the pods' bridge %s the address %s: %w", local.Device, p, err)
		}
	}
	for _, p := range has {
		if !slices.Contains(wanted, p) {
			if err := netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(p)}); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return fmt.Errorf("taking the address %s from the pods' bridge %s: %w", p, local.Device, err)
			}
		}
	}
	return nil
}

// rejoin puts interfaces of pods back that somebody has taken off the bridge, or that were on one that is gone.
func (n *Network) rejoin(bridge netlink.Link) error {
	for _, sandbox := range n.ports.attached() {
		link, err := find(vethName(sandbox))
		if err != nil {
			return err
		}
		if link == nil || link.Attrs().MasterIndex == bridge.Attrs().Index && link.Attrs().Flags&net.FlagUp != 0 {
			continue
		}
		if err := join(link, bridge); err != nil {
			return err
		}
	}
	return nil
}

// join is the last step of an attachment, the one that counts.
func join(veth, bridge netlink.Link) error {
	if err := netlink.LinkSetMaster(veth, bridge); err != nil {
		return fmt.Errorf("putting %s on the bridge %s: %w", veth.Attrs().Name, bridge.Attrs().Name, err)
	}
	// A pod that asks a Service or a port of the node may be led to itself: back through the port that the packet came from.
	if err := netlink.LinkSetHairpin(veth, true); err != nil {
		return fmt.Errorf("letting packets turn at %s: %w", veth.Attrs().Name, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("starting %s: %w", veth.Attrs().Name, err)
	}
	return nil
}
