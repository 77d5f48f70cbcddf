package ipvs

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/knftables"

	"github.com/wakehq/wake/agent/proxy"
)

// The containers of the table.
const (
	virtual  = "virtual"
	external = "external"
	unserved = "unserved"
	guarded  = "guarded"
	admitted = "admitted"
)

// transports are the protocols that services can have. Some expressions exist for one of them at a time only.
var transports = []string{"tcp", "udp", "sctp"}

func elementKey(key proxy.Key) string {
	return key.Addr.Addr().String() + " . " + strings.ToLower(string(key.Protocol)) + " . " + strconv.Itoa(int(key.Addr.Port()))
}

func (e element) object() *knftables.Element {
	if e.value == "" {
		return &knftables.Element{Set: e.in, Key: []string{e.key}}
	}
	return &knftables.Element{Map: e.in, Key: []string{e.key}, Value: []string{e.value}}
}

// chain is a chain with all of its rules.
type chain struct {
	knftables.Chain
	rules []string
}

func base(name string, typ knftables.BaseChainType, hook knftables.BaseChainHook, priority string, rules ...string) chain {
	return chain{
		Chain: knftables.Chain{Name: name, Type: &typ, Hook: &hook, Priority: knftables.PtrTo(knftables.BaseChainPriority(priority))},
		rules: rules,
	}
}

// chains are all chains of the table. Traffic of pods and from outside enters at prerouting, is led to the input hook by a mark, and meets IPVS
// late there. The node's own meets IPVS at output after -100, and the hook once more with an endpoint as its destination.
func (c Config) chains() []chain {
	const filter, nat = knftables.FilterType, knftables.NATType
	f, keyExpr := c.family(), c.family().keyExpr()
	guard := fmt.Sprintf("ct state new %s @%s %s saddr . %s != @%s drop", keyExpr, guarded, f.header, keyExpr, admitted)
	check := "ct state new " + keyExpr + " vmap @" + unserved
	unassigned := fmt.Sprintf("ct state new %s daddr { %s } goto refuse", f.header, list(c.ServiceNets))
	if f == ipv4 { // what the node itself answers at a service address is served by nobody else. With IPv6 the rule that leads its packets makes all of them look so
		unassigned = fmt.Sprintf("ct state new %s daddr { %s } fib daddr type != local goto refuse", f.header, list(c.ServiceNets))
	}
	lead := fmt.Sprintf("meta mark set meta mark | 0x%08x accept", c.Mark)
	chains := []chain{
		{knftables.Chain{Name: "refuse"}, []string{"meta l4proto tcp reject with tcp reset", "reject with " + f.icmp + " type port-unreachable"}},
		{knftables.Chain{Name: "translated"}, c.translated()},
		base("unserved-prerouting", filter, knftables.PreroutingHook, "dstnat-10", guard, check),
		base("unserved-output", filter, knftables.OutputHook, "dstnat-10", guard, check),
		// After translations by others, so that packets that belong to those go their way.
		base("lead", filter, knftables.PreroutingHook, "dstnat+10",
			keyExpr+" @"+virtual+" "+lead,
			// Errors about answers, such as "too big", belong to IPVS as well.
			fmt.Sprintf("meta l4proto %s ct state related ct direction original ct original %s daddr . ct original protocol . ct original proto-dst @%s %s",
				f.icmp, f.header, virtual, lead),
			unassigned),
		base("unassigned-output", filter, knftables.OutputHook, "dstnat+10", keyExpr+" @"+virtual+" accept", unassigned),
		// Nobody else shall see the mark, nor a later routing decision.
		base("arrived", filter, knftables.InputHook, "mangle",
			fmt.Sprintf("meta mark & 0x%08x != 0 meta mark set meta mark & 0x%08x", c.Mark, ^c.Mark)),
		base("source", nat, knftables.PostroutingHook, "srcnat", f.original(" @"+virtual+" goto translated")...),
	}
	if c.ForwardMark != 0 { // answers of endpoints elsewhere to clients elsewhere
		rules := append([]string{fmt.Sprintf("meta mark & 0x%x != 0 return", c.ForwardMark)},
			f.original(fmt.Sprintf(" @%s meta mark set meta mark | 0x%x", external, c.ForwardMark))...)
		chains = append(chains, base("forward", filter, knftables.ForwardHook, "mangle+1", rules...))
	}
	return chains
}

