package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"sigs.k8s.io/knftables"
)

// ForwardMark is the bit of a packet's mark that says that it is the pod network's to forward, or the service proxy's. It counts between two hooks only.
const ForwardMark = 0x2000

// ruling is all that the packet filter rules say.
type ruling struct {
	device string
	own    []netip.Prefix // the node's ranges
	ranges []netip.Prefix // every node's
	nodes  []netip.Addr   // that pods reach untranslated
	ports  []portRule
}

// portRule leads a port of the node to a pod.
type portRule struct {
	HostPort
	to netip.AddrPort
}

// rules is a node's nftables table, and its word in the chains that Docker filters forwarded packets by.
type rules struct {
	nft     knftables.Interface
	forward *forwarding

	mu      sync.Mutex
	applied *ruling  // nil: not known
	chains  []string // that the table has with it
	count   int      // of their rules
}

func openRules(table string) (*rules, error) {
	nft, err := knftables.New(knftables.InetFamily, table)
	if err != nil {
		return nil, fmt.Errorf("nftables can't be used here (is nft installed, and may this user run it?): %w", err)
	}
	forward, err := openForwarding(table)
	if err != nil {
		return nil, err
	}
	return &rules{nft: nft, forward: forward}, nil
}

func (r *ruling) equal(other *ruling) bool {
	return other != nil && r.device == other.device && slices.Equal(r.own, other.own) && slices.Equal(r.ranges, other.ranges) && slices.Equal(r.nodes, other.nodes) &&
		slices.Equal(r.ports, other.ports)
}

// ruling words the rules for the ways to other nodes.
func (n *Network) ruling(local Local, w ways) ruling {
	r := ruling{device: local.Device, own: local.Ranges, ranges: slices.Concat(local.Ranges, w.ranges), nodes: slices.Clone(w.nodes), ports: n.ports.rules()}
	slices.SortFunc(r.ranges, comparePrefixes)
	r.ranges = slices.Compact(r.ranges)
	slices.SortFunc(r.nodes, netip.Addr.Compare)
	r.nodes = slices.Compact(r.nodes)
	return r
}

func comparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// begin is apply for a process that doesn't know all yet: a table that is there is left as it is.
func (s *rules) begin(ctx context.Context, r ruling) error {
	if left, err := s.nft.List(ctx, "chains"); err == nil && len(left) > 0 {
		return s.forward.ensure()
	}
	return s.apply(ctx, r)
}

// apply makes the table say what r says, in one transaction, if it doesn't.
func (s *rules) apply(ctx context.Context, r ruling) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.forward.ensure(); err != nil {
		return err
	}
	if r.equal(s.applied) {
		return nil
	}
	tx := s.write(r)
	if err := s.nft.Run(ctx, tx); err != nil {
		// Perhaps the table is another version's. One transaction replaces it.
		fresh := s.nft.NewTransaction()
		fresh.Add(&knftables.Table{})
		fresh.Delete(&knftables.Table{})
		s.fill(fresh, r)
		if again := s.nft.Run(ctx, fresh); again != nil {
			s.applied = nil
			return fmt.Errorf("writing the pod network's nftables rules: %w", errors.Join(err, again))
		}
	}
	s.applied = &r
	return nil
}

// write words a transaction over a table that may be there.
func (s *rules) write(r ruling) *knftables.Transaction {
	tx := s.nft.NewTransaction()
	s.fill(tx, r)
	return tx
}

func (s *rules) fill(tx *knftables.Transaction, r ruling) {
	tx.Add(&knftables.Table{})
	chains := r.chains()
	s.chains, s.count = nil, 0
	for _, c := range chains {
		s.chains = append(s.chains, c.Name)
		s.count += len(c.rules)
		tx.Add(&c.Chain)
		tx.Flush(&knftables.Chain{Name: c.Name})
	}
	for _, f := range families {
		f.containers(tx)
		f.elements(tx, r)
	}
	for _, c := range chains {
		for _, rule := range c.rules {
			tx.Add(&knftables.Rule{Chain: c.Name, Rule: rule})
		}
	}
}

// intact says whether the kernel has what was applied, as far as names and numbers tell. It forgets what was applied if not.
func (s *rules) intact(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.applied == nil {
		return false
	}
	chains, err := s.nft.List(ctx, "chains")
	if err == nil {
		var found []*knftables.Rule
		found, err = s.nft.ListRules(ctx, "")
		if err == nil && len(found) == s.count && !slices.ContainsFunc(s.chains, func(c string) bool { return !slices.Contains(chains, c) }) {
			return true
		}
	}
	s.applied = nil
	return false
}

// remove takes the table and the word in other chains away.
func (s *rules) remove(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	tx := s.nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	s.applied = nil
	return errors.Join(s.nft.Run(ctx, tx), s.forward.remove())
}

