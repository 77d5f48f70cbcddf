package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"github.com/cloudflare/ipvs"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/knftables"

	"github.com/wakehq/wake/agent/proxy"
)

// Config says what one cluster's proxy on this node works with.
type Config struct {
	// Table is the name of the nftables table. Each cluster on a machine needs one of its own.
	Table string
	// PodNets are the networks of this node's own pods.
	PodNets []netip.Prefix
	// ServiceNets are the networks of the cluster IPs. Clusters on one machine need different ones. IPVS services in them are all the
	// cluster's, whoever made them.
	ServiceNets []netip.Prefix
	// PodDevice, if set, is the bridge of the pods. Reconcile then routes ServiceNets there, so that the node itself
	// reaches cluster IPs without a default route, too.
	PodDevice string
	// Scheduler is how IPVS chooses endpoints: rr (the default), wrr, lc, wlc, sh, mh or another that the kernel has.
	Scheduler string
	// Mark is one bit that packets carry from prerouting to input. The default is 0x08000000. Clusters may share it.
	Mark uint32
}

// defaultMark isn't among the bits that widespread network plugins use.
const defaultMark = 0x08000000

var (
	// nameable is what nft takes as a table name without quotes.
	nameable = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]*$`)
	// scheduling is how the kernel names schedulers; a longer one doesn't fit.
	scheduling = regexp.MustCompile(`^[a-z]{1,12}$`)
)

// complete fills in the defaults and checks the rest.
func (c Config) complete() (Config, error) {
	if c.Scheduler == "" {
		c.Scheduler = "rr"
	}
	if c.Mark == 0 {
		c.Mark = defaultMark
	}
	if !nameable.MatchString(c.Table) {
		return c, fmt.Errorf("nftables table name %q: want a letter, then letters, digits, - and _", c.Table)
	}
	if !scheduling.MatchString(c.Scheduler) {
		return c, fmt.Errorf("IPVS scheduler %q: want a name such as rr, wrr, lc, wlc, sh or mh", c.Scheduler)
	}
	if c.Mark&(c.Mark-1) != 0 {
		return c, fmt.Errorf("mark %#x: want a single bit", c.Mark)
	}
	if len(c.PodNets) == 0 || len(c.ServiceNets) == 0 {
		return c, fmt.Errorf("service proxy of table %s: %d pod networks and %d service networks, want at least one each",
			c.Table, len(c.PodNets), len(c.ServiceNets))
	}
	for _, net := range slices.Concat(c.PodNets, c.ServiceNets) {
		if !net.Addr().Is4() {
			return c, fmt.Errorf("service proxy of table %s: network %s isn't IPv4, the only family that is served so far", c.Table, net)
		}
	}
	return c, nil
}

// surroundings are the parts of the kernel beside IPVS and nftables that the backend needs.
type surroundings interface {
	ForgetFlows(current map[proxy.Key][]netip.AddrPort) error
	Route(nets []netip.Prefix, device string) error
	Unroute(nets []netip.Prefix, device string) error
	// lead has packets with the mark delivered to the node itself, by a routing table that is the cluster's own.
	lead(mark uint32, table int) error
	unlead(mark uint32, table int) error
	// settle gives IPVS the settings that it needs.
	settle() error
}

// sweepEvery is how long an update waits before it looks for drained endpoints again.
const sweepEvery = 10 * time.Second

// Backend serves virtual servers by IPVS. It implements proxy.Backend.
type Backend struct {
	cfg    Config
	client ipvs.Client
	nft    knftables.Interface
	kernel surroundings
	now    func() time.Time

	// What the kernel holds, as of the last success.
	held    map[proxy.Key]service
	servers map[proxy.Key]proxy.VirtualServer
	// draining are the keys with endpoints of weight 0; they were last looked at when swept says.
	draining map[proxy.Key]bool
	swept    time.Time
}

var _ proxy.Backend = (*Backend)(nil)

// New checks that this machine can do it (see Check) and gives a backend that has touched nothing yet.
func New(ctx context.Context, cfg Config) (*Backend, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	if err := Check(ctx, cfg.Scheduler); err != nil {
		return nil, err
	}
	nft, err := knftables.New(knftables.IPv4Family, cfg.Table)
	if err != nil {
		return nil, fmt.Errorf("the service proxy's nftables table %s: %w", cfg.Table, err)
	}
	client, err := ipvs.New()
	if err != nil {
		return nil, unusable(err)
	}
	return newBackend(cfg, client, nft, around{}), nil
}

func newBackend(cfg Config, client ipvs.Client, nft knftables.Interface, kernel surroundings) *Backend {
	b := &Backend{cfg: cfg, client: client, nft: nft, kernel: kernel, now: time.Now}
	b.forget()
	return b
}

// forget starts over with a kernel that holds nothing.
func (b *Backend) forget() {
	b.held, b.servers, b.draining, b.swept = map[proxy.Key]service{}, map[proxy.Key]proxy.VirtualServer{}, map[proxy.Key]bool{}, b.now()
}

func serves(key proxy.Key) bool { return key.Addr.Addr().Is4() }

// Reconcile implements proxy.Backend.
func (b *Backend) Reconcile(ctx context.Context, state proxy.State) error {
	if err := b.prepare(); err != nil {
		return err
	}
	found, err := b.survey(ctx, state.Servers)
	if err != nil {
		return err
	}
	c := newChange()
	keys := maps.Clone(found.held)
	for key := range state.Servers {
		if serves(key) {
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

// prepare makes the surroundings fit.
func (b *Backend) prepare() error {
	if b.cfg.PodDevice != "" {
		if err := b.kernel.Route(b.cfg.ServiceNets, b.cfg.PodDevice); err != nil {
			return err
		}
	}
	if err := b.kernel.lead(b.cfg.Mark, b.cfg.routingTable()); err != nil {
		return err
	}
	return b.kernel.settle()
}

// rebuild makes the table in one transaction.
func (b *Backend) rebuild(ctx context.Context, existing objects, elements []element) error {
	tx := b.nft.NewTransaction()
	b.cfg.rebuild(tx, existing, elements)
	err := b.nft.Run(ctx, tx)
	if err == nil {
		return nil
	}
	// Perhaps the table is another version's, or somebody's with our name. One transaction replaces it.
	tx = b.nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	b.cfg.rebuild(tx, nil, elements)
	if again := b.nft.Run(ctx, tx); again != nil {
		return fmt.Errorf("rebuilding nftables table ip %s: %w", b.cfg.Table, errors.Join(err, again))
	}
	return nil
}

// Update implements proxy.Backend.
func (b *Backend) Update(ctx context.Context, diff proxy.Diff) error {
	c := newChange()
	for _, key := range diff.Gone {
		if serves(key) {
			b.plan(c, key, nil)
		}
	}
	for _, server := range diff.Put {
		if serves(server.Key) {
			b.plan(c, server.Key, &server)
		}
	}
	if err := b.carryOut(ctx, c); err != nil {
		return err
	}
	return b.sweep(ctx)
}

// change is what is to be done, and what the kernel holds once it is.
type change struct {
	move move
	ops  []operation
	// flows are the UDP servers that lost endpoints or are new, with those that they have now.
	flows   map[proxy.Key][]netip.AddrPort
	held    map[proxy.Key]service
	servers map[proxy.Key]*proxy.VirtualServer
}

func newChange() *change {
	return &change{
		flows: map[proxy.Key][]netip.AddrPort{}, held: map[proxy.Key]service{}, servers: map[proxy.Key]*proxy.VirtualServer{},
	}
}

func (c *change) put(key proxy.Key, held service, server *proxy.VirtualServer) {
	c.held[key], c.servers[key] = held, server
}

// plan adds what brings one key to a new state; a server of nil is gone.
func (b *Backend) plan(c *change, key proxy.Key, server *proxy.VirtualServer) {
	before := b.held[key]
	after, ops := decideService(key, before, server, b.cfg.Scheduler)
	b.planTo(c, key, after, server, ops)
	var endpoints []netip.AddrPort
	if server != nil {
		endpoints = server.Endpoints
	}
	if before.none() || !keeps(before.weights, endpoints) { // while nobody served it, flows may have gone past us
		note(c.flows, key, endpoints)
	}
}

func (b *Backend) planTo(c *change, key proxy.Key, after service, server *proxy.VirtualServer, ops []operation) {
	var now *proxy.VirtualServer
	if s, known := b.servers[key]; known {
		now = &s
	}
	m := decideMove(decideElements(key, b.held[key], now), decideElements(key, after, server))
	c.move.swapped, c.move.first, c.move.gone = append(c.move.swapped, m.swapped...), append(c.move.first, m.first...), append(c.move.gone, m.gone...)
	c.ops = append(c.ops, ops...)
	c.put(key, after, server)
}

// keeps says whether all endpoints of before are among those of now.
func keeps(before map[netip.AddrPort]uint32, now []netip.AddrPort) bool {
	has := make(map[netip.AddrPort]bool, len(now))
	for _, endpoint := range now {
		has[endpoint] = true
	}
	for endpoint := range before {
		if !has[endpoint] {
			return false
		}
	}
	return true
}

// note remembers the flows of a server for checking, if they are UDP's: those have no end that conntrack sees.
func note(flows map[proxy.Key][]netip.AddrPort, key proxy.Key, endpoints []netip.AddrPort) {
	if key.Protocol == corev1.ProtocolUDP {
		flows[key] = endpoints
	}
}

// carryOut does what is to be done, in the order that keeps the package's promises, and remembers it. After an error what the kernel holds is
// unknown, and the caller reconciles.
func (b *Backend) carryOut(ctx context.Context, c *change) error {
	if err := b.edit(ctx, c.move.swapped, c.move.first); err != nil {
		return err
	}
	for i, op := range c.ops {
		if err := b.send(op); err != nil {
			return fmt.Errorf("IPVS: %s, operation %d of %d: %w", op, i+1, len(c.ops), err)
		}
	}
	if err := b.edit(ctx, c.move.gone, nil); err != nil {
		return err
	}
	for key, held := range c.held {
		delete(b.draining, key)
		delete(b.held, key)
		delete(b.servers, key)
		if !held.none() {
			b.held[key] = held
		}
		if held.drains() {
			b.draining[key] = true
		}
		if server := c.servers[key]; server != nil {
			b.servers[key] = *server
		}
	}
	if len(c.flows) == 0 {
		return nil
	}
	if err := b.kernel.ForgetFlows(c.flows); err != nil {
		return fmt.Errorf("forgetting UDP flows of %d virtual servers: %w", len(c.flows), err)
	}
	return nil
}

// edit takes elements away and adds others, in one transaction.
func (b *Backend) edit(ctx context.Context, gone, put []element) error {
	if len(gone)+len(put) == 0 {
		return nil
	}
	tx := b.nft.NewTransaction()
	for _, e := range gone {
		tx.Delete(e.object())
	}
	for _, e := range put {
		tx.Add(e.object())
	}
	if err := b.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("updating nftables table ip %s (%d elements less, %d more): %w", b.cfg.Table, len(gone), len(put), err)
	}
	return nil
}

// sweep takes out what has drained.
func (b *Backend) sweep(ctx context.Context) error {
	if len(b.draining) == 0 || b.now().Sub(b.swept) < sweepEvery {
		return nil
	}
	b.swept = b.now()
	c := newChange()
	for _, key := range slices.SortedFunc(maps.Keys(b.draining), proxy.Key.Compare) {
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
		return fmt.Errorf("removing nftables table ip %s: %w", b.cfg.Table, err)
	}
	b.forget()
	if err := b.kernel.unlead(b.cfg.Mark, b.cfg.routingTable()); err != nil {
		return err
	}
	if b.cfg.PodDevice == "" {
		return nil
	}
	return b.kernel.Unroute(b.cfg.ServiceNets, b.cfg.PodDevice)
}

// Close implements proxy.Backend.
func (b *Backend) Close() error {
	if closer, ok := b.client.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
