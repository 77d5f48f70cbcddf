package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/cloudflare/ipvs"
	"sigs.k8s.io/knftables"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/kernel"
)

// surroundings are the parts of the kernel beside IPVS and nftables that the backend needs.
type surroundings interface {
	ForgetFlows(current map[proxy.Key][]netip.AddrPort) error
	// lead has packets for services delivered to the node itself, by a routing table that is the cluster's own; unlead takes that away.
	lead(cfg Config) error
	unlead(cfg Config) error
	// settle gives IPVS the settings that it needs.
	settle() error
	kernel.Tables
}

const (
	// sweepEvery is how long updates wait before they look for drained endpoints again.
	sweepEvery = 10 * time.Second
	// sweepAtMost is at how many services one update looks. Others follow with the next.
	sweepAtMost = 100
)

// Backend serves the virtual servers of one address family by IPVS, and ignores others. It implements proxy.Backend.
type Backend struct {
	cfg    Config
	client ipvs.Client
	nft    knftables.Interface
	kernel surroundings
	track  kernel.Tracker
	bulk   func(adding []operation) error // nil: one by one
	now    func() time.Time

	// What the kernel holds, as of the last success.
	held    map[proxy.Key]service
	servers map[proxy.Key]proxy.VirtualServer
	// draining are the keys with endpoints of weight 0. All were looked at when swept says, those of due are still to be looked at since.
	draining map[proxy.Key]bool
	swept    time.Time
	due      []proxy.Key

	look      []proxy.Key // of which Intact still has to compare the endpoints
	listAgain time.Time   // when IPVS' services may be listed to see whether they are there
}

var _ proxy.Backend = (*Backend)(nil)

// New checks that this machine can do it (see Check) and gives a backend that has touched nothing yet.
func New(ctx context.Context, cfg Config) (proxy.Backend, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	if err := Check(ctx, cfg.Scheduler); err != nil {
		return nil, err
	}
	var all proxy.Families
	for _, one := range cfg.families() {
		backend, err := open(one)
		if err != nil {
			return nil, errors.Join(err, all.Close())
		}
		all = append(all, backend)
	}
	return all, nil
}

// open makes the backend of one family.
func open(cfg Config) (*Backend, error) {
	nft, err := knftables.New(cfg.family().nft, cfg.Table)
	if err != nil {
		return nil, fmt.Errorf("the service proxy's nftables table %s: %w", cfg.Table, err)
	}
	client, err := ipvs.New()
	if err != nil {
		return nil, unusable(err)
	}
	b := newBackend(cfg, client, nft, around{})
	b.bulk = addAll
	return b, nil
}

func newBackend(cfg Config, client ipvs.Client, nft knftables.Interface, around surroundings) *Backend {
	b := &Backend{cfg: cfg, client: client, nft: nft, kernel: around, now: time.Now}
	b.track = kernel.Tracker{Tables: around, Family: uint8(cfg.family().number), Table: cfg.Table}
	b.forget()
	return b
}

// forget starts over with a kernel that holds nothing.
func (b *Backend) forget() {
	b.held, b.servers, b.draining = map[proxy.Key]service{}, map[proxy.Key]proxy.VirtualServer{}, map[proxy.Key]bool{}
	b.swept, b.due, b.look = b.now(), nil, nil
}

// Reconcile implements proxy.Backend.
func (b *Backend) Reconcile(ctx context.Context, state proxy.State) error {
	if err := b.kernel.lead(b.cfg); err != nil {
		return err
	}
	if err := b.kernel.settle(); err != nil {
		return err
	}
	found, err := b.survey(ctx, state.Servers)
	if err != nil {
		return err
	}
	c := newChange()
	keys := maps.Clone(found.held)
	for key := range state.Servers {
		if b.cfg.family().serves(key) {
			keys[key] = found.held[key]
		}
	}
	var elements []element
	for _, key := range slices.SortedFunc(maps.Keys(keys), proxy.Key.Compare) {
		var server *proxy.VirtualServer
		if s, wanted := state.Servers[key]; wanted {
			server = &s
			note(c.flows, key, s.Endpoints)
		} else {
			note(c.flows, key, nil)
		}
		before := found.held[key]
		after, ops := decideService(key, before, server, b.cfg.Scheduler)
		after, drained := decideDrained(key, after, found.idle[key])
		c.put(key, after, server)
		c.ops = append(append(c.ops, ops...), drained...)
		elements = append(elements, decideElements(key, after, server)...)
		if after.none() && !before.none() { // known as ours until IPVS has let go of it
			elements = append(elements, element{in: virtual, key: elementKey(key)})
			c.move.gone = append(c.move.gone, element{in: virtual, key: elementKey(key)})
		}
	}
	if err := b.rebuild(ctx, found.objects, elements); err != nil {
		return err
	}
	b.forget()
	return b.carryOut(ctx, c)
}

// rebuild makes the table in one transaction.
func (b *Backend) rebuild(ctx context.Context, existing objects, elements []element) error {
	tx := b.nft.NewTransaction()
	b.cfg.rebuild(tx, existing, elements)
	err := b.run(ctx, tx)
	if err == nil {
		return nil
	}
	// Perhaps the table is another version's, or somebody's with our name. One transaction replaces it.
	tx = b.nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	b.cfg.rebuild(tx, nil, elements)
	if again := b.run(ctx, tx); again != nil {
		return fmt.Errorf("rebuilding nftables table %s %s: %w", b.cfg.family().nft, b.cfg.Table, errors.Join(err, again))
	}
	return nil
}