// family has the words in which rules differ between address families.
type family struct{ suffix, header, address, proto, multicast string }

var families = []family{
	{suffix: "-4", header: "ip", address: "ipv4_addr", proto: "ipv4", multicast: "224.0.0.0/4"},
	{suffix: "-6", header: "ip6", address: "ipv6_addr", proto: "ipv6", multicast: "ff00::/8"},
}

func (f family) has(a netip.Addr) bool { return a.Is4() == (f.header == "ip") }

// containers adds the sets and maps, and empties them.
func (f family) containers(tx *knftables.Transaction) {
	for _, name := range []string{"own", "ranges"} {
		set := &knftables.Set{Name: name + f.suffix, Type: f.address, Flags: []knftables.SetFlag{knftables.IntervalFlag}, AutoMerge: knftables.PtrTo(true)}
		tx.Add(set)
		tx.Flush(set)
	}
	nodes := &knftables.Set{Name: "nodes" + f.suffix, Type: f.address}
	tx.Add(nodes)
	tx.Flush(nodes)
	for name, key := range map[string]string{"ports": "inet_proto . inet_service", "ports-at": f.address + " . inet_proto . inet_service"} {
		m := &knftables.Map{Name: name + f.suffix, Type: key + " : " + f.address + " . inet_service"}
		tx.Add(m)
		tx.Flush(m)
	}
}

func (f family) elements(tx *knftables.Transaction, r ruling) {
	add := func(set, key string) { tx.Add(&knftables.Element{Set: set + f.suffix, Key: []string{key}}) }
	for _, p := range r.own {
		if f.has(p.Addr()) {
			add("own", p.String())
		}
	}
	for _, p := range r.ranges {
		if f.has(p.Addr()) {
			add("ranges", p.String())
		}
	}
	for _, a := range r.nodes {
		if f.has(a) {
			add("nodes", a.String())
		}
	}
	for _, p := range r.ports {
		if !f.has(p.to.Addr()) {
			continue
		}
		e := &knftables.Element{Map: "ports" + f.suffix, Key: []string{p.Protocol, strconv.Itoa(int(p.Port))}, Value: []string{p.to.Addr().String(), strconv.Itoa(int(p.to.Port()))}}
		if p.At.IsValid() {
			e.Map, e.Key = "ports-at"+f.suffix, append([]string{p.At.String()}, e.Key...)
		}
		tx.Add(e)
	}
}

// chain is a chain with its rules.
type chain struct {
	knftables.Chain
	rules []string
}

func base(name string, typ knftables.BaseChainType, hook knftables.BaseChainHook, priority string, rules ...string) chain {
	return chain{Chain: knftables.Chain{Name: name, Type: &typ, Hook: &hook, Priority: knftables.PtrTo(knftables.BaseChainPriority(priority))}, rules: rules}
}

// chains are those of the table.
func (r *ruling) chains() []chain {
	const filter, nat = knftables.FilterType, knftables.NATType
	mark := fmt.Sprintf("meta mark set meta mark or %#x", ForwardMark)
	var forward, source, ports []string
	for _, f := range families {
		own, ranges, nodes := "@own"+f.suffix, "@ranges"+f.suffix, "@nodes"+f.suffix
		forward = append(forward, fmt.Sprintf("%s saddr %s %s", f.header, ranges, mark), fmt.Sprintf("%s daddr %s %s", f.header, ranges, mark))
		source = append(source,
			fmt.Sprintf("%s saddr %s %s daddr %s ct status dnat masquerade", f.header, own, f.header, own),
			fmt.Sprintf("%[1]s saddr %[2]s %[1]s daddr != %[3]s %[1]s daddr != %[4]s %[1]s daddr != %[5]s oifname != %[6]q masquerade", f.header, own, ranges, nodes, f.multicast, r.device))
		ports = append(ports,
			fmt.Sprintf("fib daddr type local dnat %[1]s to %[1]s daddr . meta l4proto . th dport map @ports-at%[2]s", f.header, f.suffix),
			fmt.Sprintf("meta nfproto %s fib daddr type local dnat %s to meta l4proto . th dport map @ports%s", f.proto, f.header, f.suffix))
	}
	source = append(source, fmt.Sprintf("ip saddr 127.0.0.0/8 oifname %q ct status dnat masquerade", r.device))
	return []chain{
		base("guard", filter, knftables.PreroutingHook, "raw", fmt.Sprintf("iifname %q ip daddr 127.0.0.0/8 drop", r.device)),
		base("forward", filter, knftables.ForwardHook, "mangle", forward...),
		base("ports-prerouting", nat, knftables.PreroutingHook, "dstnat", ports...),
		base("ports-output", nat, knftables.OutputHook, "-100", ports...),
		base("source", nat, knftables.PostroutingHook, "srcnat", source...),
	}
}
