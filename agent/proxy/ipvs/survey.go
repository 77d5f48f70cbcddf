package ipvs

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/knftables"

	"github.com/wakehq/wake/agent/proxy"
)

// finding is what the kernel holds before a reconciliation.
type finding struct {
	objects objects
	// held are the IPVS services that are the cluster's, or in its way.
	held map[proxy.Key]service
	// idle are their endpoints that have drained.
	idle map[proxy.Key]map[netip.AddrPort]bool
}

// survey looks at the table and at IPVS. Ours is what the table says, what lies in the service networks, what this process made, and what is at a
// wanted key.
func (b *Backend) survey(ctx context.Context, wanted map[proxy.Key]proxy.VirtualServer) (finding, error) {
	found := finding{held: map[proxy.Key]service{}, idle: map[proxy.Key]map[netip.AddrPort]bool{}}
	ours, err := b.surveyTable(ctx, &found)
	if err != nil {
		return found, err
	}
	services, err := b.client.Services()
	if err != nil && !missing(err) {
		return found, fmt.Errorf("listing the IPVS services: %w", err)
	}
	for _, s := range services {
		key, held, ok := parseService(s.Service)
		if !ok || !b.cfg.family().serves(key) {
			continue
		}
		_, wants := wanted[key]
		_, made := b.held[key]
		if !ours[key] && !wants && !made && !b.cfg.isServiceAddr(key.Addr.Addr()) {
			continue
		}
		if held.weights, found.idle[key], err = b.endpoints(key); err != nil {
			return found, err
		}
		found.held[key] = held
	}
	return found, nil
}

func (c Config) isServiceAddr(addr netip.Addr) bool {
	for _, net := range c.ServiceNets {
		if net.Contains(addr) {
			return true
		}
	}
	return false
}

// surveyTable looks at the nftables table and gives the keys that it calls ours. A missing table is an empty one.
func (b *Backend) surveyTable(ctx context.Context, found *finding) (map[proxy.Key]bool, error) {
	ours := map[proxy.Key]bool{}
	all, err := b.nft.ListAll(ctx)
	if knftables.IsNotFound(err) {
		return ours, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing nftables table %s %s: %w", b.cfg.family().nft, b.cfg.Table, err)
	}
	found.objects = all
	for _, name := range all["set"] {
		if name != virtual {
			continue
		}
		elements, err := b.nft.ListElements(ctx, "set", virtual)
		if err != nil {
			return nil, fmt.Errorf("listing nftables set %s of table %s %s: %w", virtual, b.cfg.family().nft, b.cfg.Table, err)
		}
		for _, e := range elements {
			if key, ok := parseKey(e.Key); ok {
				ours[key] = true
			}
		}
	}
	return ours, nil
}

// parseKey reads what elementKey wrote, as nft shows it.
func parseKey(parts []string) (proxy.Key, bool) {
	parts = strings.Split(strings.Join(parts, " . "), " . ")
	if len(parts) != 3 {
		return proxy.Key{}, false
	}
	addr, err := netip.ParseAddr(parts[0])
	if err != nil {
		return proxy.Key{}, false
	}
	port, err := strconv.ParseUint(parts[2], 10, 16)
	if err != nil {
		return proxy.Key{}, false
	}
	return proxy.Key{Addr: netip.AddrPortFrom(addr, uint16(port)), Protocol: corev1.Protocol(strings.ToUpper(parts[1]))}, true
}
