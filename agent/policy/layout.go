package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"

	"sigs.k8s.io/knftables"
)

// family has the words in which address families differ.
type family struct {
	is4     bool
	suffix  string // of the names of sets
	header  string
	address string // the type
}

var families = []family{{true, "-4", "ip", "ipv4_addr"}, {false, "-6", "ip6", "ipv6_addr"}}

func familyOf(addr netip.Addr) family {
	if addr.Is4() {
		return families[0]
	}
	return families[1]
}

// direction has the words in which the directions differ.
type direction struct {
	name     string
	pod      string // the isolated pod's field in a header
	peer     string
	priority string // of the base chains
}

var (
	ingress = direction{"ingress", "daddr", "saddr", "filter-1"}
	egress  = direction{"egress", "saddr", "daddr", "filter-2"}
)

// The names of containers, but for the families' suffixes.
const (
	selfSet      = "self"
	isolatedSet  = "isolated-" // and a direction
	groupSet     = "group-"    // and an ID
	targetSet    = "target-"   // and an ID
	portSet      = "port-"     // and a transport and a name
	policyChain  = "-policy-"  // after a direction and before an ID
	sharedChains = "-pods-"    // likewise
)

// short is an ID for a name of any length.
func short(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:10])
}

// isMap says that a set holds verdicts.
func isMap(name string) bool {
	return strings.HasPrefix(name, "ingress-") || strings.HasPrefix(name, "egress-")
}

// typeOf is the type of a set's elements, by its name.
func typeOf(name string) string {
	address := families[0].address
	if strings.HasSuffix(name, families[1].suffix) {
		address = families[1].address
	}
	switch {
	case isMap(name):
		return address + " : verdict"
	case strings.HasPrefix(name, selfSet):
		return address + " . " + address
	case strings.HasPrefix(name, targetSet), strings.HasPrefix(name, portSet):
		return address + " . inet_proto . inet_service"
	}
	return address
}

// fixedSets are those that are always there.
func fixedSets() (names []string) {
	for _, f := range families {
		names = append(names, selfSet+f.suffix)
		for _, d := range []direction{ingress, egress} {
			names = append(names, d.name+f.suffix, isolatedSet+d.name+f.suffix)
		}
	}
	return names
}

// fixedChain is a chain that is always there; one without a hook is jumped to.
type fixedChain struct {
	knftables.Chain
	rules []string
}

func base(name string, hook knftables.BaseChainHook, priority string, rules ...string) fixedChain {
	return fixedChain{knftables.Chain{
		Name: name, Type: knftables.PtrTo(knftables.FilterType), Hook: &hook, Priority: knftables.PtrTo(knftables.BaseChainPriority(priority)),
	}, rules}
}

// fixedChains judge what is forwarded. What is sent is judged too unless the node itself says it: IPVS sends what it has translated. The node's
// advice that pods of one bridge should talk directly is kept from them, since they mustn't.
func fixedChains(device string) []fixedChain {
	chains := make([]fixedChain, 0, 7)
	for _, d := range []direction{egress, ingress} {
		chains = append(chains, fixedChain{knftables.Chain{Name: d.name}, d.judge()},
			base("forward-"+d.name, knftables.ForwardHook, d.priority, "jump "+d.name),
			base("output-"+d.name, knftables.OutputHook, d.priority, "fib saddr type local accept", "jump "+d.name))
	}
	if device != "" {
		chains = append(chains, base("redirects", knftables.OutputHook, "filter",
			`oifname "`+device+`" icmp type redirect drop`, `oifname "`+device+`" icmpv6 type nd-redirect drop`))
	}
	return chains
}

// neighbours are the messages that pods need to find each other's link addresses.
const neighbours = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert, nd-redirect }"

// judge are the rules that every packet meets, those of answers first. Dropping is apart from the policies' chains: a packet that meets a pod's new
// chain while it still sees the old rules finds nothing in there, and must not pass for that.
func (d direction) judge() []string {
	rules := []string{"ct direction reply accept", "ct state related accept", neighbours + " accept"}
	for _, f := range families {
		rules = append(rules, f.header+" saddr . "+f.header+" daddr @"+selfSet+f.suffix+" accept")
	}
	for _, f := range families {
		rules = append(rules, f.header+" "+d.pod+" vmap @"+d.name+f.suffix)
	}
	for _, f := range families {
		rules = append(rules, f.header+" "+d.pod+" @"+isolatedSet+d.name+f.suffix+" counter drop")
	}
	return rules
}
