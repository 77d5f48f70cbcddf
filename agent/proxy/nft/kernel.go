package nft

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
)

// kernel is the network namespace of the calling thread.
type kernel struct{}

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