// sets are the containers without values.
func (c Config) sets() []*knftables.Set {
	key := c.family().keyType()
	return []*knftables.Set{
		{Name: virtual, Type: key}, {Name: external, Type: key}, {Name: guarded, Type: key},
		{Name: admitted, Type: c.family().address + " . " + key, Flags: []knftables.SetFlag{knftables.IntervalFlag}},
	}
}

// original makes a rule that looks up the destination that the client used, one per transport.
func (f family) original(rest string) []string {
	rules := make([]string, len(transports))
	for i, t := range transports {
		rules[i] = fmt.Sprintf("meta l4proto %s ct original %s daddr . meta l4proto . ct original proto-dst%s", t, f.header, rest)
	}
	return rules
}

// translated are the rules for connections that IPVS serves: they hide clients behind the node where the answer might not find back otherwise.
func (c Config) translated() []string {
	f, pods := c.family(), "{ "+list(c.PodNets)+" }"
	return append([]string{
		fmt.Sprintf("%[1]s saddr %[2]s %[1]s daddr %[2]s masquerade", f.header, pods),
		fmt.Sprintf("%s saddr %s return", f.header, pods),
	}, f.original(" @"+external+" masquerade")...)
}

func list(nets []netip.Prefix) string {
	words := make([]string, len(nets))
	for i, net := range nets {
		words[i] = net.Masked().String()
	}
	return strings.Join(words, ", ")
}

// objects are the names of the objects of a table, by kind.
type objects map[string][]string

// rebuild fills the transaction with the whole table. Objects that are there are reused or removed.
func (c Config) rebuild(tx *knftables.Transaction, existing objects, elements []element) {
	tx.Add(&knftables.Table{})
	wanted := map[string]bool{"map " + unserved: true}
	chains := c.chains()
	for _, c := range chains {
		tx.Add(&c.Chain)
		wanted["chain "+c.Name] = true
	}
	for _, name := range slices.Sorted(slices.Values(existing["chain"])) {
		tx.Flush(&knftables.Chain{Name: name})
	}
	verdicts := &knftables.Map{Name: unserved, Type: c.family().keyType() + " : verdict"}
	tx.Add(verdicts)
	tx.Flush(verdicts)
	for _, set := range c.sets() {
		tx.Add(set)
		tx.Flush(set)
		wanted["set "+set.Name] = true
	}
	existing.removeOthers(tx, wanted)
	for _, c := range chains {
		for _, rule := range c.rules {
			tx.Add(&knftables.Rule{Chain: c.Name, Rule: rule})
		}
	}
	for _, e := range elements {
		tx.Add(e.object())
	}
}

// removeOthers removes the objects that aren't wanted, those that refer to others first.
func (o objects) removeOthers(tx *knftables.Transaction, wanted map[string]bool) {
	for _, name := range o["map"] {
		if !wanted["map "+name] { // its verdicts may refer to chains
			tx.Flush(&knftables.Map{Name: name})
		}
	}
	for _, name := range o["chain"] {
		if !wanted["chain "+name] {
			tx.Delete(&knftables.Chain{Name: name})
		}
	}
	for _, name := range o["map"] {
		if !wanted["map "+name] {
			tx.Delete(&knftables.Map{Name: name})
		}
	}
	for _, name := range o["set"] {
		if !wanted["set "+name] {
			tx.Delete(&knftables.Set{Name: name})
		}
	}
}
