package policy

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"sigs.k8s.io/knftables"
)

// lead has the node forward what pods on one bridge say to each other. The bridge keeps its address from now on, which otherwise may change with its
// ports: the rules name it.
func (e *Enforcer) lead(ctx context.Context, b Bridge) error {
	if b.Device == "" {
		return nil
	}
	link, err := netlink.LinkByName(b.Device)
	if err != nil {
		return fmt.Errorf("finding the pods' bridge %q: %w", b.Device, err)
	}
	if err := netlink.LinkSetHardwareAddr(link, link.Attrs().HardwareAddr); err != nil {
		return fmt.Errorf("fixing the address of the pods' bridge %q: %w", b.Device, err)
	}
	tx := e.frames.NewTransaction()
	writeFrames(tx, link.Attrs().HardwareAddr.String(), b.Nets)
	if err := e.frames.Run(ctx, tx); err != nil {
		return fmt.Errorf("writing nftables table bridge %s: %w", e.table, err)
	}
	return nil
}

func writeFrames(tx *knftables.Transaction, bridge string, nets []netip.Prefix) {
	tx.Add(&knftables.Table{})
	for _, c := range frameChains(bridge, nets) {
		tx.Add(&c.Chain)
		tx.Flush(&knftables.Chain{Name: c.Name})
		for _, rule := range c.rules {
			tx.Add(&knftables.Rule{Chain: c.Name, Rule: rule})
		}
	}
}

// frameChains lead frames between pods to the node: they are addressed to the bridge itself, so that it hands them up, and the node forwards what is
// in them as it does with everything else. It needs neither br_netfilter nor connection tracking on bridges, and works the same with them: it comes
// before they look.
func frameChains(bridge string, nets []netip.Prefix) []fixedChain {
	route := []string{"ether daddr " + bridge + " accept", neighbours + " accept"}
	flood := []string{neighbours + " accept"}
	for _, f := range families {
		var words []string
		for _, n := range nets {
			if n.Addr().Is4() == f.is4 {
				words = append(words, n.Masked().String())
			}
		}
		if len(words) == 0 {
			continue
		}
		pods := "{ " + strings.Join(words, ", ") + " }"
		// By the destination alone: who forges its source must not get through.
		route = append(route, f.header+" daddr "+pods+" meta pkttype != { broadcast, multicast } meta pkttype set host ether daddr set "+bridge)
		// Nobody's chain can tell whom among many a frame is to reach.
		flood = append(flood, "meta pkttype { broadcast, multicast } "+f.header+" saddr "+pods+" drop",
			"meta pkttype { broadcast, multicast } "+f.header+" daddr "+pods+" drop")
	}
	return []fixedChain{
		base("route", knftables.PreroutingHook, "-350", route...),
		base("flood", knftables.ForwardHook, "-350", flood...),
	}
}
