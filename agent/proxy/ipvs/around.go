package ipvs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/wakehq/wake/agent/proxy/kernel"
	"github.com/wakehq/wake/agent/rtnetlink"
)

// around is the network namespace of the calling thread.
type around struct{ kernel.Netlink }

// routingTable is the cluster's own. Whichever cluster's rule a packet with the mark meets first does the same.
func (c Config) routingTable() int {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(c.Table))
	return 1<<20 | int(hash.Sum32()&(1<<20-1))
}

// rulePriority is between the table of local addresses and all that administrators and network plugins usually add.
const rulePriority = 90

// ways are the rules and the route by which packets come to IPVS on the node itself: those of others by the mark, the node's own by their
// destination. IPVS would leave the latter on their route when the endpoint is the node's own, so that route must be a local one.
func (c Config) ways() ([]*netlink.Rule, *netlink.Route, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, nil, fmt.Errorf("finding the loopback device: %w", err)
	}
	table := c.routingTable()
	rule := func() *netlink.Rule {
		r := netlink.NewRule()
		r.Family, r.Priority, r.Table = int(c.family().number), rulePriority, table
		return r
	}
	marked := rule()
	marked.Mark, marked.Mask = c.Mark, &c.Mark
	rules := []*netlink.Rule{marked}
	for _, prefix := range c.ServiceNets {
		own := rule()
		own.IifName, own.Dst = "lo", ipNet(prefix)
		rules = append(rules, own)
	}
	return rules, &netlink.Route{
		LinkIndex: lo.Attrs().Index, Table: table, Type: syscall.RTN_LOCAL, Scope: netlink.SCOPE_HOST, Dst: ipNet(c.family().all),
	}, nil
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	prefix = prefix.Masked()
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}

// lead implements surroundings. The node's own packets get the address of the pods' bridge, so that any pod's answer finds back.
func (around) lead(c Config) error {
	rules, route, err := c.ways()
	if err != nil {
		return err
	}
	if c.PodDevice != "" {
		if route.Src, err = addressOf(c.PodDevice, c.family()); err != nil {
			return err
		}
	}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("adding the local route of routing table %d: %w", route.Table, err)
	}
	for _, rule := range rules {
		if err := netlink.RuleAdd(rule); err != nil && !errors.Is(err, syscall.EEXIST) {
			return fmt.Errorf("adding %v: %w", rule, err)
		}
	}
	return nil
}

// addressOf gives a device's first address of a family that means something beyond its link.
func addressOf(device string, f family) (net.IP, error) {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return nil, fmt.Errorf("finding the pods' bridge %q: %w", device, err)
	}
	addrs, err := rtnetlink.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(link, int(f.number)) })
	if err != nil {
		return nil, fmt.Errorf("listing the addresses of the pods' bridge %q: %w", device, err)
	}
	for _, addr := range addrs {
		if !addr.IP.IsLinkLocalUnicast() {
			return addr.IP, nil
		}
	}
	return nil, fmt.Errorf("the pods' bridge %q has no address of the family %s", device, f.header)
}

func (around) unlead(c Config) error {
	rules, route, err := c.ways()
	if err != nil {
		return err
	}
	for _, rule := range rules {
		if err := netlink.RuleDel(rule); err != nil && !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("removing %v: %w", rule, err)
		}
	}
	if err := netlink.RouteDel(route); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("removing the local route of routing table %d: %w", route.Table, err)
	}
	return nil
}

// RemoveLeft removes what a backend with such a configuration has left on this machine, of which some may be gone; nothing if there never was one.
func RemoveLeft(ctx context.Context, cfg Config) error {
	cfg, err := cfg.complete()
	if err != nil {
		return err
	}
	for _, one := range cfg.families() {
		rules, err := netlink.RuleList(int(one.family().number))
		if err != nil {
			return fmt.Errorf("listing routing rules: %w", err)
		}
		table := one.routingTable()
		if !slices.ContainsFunc(rules, func(r netlink.Rule) bool { return r.Table == table }) {
			continue
		}
		backend, err := open(one)
		if err != nil {
			return fmt.Errorf("removing what IPVS serves: %w", err)
		}
		if err := errors.Join(backend.Remove(ctx), backend.Close()); err != nil {
			return fmt.Errorf("removing what IPVS serves: %w", err)
		}
	}
	return nil
}

// settings are what IPVS needs: connections that conntrack knows (so that they can be masqueraded), packets of a flow whose endpoint is gone go to
// another one, clients that stick leave an endpoint that drains.
var settings = map[string]string{"conntrack": "1", "expire_nodest_conn": "1", "expire_quiescent_template": "1"}

const (
	settingsDir = "/proc/sys/net/ipv4/vs/"
	tcpTimeout  = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established"
)

func (around) settle() error {
	for name, value := range settings {
		path := settingsDir + name
		now, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading a setting of IPVS: %w", err)
		}
		if strings.TrimSpace(string(now)) == value {
			continue
		}
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("setting net.ipv4.vs.%s to %s: %w", name, value, err)
		}
	}
	text, err := os.ReadFile(tcpTimeout)
	if err != nil {
		return fmt.Errorf("reading how long conntrack keeps connections: %w", err)
	}
	seconds, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 31)
	if err != nil {
		return fmt.Errorf("reading %s: %w", tcpTimeout, err)
	}
	return keepConnections(uint32(seconds))
}

// The numbers of linux/ip_vs.h for IPVS' timeouts.
const (
	cmdSetConfig   = 12
	attrTimeoutTCP = 4
)

// keepConnections sets how long IPVS knows an established TCP connection that is silent. Its own default, 15 minutes, would cut those that
// conntrack alone would keep for days.
func keepConnections(seconds uint32) error {
	family, err := netlink.GenlFamilyGet("IPVS")
	if err != nil {
		return fmt.Errorf("finding IPVS: %w", err)
	}
	req := nl.NewNetlinkRequest(int(family.ID), syscall.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: cmdSetConfig, Version: 1})
	req.AddData(nl.NewRtAttr(attrTimeoutTCP, binary.NativeEndian.AppendUint32(nil, seconds)))
	if _, err := req.Execute(syscall.NETLINK_GENERIC, 0); err != nil {
		return fmt.Errorf("setting IPVS' timeout of established TCP connections to %d s: %w", seconds, err)
	}
	return nil
}
