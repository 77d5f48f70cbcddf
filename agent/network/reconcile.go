package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wakehq/wake/agent/rtnetlink"
)

// protocol marks the routes of Wake's nodes, whichever.
const protocol netlink.RouteProtocol = 157

// metric tells this node's routes from those of others on the machine.
func (n *Network) metric() int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(n.config.Mark))
	return 4096 + int(h.Sum32()%60000)
}

// Reconcile compares what the kernel has with what it should have, and changes what differs.
func (n *Network) Reconcile(ctx context.Context) error {
	n.kernel.Lock()
	defer n.kernel.Unlock()
	n.mu.Lock()
	local, known, peers := n.local, n.known, slices.SortedFunc(maps.Values(n.peers), func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	n.mu.Unlock()
	if len(local.Ranges) == 0 {
		return nil
	}
	if err := n.ensureBridge(local); err != nil {
		return err
	}
	if !known {
		return n.rules.begin(ctx, n.ruling(local, ways{}))
	}
	q := question{local: local, self: n.config.Node, routing: n.config.Routing, from: n.config.NodeIP, peers: peers, before: n.way, reaches: reaches(peers)}
	var err error
	if q.tunnel, err = n.ensureTunnel(q); err != nil {
		return err
	}
	w := decide(q)
	n.mu.Lock()
	n.tunnelled = len(w.tunnels) > 0
	n.mu.Unlock()
	// Rules come first: a packet that finds the way must not be translated or dropped.
	if err := n.rules.apply(ctx, n.ruling(local, w)); err != nil {
		return err
	}
	if err := n.applyRoutes(w); err != nil {
		return err
	}
	if err := applyTunnels(q.tunnel, w); err != nil {
		return err
	}
	if len(w.stranded) > 0 {
		return fmt.Errorf("no way to the pods of %d nodes (%s): they share no link with this one, or have no address of its family (routing: %s)",
			len(w.stranded), strings.Join(w.stranded[:min(len(w.stranded), 5)], ", "), n.config.Routing)
	}
	return nil
}

// reaches asks the kernel for the ways to the peers' own addresses.
func reaches(peers []Peer) map[netip.Addr]reach {
	found := map[netip.Addr]reach{}
	for _, p := range peers {
		for _, a := range p.Addrs {
			routes, err := netlink.RouteGet(a.AsSlice())
			if err != nil || len(routes) == 0 {
				continue // there is none, now
			}
			r := routes[0]
			found[a] = reach{own: r.Type == unix.RTN_LOCAL, onLink: r.Gw == nil && r.Via == nil && r.Type == unix.RTN_UNICAST, device: r.LinkIndex}
		}
	}
	return found
}

// ensureTunnel makes the VXLAN device if some peer may need it, and returns its index. A peer may send through it though this node doesn't.
func (n *Network) ensureTunnel(q question) (int, error) {
	wanted := q.routing != Direct && slices.ContainsFunc(q.peers, func(p Peer) bool {
		return p.Name != q.self && !slices.ContainsFunc(p.Addrs, func(a netip.Addr) bool { return q.reaches[a].own })
	})
	link, err := find(n.names.vxlan)
	if err != nil {
		return 0, err
	}
	if !wanted {
		if link != nil {
			return 0, netlink.LinkDel(link)
		}
		return 0, nil
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = n.names.vxlan, tunnelMAC(n.config.Node), n.tunnelMTU()
	want := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: vni(n.config.Cluster), SrcAddr: n.config.NodeIP.AsSlice(), Port: tunnelPort, UDP6ZeroCSumRx: n.config.NodeIP.Is6()}
	if link != nil && !sameTunnel(link, want) {
		if err := netlink.LinkDel(link); err != nil {
			return 0, fmt.Errorf("replacing the VXLAN device %s: %w", n.names.vxlan, err)
		}
		link = nil
	}
	if link == nil {
		if err := netlink.LinkAdd(want); err != nil {
			return 0, fmt.Errorf("creating the VXLAN device %s (VNI %d, UDP port %d): %w", n.names.vxlan, want.VxlanId, tunnelPort, err)
		}
		if link, err = netlink.LinkByName(n.names.vxlan); err != nil {
			return 0, fmt.Errorf("finding the VXLAN device: %w", err)
		}
	}
	if slices.ContainsFunc(q.local.Gateways, netip.Addr.Is6) {
		if err := setting("ipv6/conf/"+n.names.vxlan+"/disable_ipv6", "0"); err != nil {
			return 0, err
		}
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := netlink.LinkSetUp(link); err != nil {
			return 0, fmt.Errorf("starting the VXLAN device %s: %w", n.names.vxlan, err)
		}
	}
	return link.Attrs().Index, nil
}

// tunnelPort is where nodes expect each other's tunnelled packets: that of RFC 7348.
const tunnelPort = 4789

// tunnelMTU leaves room for what the tunnel adds: Ethernet, VXLAN, UDP and IP headers.
func (n *Network) tunnelMTU() int {
	if n.config.NodeIP.Is6() {
		return n.mtu - 70
	}
	return n.mtu - 50
}

func sameTunnel(link netlink.Link, want *netlink.Vxlan) bool {
	has, ok := link.(*netlink.Vxlan)
	return ok && has.VxlanId == want.VxlanId && has.Port == want.Port && has.SrcAddr.Equal(want.SrcAddr) && !has.Learning && has.MTU == want.MTU &&
		slices.Equal(has.HardwareAddr, want.HardwareAddr)
}

// applyRoutes brings this node's routes in line.
func (n *Network) applyRoutes(w ways) error {
	metric := n.metric()
	listed, err := rtnetlink.Whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: protocol, Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("listing the routes to other nodes' pods: %w", err)
	}
	has := map[netip.Prefix]netlink.Route{}
	for _, r := range listed {
		if r.Priority == metric {
			has[prefixOf(r.Dst)] = r
		}
	}
	for to, want := range w.routes {
		n.way[to] = want.device != 0 && !want.onLink
		if found, ok := has[to]; ok && sameRoute(found, want) {
			delete(has, to)
			continue
		}
		delete(has, to)
		r := netlink.Route{Dst: ipNet(to), Gw: want.via.AsSlice(), LinkIndex: want.device, Protocol: protocol, Priority: metric, Table: unix.RT_TABLE_MAIN}
		if want.source.IsValid() {
			r.Src = want.source.AsSlice()
		}
		if want.onLink {
			r.Flags = int(netlink.FLAG_ONLINK)
		}
		if err := netlink.RouteReplace(&r); err != nil {
			return fmt.Errorf("routing %s via %s: %w", to, want.via, err)
		}
		n.log.Info("routing to another node's pods", "range", to, "via", want.via, "tunnel", want.onLink)
	}
	for to, r := range has {
		if w.kept[to] {
			continue // its peer's address can't be reached now, and this is where the way was
		}
		delete(n.way, to)
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("removing the route to %s: %w", to, err)
		}
		n.log.Info("removed the route to a node that is gone", "range", to)
	}
	return nil
}

