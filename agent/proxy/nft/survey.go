package nft

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/knftables"

	"github.com/wakehq/wake/agent/proxy"
)

// objects are the names of the objects of a table, by kind.
type objects map[string]map[string]bool

func (o objects) add(kind, name string) {
	if o[kind] == nil {
		o[kind] = map[string]bool{}
	}
	o[kind][name] = true
}

func (o objects) names(kind string) []string { return slices.Sorted(maps.Keys(o[kind])) }

// removeOthers removes the objects that aren't wanted. Nothing may refer to them any more.
func (o objects) removeOthers(tx *knftables.Transaction, wanted objects) {
	for _, name := range o.names("chain") {
		if !wanted["chain"][name] {
			tx.Delete(&knftables.Chain{Name: name})
		}
	}
	for _, name := range o.names("map") {
		if !wanted["map"][name] {
			tx.Delete(&knftables.Map{Name: name})
		}
	}
	for _, name := range o.names("set") {
		if !wanted["set"][name] {
			tx.Delete(&knftables.Set{Name: name})
		}
	}
}

// finding is what the table holds before a reconciliation.
type finding struct {
	objects objects
	keys    []proxy.Key // of the virtual servers
}

// survey looks at the table. A missing one is an empty one.
func (b *Backend) survey(ctx context.Context) (finding, error) {
	found := finding{objects: objects{}}
	all, err := b.nft.ListAll(ctx)
	if knftables.IsNotFound(err) {
		return found, nil
	}
	if err != nil {
		return found, fmt.Errorf("listing nftables table %s %s: %w", b.family.nft, b.cfg.Table, err)
	}
	for kind, names := range all {
		for _, name := range names {
			found.objects.add(kind, name)
		}
	}
	if !found.objects["map"][servers] {
		return found, nil
	}
	elements, err := b.nft.ListElements(ctx, "map", servers)
	if err != nil {
		return found, fmt.Errorf("listing nftables map %s of table %s %s: %w", servers, b.family.nft, b.cfg.Table, err)
	}
	for _, e := range elements {
		if key, ok := parseKey(fields(e.Key)); ok {
			found.keys = append(found.keys, key)
		}
	}
	return found, nil
}

// unstick removes the affinities to endpoints that their server doesn't have, or that has no affinity now.
func (b *Backend) unstick(ctx context.Context) error {
	// An affinity may run out between listing and deleting. Deleting then fails, or rather adding before deleting,
	// which is how deleting works for what may be missing; so it may be tried again.
	const tries = 3
	for try := 1; ; try++ {
		err := b.unstickOnce(ctx)
		if err == nil {
			return nil
		}
		if try == tries {
			return fmt.Errorf("removing stale affinities from table %s %s: %w", b.family.nft, b.cfg.Table, err)
		}
	}
}

func (b *Backend) unstickOnce(ctx context.Context) error {
	if b.family.nft == knftables.IPv6Family {
		return b.unstick6(ctx)
	}
	elements, err := b.nft.ListElements(ctx, "map", affinity)
	if err != nil {
		return err
	}
	tx := b.nft.NewTransaction()
	for _, e := range elements {
		key, to := fields(e.Key), fields(e.Value)
		if len(key) != 4 {
			continue
		}
		server, known := parseKey(key[1:])
		p := b.placed[server]
		if known && p.stickFor > 0 && slices.Contains(p.slots, parseTarget(to)) {
			continue
		}
		stale := &knftables.Element{Map: affinity, Key: e.Key, Value: e.Value}
		tx.Add(stale)
		tx.Delete(stale)
	}
	if tx.NumOperations() == 0 {
		return nil
	}
	return b.run(ctx, tx)
}

// fields splits the parts of a key or value that are still joined.
func fields(parts []string) []string { return strings.Split(strings.Join(parts, " . "), " . ") }

// parseKey reads what elementKey wrote, as nft shows it.
func parseKey(parts []string) (proxy.Key, bool) {
	if len(parts) != 3 {
		return proxy.Key{}, false
	}
	addr := parseTarget([]string{parts[0], parts[2]})
	return proxy.Key{Addr: addr, Protocol: corev1.Protocol(strings.ToUpper(parts[1]))}, addr.IsValid()
}

// parseTarget reads an address and a port; the zero value is neither.
func parseTarget(parts []string) netip.AddrPort {
	if len(parts) != 2 {
		return netip.AddrPort{}
	}
	addr, err := netip.ParseAddr(parts[0])
	if err != nil {
		return netip.AddrPort{}
	}
	port, err := strconv.ParseUint(parts[1], 10, 16)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr, uint16(port))
}
