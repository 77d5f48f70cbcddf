package ipvs

import (
	"fmt"
	"net/netip"
	"regexp"

	"github.com/cloudflare/ipvs"
	"sigs.k8s.io/knftables"

	"github.com/wakehq/wake/agent/proxy"
)

// Config says what one cluster's proxy on this node works with.
type Config struct {
	// Table is the name of the nftables table. Each cluster on a machine needs one of its own.
	Table string
	// PodNets are the networks of this node's own pods. A family is served of which there is one here and among ServiceNets.
	PodNets []netip.Prefix
	// ServiceNets are the networks of the cluster IPs. Clusters on one machine need different ones. IPVS services in them are all the
	// cluster's, whoever made them.
	ServiceNets []netip.Prefix
	// PodDevice, if set, is the bridge of the pods. The node's own connections to cluster IPs then come from its address.
	PodDevice string
	// Scheduler is how IPVS chooses endpoints: rr (the default), wrr, lc, wlc, sh, mh or another that the kernel has.
	Scheduler string
	// Mark is one bit that packets carry from prerouting to input. The default is 0x08000000. Clusters may share it.
	Mark uint32
	// ForwardMark, if set, is a bit that marks packets between a client and an endpoint that are both elsewhere, so that others' filters let them pass.
	ForwardMark uint32
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
	if len(c.families()) == 0 {
		return c, fmt.Errorf("service proxy of table %s: the pod networks %v and the service networks %v have no address family in common", c.Table, c.PodNets, c.ServiceNets)
	}
	return c, nil
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

// family has what differs between address families.
type family struct {
	nft     knftables.Family
	address string // nft's type of an address
	header  string // nft's name of the header
	icmp    string // whose port-unreachable refuses what isn't TCP, and whose errors are led to IPVS
	number  ipvs.AddressFamily
	bits    int
	all     netip.Prefix
}

var (
	ipv4 = family{nft: knftables.IPv4Family, address: "ipv4_addr", header: "ip", icmp: "icmp", number: ipvs.INET, bits: 32, all: netip.MustParsePrefix("0.0.0.0/0")}
	ipv6 = family{nft: knftables.IPv6Family, address: "ipv6_addr", header: "ip6", icmp: "icmpv6", number: ipvs.INET6, bits: 128, all: netip.MustParsePrefix("::/0")}
)

// family is that of the networks, which a backend's own configuration has one of.
func (c Config) family() family {
	if c.PodNets[0].Addr().Is4() {
		return ipv4
	}
	return ipv6
}

func familyOf(addr netip.Addr) family {
	if addr.Is4() {
		return ipv4
	}
	return ipv6
}

func (f family) keyType() string { return f.address + " . inet_proto . inet_service" }
func (f family) keyExpr() string { return f.header + " daddr . meta l4proto . th dport" }
func (f family) serves(key proxy.Key) bool {
	return key.Addr.Addr().BitLen() == f.bits
}