func sameRoute(has netlink.Route, want route) bool {
	via, _ := netip.AddrFromSlice(has.Gw)
	source, _ := netip.AddrFromSlice(has.Src)
	return via.Unmap() == want.via && has.LinkIndex == want.device && (!want.source.IsValid() || source.Unmap() == want.source) &&
		(has.Flags&int(netlink.FLAG_ONLINK) != 0) == want.onLink
}

// applyTunnels brings the VXLAN device's neighbours and forwarding entries in line.
func applyTunnels(device int, w ways) error {
	if device == 0 {
		return nil
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE} {
		listed, err := rtnetlink.Whole(func() ([]netlink.Neigh, error) { return netlink.NeighList(device, family) })
		if err != nil {
			return fmt.Errorf("listing the neighbours on the VXLAN device: %w", err)
		}
		wanted := tunnelEntries(device, family, w)
		for _, e := range listed {
			if e.State&unix.NUD_PERMANENT == 0 {
				continue // the kernel's own
			}
			key := entryKey(family, e)
			if want, ok := wanted[key]; ok && want.IP.Equal(e.IP) && slices.Equal(want.HardwareAddr, e.HardwareAddr) {
				delete(wanted, key)
			} else if !ok {
				if err := netlink.NeighDel(&e); err != nil && !errors.Is(err, unix.ENOENT) {
					return fmt.Errorf("removing %s from the VXLAN device: %w", key, err)
				}
			}
		}
		for key, e := range wanted {
			if err := netlink.NeighSet(&e); err != nil {
				return fmt.Errorf("adding %s to the VXLAN device: %w", key, err)
			}
		}
	}
	return nil
}

// tunnelEntries are the entries of one table: who has an address, or behind which node a hardware address is.
func tunnelEntries(device, family int, w ways) map[string]netlink.Neigh {
	entries := map[string]netlink.Neigh{}
	add := func(e netlink.Neigh) { entries[entryKey(family, e)] = e }
	if family == unix.AF_BRIDGE {
		for mac, node := range w.tunnels {
			add(netlink.Neigh{LinkIndex: device, Family: family, State: unix.NUD_PERMANENT, Flags: unix.NTF_SELF, IP: node.AsSlice(), HardwareAddr: net.HardwareAddr(mac)})
		}
		return entries
	}
	for address, mac := range w.neighbours {
		if address.Is4() == (family == unix.AF_INET) {
			add(netlink.Neigh{LinkIndex: device, Family: family, State: unix.NUD_PERMANENT, Type: unix.RTN_UNICAST, IP: address.AsSlice(), HardwareAddr: net.HardwareAddr(mac)})
		}
	}
	return entries
}

func entryKey(family int, e netlink.Neigh) string {
	if family == unix.AF_BRIDGE {
		return e.HardwareAddr.String()
	}
	address, _ := netip.AddrFromSlice(e.IP)
	return cmp.Or(address.Unmap().String(), e.HardwareAddr.String())
}
