package nft

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"

	"github.com/wakehq/wake/agent/proxy"
)

// family has the words in which nft differs between address families.
type family struct {
	nft     knftables.Family
	address string // the type of an address
	header  string // the header's name in expressions
	icmp    string // whose port-unreachable refuses what isn't TCP
	forward string // the kernel's setting that it forwards packets
	number  uint8  // the kernel's
}

var (
	ipv4 = family{nft: knftables.IPv4Family, address: "ipv4_addr", header: "ip", icmp: "icmp", forward: "net.ipv4.ip_forward", number: unix.NFPROTO_IPV4}
	ipv6 = family{nft: knftables.IPv6Family, address: "ipv6_addr", header: "ip6", icmp: "icmpv6", forward: "net.ipv6.conf.all.forwarding", number: unix.NFPROTO_IPV6}
)

func familyOf(net netip.Prefix) family {
	if net.Addr().Is4() {
		return ipv4
	}
	return ipv6
}

func (f family) serves(key proxy.Key) bool {
	return key.Addr.Addr().Is4() == (f.nft == knftables.IPv4Family)
}

// The containers of the table.
const (
	servers   = "servers"
	endpoints = "endpoints"
	unserved  = "unserved"
	external  = "external"
	guarded   = "guarded"
	admitted  = "admitted"
	learn     = "learn"
	affinity  = "affinity"
)

// transports are the protocols that services can have. Some expressions exist for one of them at a time only.
var transports = []string{"tcp", "udp", "sctp"}

// key is the expression that looks a packet up before its destination is translated.
func (f family) key() string { return f.header + " daddr . meta l4proto . th dport" }

// original is the same key after the translation, and works in rules for one transport only.
func (f family) original() string {
	return "ct original " + f.header + " daddr . meta l4proto . ct original proto-dst"
}

// maps are the containers with values.
func (f family) maps() []*knftables.Map {
	keyType := f.address + " . inet_proto . inet_service"
	target := f.address + " . inet_service"
	all := []*knftables.Map{
		{Name: servers, Type: keyType + " : verdict"},
		{Name: unserved, Type: keyType + " : verdict"},
		{Name: learn, Type: keyType + " : verdict"},
		{
			Name: affinity, Type: f.address + " . " + keyType + " : " + target,
			Flags: []knftables.SetFlag{knftables.DynamicFlag, knftables.TimeoutFlag},
			Size:  knftables.PtrTo(uint64(1 << 20)),
		},
	}
	// Only typeof can name the type of a random number, and typeof needs a transport to name that of a port.
	for _, t := range transports {
		all = append(all, &knftables.Map{
			Name:   endpoints + "-" + t,
			TypeOf: fmt.Sprintf("%[1]s daddr . %[2]s dport . numgen random mod 2 : %[1]s daddr . %[2]s dport", f.header, t),
		})
	}
	return all
}

// sets are the containers without.
func (f family) sets() []*knftables.Set {
	key := f.address + " . inet_proto . inet_service"
	return []*knftables.Set{
		{Name: external, Type: key}, {Name: guarded, Type: key},
		{Name: admitted, Type: f.address + " . " + key, Flags: []knftables.SetFlag{knftables.IntervalFlag}},
	}
}

// chain is a chain with all of its rules.
type chain struct {
	knftables.Chain
	rules []string
	maps  []*knftables.Map // that rules refer to, and that aren't everybody's
}

func base(name string, typ knftables.BaseChainType, hook knftables.BaseChainHook, priority string, rules ...string) chain {
	return chain{
		Chain: knftables.Chain{
			Name: name, Type: &typ, Hook: &hook,
			Priority: knftables.PtrTo(knftables.BaseChainPriority(priority)),
		},
		rules: rules,
	}
}

func shared(name string, rules ...string) chain {
	return chain{Chain: knftables.Chain{Name: name}, rules: rules}
}

// fixed are the chains that are always there. Traffic of pods and from outside enters at prerouting, the
// node's own at output.
func (b *Backend) fixed() []chain {
	f := b.family
	guard := fmt.Sprintf("ct state new %s @%s %s saddr . %s != @%s drop", f.key(), guarded, f.header, f.key(), admitted)
	check := "ct state new " + f.key() + " vmap @" + unserved
	serve := f.key() + " vmap @" + servers
	// What the node itself answers at a service address (its DNS, say) is served by nobody else.
	unassigned := fmt.Sprintf("ct state new %s daddr { %s } fib daddr type != local goto refuse", f.header, list(b.cfg.ServiceNets))
	const filter, nat = knftables.FilterType, knftables.NATType
	chains := []chain{
		shared("refuse", "meta l4proto tcp reject with tcp reset", "reject with "+f.icmp+" type port-unreachable"),
		shared("translated", b.translated()...),
		base("unserved-prerouting", filter, knftables.PreroutingHook, "dstnat-10", guard, check),
		base("unserved-output", filter, knftables.OutputHook, "dstnat-10", guard, check),
		base("serve-prerouting", nat, knftables.PreroutingHook, "dstnat", serve),
		base("serve-output", nat, knftables.OutputHook, "dstnat", serve),
		base("unassigned-prerouting", filter, knftables.PreroutingHook, "dstnat+10", unassigned),
		base("unassigned-output", filter, knftables.OutputHook, "dstnat+10", unassigned),
		base("source", nat, knftables.PostroutingHook, "srcnat", "ct status dnat goto translated"),
	}
	if b.cfg.ForwardMark != 0 {
		chains = append(chains, base("forward", filter, knftables.ForwardHook, "mangle+1", b.forward()...))
	}
	return chains
}

