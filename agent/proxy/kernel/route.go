package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
)

// Netlink works on the network namespace of the calling thread.
type Netlink struct{}

// Route leads the networks to the device.
func (Netlink) Route(nets []netip.Prefix, device string) error {
	return eachRoute(nets, device, "routing", netlink.RouteReplace)
}

// Unroute takes the routes of Route away. Missing ones are no error.
func (Netlink) Unroute(nets []netip.Prefix, device string) error {
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
