package network

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wakehq/wake/agent/rtnetlink"
)

// passing are the flags of addresses that a node can't be known by: they change by themselves, end soon, or aren't known to be its own yet.
const passing = unix.IFA_F_TEMPORARY | unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED

// OtherAddress returns the address of the other IP family that the device has which has own: where other nodes reach this one in that family. It isn't
// valid if there is none, or none that lasts.
func OtherAddress(own netip.Addr) (netip.Addr, error) {
	all, err := rtnetlink.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return netip.Addr{}, fmt.Errorf("listing this machine's addresses: %w", err)
	}
	device := 0
	for _, a := range all {
		if prefixOf(a.IPNet).Addr() == own {
			device = a.LinkIndex
		}
	}
	for _, a := range all {
		address := prefixOf(a.IPNet).Addr()
		if device != 0 && a.LinkIndex == device && address.IsValid() && address.Is4() != own.Is4() && address.IsGlobalUnicast() && a.Flags&passing == 0 {
			return address, nil
		}
	}
	return netip.Addr{}, nil
}
