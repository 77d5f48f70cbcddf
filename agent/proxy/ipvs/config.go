package ipvs

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
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
	// PodDevice, if set, is the bridge of the pods. The node's own connections to cluster IPs then come from its address.
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