// Update implements proxy.Backend.
func (b *Backend) Update(ctx context.Context, diff proxy.Diff) error {
	c := newChange()
	for _, key := range diff.Gone {
		if b.cfg.family().serves(key) {
			b.plan(c, key, nil)
		}
	}
	for _, server := range diff.Put {
		if b.cfg.family().serves(server.Key) {
			b.plan(c, server.Key, &server)
		}
	}
	if err := b.carryOut(ctx, c); err != nil {
		return err
	}
	return b.sweep(ctx)
}

func (b *Backend) run(ctx context.Context, tx *knftables.Transaction) error {
	return b.track.Own(func() error { return b.nft.Run(ctx, tx) })
}

// Intact implements proxy.Backend. It looks whether all of IPVS' services are there, and at the endpoints of some, in turns.
func (b *Backend) Intact(context.Context) (bool, error) {
	if err := b.kernel.lead(b.cfg); err != nil {
		return false, err
	}
	for _, there := range []func() (bool, error){b.servicesThere, b.endpointsThere} {
		if ok, err := there(); err != nil || !ok {
			return false, err
		}
	}
	rules := 0
	for _, chain := range b.cfg.chains() {
		rules += len(chain.rules)
	}
	return b.track.Intact(rules, b.contents)
}

// After a list of so many of IPVS' services no other is asked for, for so many times as long as it took.
const (
	longList = 1_000
	listRest = 20
)

// servicesThere says whether IPVS has the services that it should have, as of the last list.
func (b *Backend) servicesThere() (bool, error) {
	start := b.now()
	if start.Before(b.listAgain) {
		return true, nil
	}
	services, err := b.client.Services()
	if err != nil && !missing(err) {
		return false, fmt.Errorf("listing the IPVS services: %w", err)
	}
	there := 0
	for _, s := range services {
		if key, _, ok := parseService(s.Service); ok && !b.held[key].none() {
			there++
		}
	}
	if len(services) > longList {
		b.listAgain = b.now().Add(listRest * b.now().Sub(start))
	}
	return there == len(b.held), nil
}

// lookAtMost is of how many services Intact compares the endpoints: each is a question to the kernel.
const lookAtMost = 250

// endpointsThere says whether the next services in turn have the endpoints that they should have, of the weights that they should have.
func (b *Backend) endpointsThere() (bool, error) {
	if len(b.look) == 0 {
		b.look = slices.Collect(maps.Keys(b.held))
	}
	now := b.look[:min(len(b.look), lookAtMost)]
	b.look = b.look[len(now):]
	for _, key := range now {
		held, still := b.held[key]
		if !still {
			continue // it has gone since its turn was drawn
		}
		if weights, _, err := b.endpoints(key); err != nil || !maps.Equal(weights, held.weights) {
			return false, err
		}
	}
	return true, nil
}

// contents is how many elements the sets and the map should have.
func (b *Backend) contents() map[string]int {
	all := map[string]int{unserved: 0}
	for _, s := range b.cfg.sets() {
		all[s.Name] = 0
	}
	count := func(key proxy.Key, server *proxy.VirtualServer) {
		for _, e := range decideElements(key, b.held[key], server) {
			all[e.in]++
		}
	}
	for key, server := range b.servers {
		count(key, &server)
	}
	for key := range b.held {
		if _, wanted := b.servers[key]; !wanted {
			count(key, nil)
		}
	}
	return all
}

// sweep takes out what has drained.
func (b *Backend) sweep(ctx context.Context) error {
	if len(b.due) == 0 && len(b.draining) > 0 && b.now().Sub(b.swept) >= sweepEvery {
		b.swept, b.due = b.now(), slices.SortedFunc(maps.Keys(b.draining), proxy.Key.Compare)
	}
	now := b.due[:min(len(b.due), sweepAtMost)]
	b.due = b.due[len(now):]
	c := newChange()
	for _, key := range now {
		if !b.draining[key] {
			continue // it is needed again
		}
		weights, idle, err := b.endpoints(key)
		if err != nil {
			return err
		}
		if len(weights) == 0 {
			return fmt.Errorf("IPVS: the service %s is gone or empty, though it drains", key)
		}
		after, ops := decideDrained(key, b.held[key], idle)
		var server *proxy.VirtualServer
		if s, wanted := b.servers[key]; wanted {
			server = &s
		}
		b.planTo(c, key, after, server, ops)
	}
	return b.carryOut(ctx, c)
}

// Remove implements proxy.Backend. It cuts what is still open through the backend's services.
func (b *Backend) Remove(ctx context.Context) error {
	found, err := b.survey(ctx, nil)
	if err != nil {
		return err
	}
	for key := range found.held {
		if err := b.send(operation{do: removeService, key: key}); err != nil && !missing(err) {
			return fmt.Errorf("removing IPVS service %s: %w", key, err)
		}
	}
	tx := b.nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	if err := b.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("removing nftables table %s %s: %w", b.cfg.family().nft, b.cfg.Table, err)
	}
	b.forget()
	return b.kernel.unlead(b.cfg)
}

// Close implements proxy.Backend.
func (b *Backend) Close() error {
	if closer, ok := b.client.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
