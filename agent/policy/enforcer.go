package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"sync"

	"sigs.k8s.io/knftables"
)

// nameable is what nft takes as a table name without quotes.
var nameable = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]*$`)

// ErrNotFull is returned before the first full change: enforcing a part would let pass what the rest forbids.
var ErrNotFull = errors.New("what the node's policies are isn't known yet")

// Enforcer keeps the kernel in line with what the node learns of policies. It is safe for concurrent use.
type Enforcer struct {
	table   string
	log     *slog.Logger
	packets knftables.Interface // family inet
	frames  knftables.Interface // family bridge

	mu     sync.Mutex
	fold   *fold
	known  bool // a full change has arrived
	bridge Bridge

	writing sync.Mutex // held while the kernel is changed; taken before mu
	written *written   // nil: what the kernel holds isn't known
}

// New checks that this machine can do it, and gives an Enforcer that has touched nothing yet. Table is the name of its nftables tables, one of the
// family inet and one of the family bridge; each cluster on a machine needs its own.
func New(ctx context.Context, table string, log *slog.Logger) (*Enforcer, error) {
	if !nameable.MatchString(table) {
		return nil, fmt.Errorf("nftables table name %q: want a letter, then letters, digits, - and _", table)
	}
	packets, err := knftables.New(knftables.InetFamily, table)
	if err != nil {
		return nil, unusable(err)
	}
	frames, err := knftables.New(knftables.BridgeFamily, table)
	if err != nil {
		return nil, unusable(err)
	}
	e := &Enforcer{table: table, log: log, packets: packets, frames: frames, fold: newFold()}
	return e, e.check(ctx)
}

// check tries all that is always there, without changing anything.
func (e *Enforcer) check(ctx context.Context) error {
	tx := e.packets.NewTransaction()
	rebuild(tx, nil, update{}, "pods")
	if err := e.packets.Check(ctx, tx); err != nil {
		return unusable(err)
	}
	tx = e.frames.NewTransaction()
	writeFrames(tx, "02:00:00:00:00:01", []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")})
	if err := e.frames.Check(ctx, tx); err != nil {
		return fmt.Errorf("pods on one bridge would pass by network policies: nft can't filter bridged frames here (CONFIG_NF_TABLES_BRIDGE): %w", err)
	}
	return nil
}

func unusable(err error) error {
	return fmt.Errorf("nft doesn't work here: network policies need the program nft, root (CAP_NET_ADMIN) and a kernel with nftables "+
		"(modules nf_tables, nft_ct, nft_fib_inet): %w", err)
}

// Note takes in a change without waiting for anything. Sync writes it.
func (e *Enforcer) Note(change Change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known = e.known || change.Full
	if change.Bridge != nil {
		e.bridge = *change.Bridge
	}
	e.fold = e.fold.apply(change)
}

// Place notes the addresses of a pod and returns when its policies are enforced there. Before the first full change it returns ErrNotFull.
func (e *Enforcer) Place(ctx context.Context, uid string, addresses []netip.Addr) error {
	var change Change
	change.Place(uid, addresses)
	e.Note(change)
	return e.Sync(ctx)
}

// Sync brings the kernel in line with what was noted. It does nothing before the first full change but return ErrNotFull.
func (e *Enforcer) Sync(ctx context.Context) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	if e.written == nil || e.moved() {
		return e.reconcile(ctx)
	}
	u := e.due()
	if u.empty() {
		return nil
	}
	tx := e.packets.NewTransaction()
	u.write(tx)
	err := e.packets.Run(ctx, tx)
	if err == nil {
		e.written.commit(&u)
		return nil
	}
	err = fmt.Errorf("updating nftables table inet %s (%d operations): %w", e.table, tx.NumOperations(), err)
	e.written = nil
	if again := e.reconcile(ctx); again != nil {
		return errors.Join(err, again)
	}
	e.log.WarnContext(ctx, "an update of network policies failed and everything was reconciled instead", "cause", err)
	return nil
}

// due takes what is to be written.
func (e *Enforcer) due() update {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer e.fold.settled()
	return e.fold.since(e.written)
}

// moved says that the pods are on another bridge than the one that the kernel was told of.
func (e *Enforcer) moved() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.bridge.equal(e.written.bridge)
}

// reconcile writes everything in one transaction, whatever is there; e.writing is held.
func (e *Enforcer) reconcile(ctx context.Context) error {
	next := &written{chains: map[string][]string{}, sets: map[string]map[string]string{}}
	e.mu.Lock()
	known := e.known
	e.fold.all = true
	u := e.fold.since(next)
	e.fold.settled()
	bridge := e.bridge
	e.mu.Unlock()
	if !known {
		return ErrNotFull
	}
	if err := e.lead(ctx, bridge); err != nil {
		return err
	}
	existing, err := e.packets.ListAll(ctx)
	if err != nil && !knftables.IsNotFound(err) {
		return fmt.Errorf("listing nftables table inet %s: %w", e.table, err)
	}
	tx := e.packets.NewTransaction()
	rebuild(tx, existing, u, bridge.Device)
	if err := e.packets.Run(ctx, tx); err != nil {
		// Perhaps the table is another version's, or somebody's with our name. One transaction replaces it.
		tx = e.packets.NewTransaction()
		tx.Add(&knftables.Table{})
		tx.Delete(&knftables.Table{})
		rebuild(tx, nil, u, bridge.Device)
		if again := e.packets.Run(ctx, tx); again != nil {
			return fmt.Errorf("rebuilding nftables table inet %s: %w", e.table, errors.Join(err, again))
		}
	}
	next.commit(&u)
	next.bridge = bridge
	e.written = next
	return nil
}

// rebuild fills the transaction with everything. What exists of it is used again, so that the kernel goes on from one rule to the next without a gap.
func rebuild(tx *knftables.Transaction, existing map[string][]string, u update, device string) {
	tx.Add(&knftables.Table{})
	fixed := fixedChains(device)
	wanted := map[string]bool{}
	for _, name := range append(u.newSets, fixedSets()...) {
		if !wanted[name] {
			wanted[name] = true
			tx.Add(container(name))
			tx.Flush(container(name))
		}
	}
	for _, c := range fixed {
		wanted[c.Name] = true
		tx.Add(&c.Chain)
	}
	for _, name := range u.newChains {
		wanted[name] = true
		tx.Add(&knftables.Chain{Name: name, Comment: commentOf(u.rules[name])})
	}
	for _, c := range fixed {
		tx.Flush(&knftables.Chain{Name: c.Name})
		for _, rule := range c.rules {
			tx.Add(&knftables.Rule{Chain: c.Name, Rule: rule})
		}
	}
	u.newSets, u.newChains = nil, nil
	u.write(tx)
	chains := others(existing["chain"], wanted)
	for _, name := range chains {
		tx.Flush(&knftables.Chain{Name: name})
	}
	for _, name := range chains {
		tx.Delete(&knftables.Chain{Name: name})
	}
	for _, name := range others(existing["map"], wanted) {
		tx.Delete(&knftables.Map{Name: name})
	}
	for _, name := range others(existing["set"], wanted) {
		tx.Delete(&knftables.Set{Name: name})
	}
}

func others(names []string, wanted map[string]bool) []string {
	return slices.DeleteFunc(names, func(name string) bool { return wanted[name] })
}

// Remove takes everything out of the kernel, for a node that leaves its cluster.
func (e *Enforcer) Remove(ctx context.Context) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	e.written = nil
	for _, table := range []knftables.Interface{e.packets, e.frames} {
		tx := table.NewTransaction()
		tx.Add(&knftables.Table{})
		tx.Delete(&knftables.Table{})
		if err := table.Run(ctx, tx); err != nil {
			return fmt.Errorf("removing the nftables tables %s of network policies: %w", e.table, err)
		}
	}
	return nil
}

// Verify writes everything anew if somebody has taken chains, sets or the bridge's address away. It does nothing before the first full change.
func (e *Enforcer) Verify(ctx context.Context) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	if e.written == nil {
		return nil
	}
	missing, err := e.missing(ctx)
	if err != nil || missing == "" {
		return err
	}
	e.log.WarnContext(ctx, "somebody changed the rules of network policies; they are written anew", "missing", missing)
	return e.reconcile(ctx)
}

// missing names something that was written and isn't there; e.writing is held.
func (e *Enforcer) missing(ctx context.Context) (string, error) {
	for _, f := range []struct {
		nft    knftables.Interface
		chains []string
	}{{e.packets, e.written.packetChains()}, {e.frames, e.written.frameChains()}} {
		if len(f.chains) == 0 {
			continue
		}
		rules, err := f.nft.ListAll(ctx)
		if err != nil && !knftables.IsNotFound(err) {
			return "", fmt.Errorf("looking at the nftables tables %s: %w", e.table, err)
		}
		for _, name := range f.chains {
			if !slices.Contains(rules["chain"], name) {
				return "chain " + name, nil
			}
		}
	}
	return "", nil
}
