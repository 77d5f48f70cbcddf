package nft

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/proxy"
)

const afInet = syscall.AF_INET

// kernel is the network namespace of the calling thread.
type kernel struct{}

// stale matches the UDP flows to a virtual server whose answers don't come from one of its endpoints.
type stale map[proxy.Key][]netip.AddrPort

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s stale) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != syscall.IPPROTO_UDP {
		return false
	}
	key := proxy.Key{Addr: addrPort(flow.Forward.DstIP, flow.Forward.DstPort), Protocol: corev1.ProtocolUDP}
	endpoints, ours := s[key]
	return ours && !slices.Contains(endpoints, addrPort(flow.Reverse.SrcIP, flow.Reverse.SrcPort))
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), port)
}

func (kernel) forgetFlows(current map[proxy.Key][]netip.AddrPort) error {
	const tries = 5 // a dump that others' changes interrupted may have missed some
	var err error
	for range tries {
		_, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, afInet, stale(current))
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return err
}

func (kernel) route(nets []netip.Prefix, device string) error {
	return eachRoute(nets, device, "routing", netlink.RouteReplace)
}

func (kernel) unroute(nets []netip.Prefix, device string) error {
	return eachRoute(nets, device, "removing the route of", func(route *netlink.Route) error {
		if err := netlink.RouteDel(route); !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return nil
	})
}

func eachRoute(nets []netip.Prefix, device, doing string, do func(*netlink.Route) error) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("finding the pods' bridge %q: %w", device, err)
	}
	for _, prefix := range nets {
		route := &netlink.Route{
			LinkIndex: link.Attrs().Index,
			Scope:     netlink.SCOPE_LINK,
			Dst:       &net.IPNet{IP: prefix.Masked().Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())},
		}
		if err := do(route); err != nil {
			return fmt.Errorf("%s service network %s at %s: %w", doing, prefix, device, err)
		}
	}
	return nil
}
