package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"

	"sigs.k8s.io/knftables"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/kernel"
)

// Config says what one cluster's proxy on this node works with.
type Config struct {
	// Table is the name of the nftables table. Each cluster on a machine needs one of its own.
	Table string
	// PodNets are the networks of this node's own pods. A family is served of which there is one here and among ServiceNets.
	PodNets []netip.Prefix
	// ServiceNets are the networks of the cluster IPs. Clusters on one machine need different ones.
	ServiceNets []netip.Prefix
	// PodDevice, if set, is the bridge of the pods. Reconcile then routes ServiceNets there, so that the node itself
	// reaches cluster IPs without a default route, too.
	PodDevice string
	// ForwardMark, if set, is a bit that marks packets between a client and an endpoint that are both elsewhere, so that others' filters let them pass.
	ForwardMark uint32
}

// nameable is what nft takes as a table name without quotes.
var nameable = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]*$`)

func (c Config) validate() error {
	if !nameable.MatchString(c.Table) {
		return fmt.Errorf("nftables table name %q: want a letter, then letters, digits, - and _", c.Table)
	}
	if len(c.PodNets) == 0 || len(c.ServiceNets) == 0 {
		return fmt.Errorf("nftables table %s: %d pod networks and %d service networks, want at least one each",
			c.Table, len(c.PodNets), len(c.ServiceNets))
	}
	if len(c.families()) == 0 {
		return fmt.Errorf("nftables table %s: the pod networks %v and the service networks %v have no address family in common", c.Table, c.PodNets, c.ServiceNets)
	}
	return nil
}

// families splits the configuration into one for each family that is served.
func (c Config) families() []Config {
	var all []Config
	for _, f := range proxy.CommonFamilies(c.PodNets, c.ServiceNets) {
		one := c
		one.PodNets, one.ServiceNets = f[0], f[1]
		all = append(all, one)
	}
	return all
}

// surroundings are the parts of the kernel beside nftables that the backend needs: kernel.Netlink.
type surroundings interface {
	ForgetFlows(current map[proxy.Key][]netip.AddrPort) error
	Route(nets []netip.Prefix, device string) error
	Unroute(nets []netip.Prefix, device string) error
	kernel.Tables
}

// Backend serves the virtual servers of one address family by nftables, and ignores others. It implements proxy.Backend.
type Backend struct {
	cfg    Config
	family family
	nft    knftables.Interface
	kernel surroundings
	track  kernel.Tracker

	// What the kernel holds, as of the last success.
	placed map[proxy.Key]placement
	chains map[string]bool
	rules  int // of all chains
}

var _ proxy.Backend = (*Backend)(nil)

// New checks that this machine can do it (see Check) and gives a backend that has touched nothing yet.
func New(ctx context.Context, cfg Config) (proxy.Backend, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := Check(ctx); err != nil {
		return nil, err
	}
	var all proxy.Families
	for _, one := range cfg.families() {
		family := familyOf(one.PodNets[0])
		if err := checkForwarding(family); err != nil {
			return nil, err
		}
		nft, err := knftables.New(family.nft, cfg.Table)
		if err != nil {
			return nil, unusable(err)
		}
		all = append(all, newBackend(one, nft, kernel.Netlink{}))
	}
	return all, nil
}

// newBackend makes a backend for the family that the networks are of.
func newBackend(cfg Config, nft knftables.Interface, around surroundings) *Backend {
	family := familyOf(cfg.PodNets[0])
	return &Backend{cfg: cfg, family: family, nft: nft, kernel: around, track: kernel.Tracker{Tables: around, Family: family.number, Table: cfg.Table}}
}

// Reconcile implements proxy.Backend.
func (b *Backend) Reconcile(ctx context.Context, state proxy.State) error {
	if b.cfg.PodDevice != "" {
		if err := b.kernel.Route(b.cfg.ServiceNets, b.cfg.PodDevice); err != nil {
			return err
		}
	}
	found, err := b.survey(ctx)
	if err != nil {
		return err
	}
	b.placed = make(map[proxy.Key]placement, len(state.Servers))
	flows := map[proxy.Key][]netip.AddrPort{}
	for _, key := range found.keys {
		note(flows, key, nil)
	}
	for key, server := range state.Servers {
		if b.family.serves(key) {
			b.placed[key] = place(placement{}, server)
			note(flows, key, server.Endpoints)
		}
	}
	tx := b.nft.NewTransaction()
	b.rebuild(tx, found.objects)
	if err := b.run(ctx, tx); err != nil {
		// Perhaps the table is another version's, or somebody's with our name. One transaction replaces it.
		tx = b.nft.NewTransaction()
		tx.Add(&knftables.Table{})
		tx.Delete(&knftables.Table{})
		b.rebuild(tx, nil)
		if again := b.run(ctx, tx); again != nil {
			return fmt.Errorf("rebuilding nftables table %s %s: %w", b.family.nft, b.cfg.Table, errors.Join(err, again))
		}
	}
	if err := b.unstick(ctx); err != nil {
		return err
	}
	return b.forget(flows)
}

// Update implements proxy.Backend.
func (b *Backend) Update(ctx context.Context, diff proxy.Diff) error {
	u := b.plan(diff)
	if u.tx.NumOperations() > 0 {
		if err := b.run(ctx, u.tx); err != nil {
			return fmt.Errorf("updating nftables table %s %s (%d operations): %w",
				b.family.nft, b.cfg.Table, u.tx.NumOperations(), err)
		}
	}
	b.commit(u)
	if u.unstick {
		if err := b.unstick(ctx); err != nil {
			return err
		}
	}
	return b.forget(u.flows)
}

func (b *Backend) run(ctx context.Context, tx *knftables.Transaction) error {
	return b.track.Own(func() error { return b.nft.Run(ctx, tx) })
}

// Intact implements proxy.Backend.
func (b *Backend) Intact(context.Context) (bool, error) {
	if b.cfg.PodDevice != "" {
		if err := b.kernel.Route(b.cfg.ServiceNets, b.cfg.PodDevice); err != nil {
			return false, err
		}
	}
	return b.track.Intact(b.rules, b.contents)
}

// contents is how many elements sets and maps should have. What clients stick to is the kernel's business.
func (b *Backend) contents() map[string]int {
	count := map[string]int{}
	for _, s := range b.family.sets() {
		count[s.Name] = 0
	}
	for _, m := range b.family.maps() {
		if m.Name != affinity {
			count[m.Name] = 0
		}
	}
	for _, p := range b.placed {
		for _, e := range p.elements() {
			count[e.in]++
		}
	}
	return count
}

// forget ends the UDP flows to endpoints that are gone, and connections that those have not answered.
func (b *Backend) forget(flows map[proxy.Key][]netip.AddrPort) error {
	if len(flows) == 0 {
		return nil
	}
	if err := b.kernel.ForgetFlows(flows); err != nil {
		return fmt.Errorf("forgetting flows of %d virtual servers: %w", len(flows), err)
	}
	return nil
}

// Remove implements proxy.Backend.
func (b *Backend) Remove(ctx context.Context) error {
	tx := b.nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	if err := b.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("removing nftables table %s %s: %w", b.family.nft, b.cfg.Table, err)
	}
	b.placed, b.chains = nil, nil
	if b.cfg.PodDevice == "" {
		return nil
	}
	return b.kernel.Unroute(b.cfg.ServiceNets, b.cfg.PodDevice)
}

// Close implements proxy.Backend. The process holds nothing.
func (b *Backend) Close() error { return nil }