// forward are the rules that mark what is to pass others' filters between a client outside and an endpoint outside, both of which only the node brings together.
func (b *Backend) forward() []string {
	rules := []string{fmt.Sprintf("meta mark & 0x%x != 0 return", b.cfg.ForwardMark)} // it is marked already, as pods' packets are
	for _, t := range transports {
		rules = append(rules, fmt.Sprintf("ct status dnat meta l4proto %s %s @%s meta mark set meta mark | 0x%x", t, b.family.original(), external, b.cfg.ForwardMark))
	}
	return rules
}

// translated are the rules for connections whose destination was translated, perhaps by others: they learn who
// sticks where and hide clients behind the node where the answer might not find back otherwise.
func (b *Backend) translated() []string {
	f, pods := b.family, "{ "+list(b.cfg.PodNets)+" }"
	var rules []string
	for _, t := range transports {
		rules = append(rules, fmt.Sprintf("meta l4proto %s %s vmap @%s", t, f.original(), learn))
	}
	rules = append(rules,
		fmt.Sprintf("%s saddr %s %s daddr %s masquerade", f.header, pods, f.header, pods),
		fmt.Sprintf("%s saddr %s return", f.header, pods))
	for _, t := range transports {
		rules = append(rules, fmt.Sprintf("meta l4proto %s %s @%s masquerade", t, f.original(), external))
	}
	return rules
}

func list(nets []netip.Prefix) string {
	words := make([]string, len(nets))
	for i, net := range nets {
		words[i] = net.Masked().String()
	}
	return strings.Join(words, ", ")
}

// The names of the chains that virtual servers share.
func pickChain(transport string, n int) string   { return fmt.Sprintf("pick-%s-%d", transport, n) }
func stickyChain(transport string, n int) string { return fmt.Sprintf("sticky-%s-%d", transport, n) }
func learnChain(transport string, seconds int) string {
	return fmt.Sprintf("learn-%s-%d", transport, seconds)
}

// pick chooses one of n endpoints at random. A packet that looks up the number before and the endpoint after an
// update that took the last endpoint away finds nothing there; it gets the first one.
func (f family) pick(transport string, n int) chain {
	to := func(mod int) string {
		return fmt.Sprintf("dnat %[1]s to %[1]s daddr . %[2]s dport . numgen random mod %[3]d map @%[4]s-%[2]s",
			f.header, transport, mod, endpoints)
	}
	rules := []string{to(n)}
	if n > 1 {
		rules = append(rules, to(1))
	}
	return shared(pickChain(transport, n), rules...)
}

// sticky sends clients to where they went before, others to one of n endpoints.
func (f family) sticky(transport string, n int) chain {
	return shared(stickyChain(transport, n),
		fmt.Sprintf("dnat %s to %s saddr . %s map @%s", f.header, f.header, f.key(), affinity),
		"goto "+pickChain(transport, n))
}

// learn remembers where a client went, or renews the memory.
func (f family) learn(transport string, seconds int) chain {
	return shared(learnChain(transport, seconds),
		fmt.Sprintf("meta l4proto %[1]s update @%[2]s { ct original %[3]s saddr . %[4]s timeout %[5]ds : %[3]s daddr . th dport }",
			transport, affinity, f.header, f.original(), seconds))
}

// write adds a chain; its rules are appended to those that are there.
func (c chain) write(tx *knftables.Transaction) {
	for _, m := range c.maps {
		tx.Add(m)
	}
	tx.Add(&c.Chain)
}

func (c chain) writeRules(tx *knftables.Transaction) {
	for _, rule := range c.rules {
		tx.Add(&knftables.Rule{Chain: c.Name, Rule: rule})
	}
}

// rebuild fills the transaction with everything. Objects of the table that already exist are reused, so that
// affinities live on, or removed.
func (b *Backend) rebuild(tx *knftables.Transaction, existing objects) {
	tx.Add(&knftables.Table{})
	chains := b.fixed()
	b.chains, b.rules = map[string]bool{}, 0
	for _, p := range b.sorted() {
		for _, c := range p.chains(b.family) {
			if !b.chains[c.Name] {
				b.chains[c.Name] = true
				chains = append(chains, c)
			}
		}
	}
	wanted := objects{}
	for _, c := range chains {
		c.write(tx)
		wanted.add("chain", c.Name)
		for _, m := range c.maps {
			wanted.add("map", m.Name)
		}
	}
	for _, name := range existing.names("chain") {
		tx.Flush(&knftables.Chain{Name: name})
	}
	for _, m := range b.family.maps() {
		tx.Add(m)
		if m.Name != affinity {
			tx.Flush(m)
		}
		wanted.add("map", m.Name)
	}
	for _, set := range b.family.sets() {
		tx.Add(set)
		tx.Flush(set)
		wanted.add("set", set.Name)
	}
	existing.removeOthers(tx, wanted)
	for _, c := range chains {
		c.writeRules(tx)
		b.rules += len(c.rules)
	}
	for _, p := range b.sorted() {
		for _, e := range p.elements() {
			tx.Add(e.object())
		}
	}
}

// sorted are the placements ordered by key, so that transactions come out the same for the same state.
func (b *Backend) sorted() []placement {
	all := make([]placement, 0, len(b.placed))
	for _, p := range b.placed {
		all = append(all, p)
	}
	slices.SortFunc(all, func(x, y placement) int { return x.key.Compare(y.key) })
	return all
}
