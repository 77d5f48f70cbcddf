package ipvs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/wakehq/wake/agent/proxy/kernel"
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

func leadBy(mark uint32, table int) (*netlink.Rule, *netlink.Route, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, nil, fmt.Errorf("finding the loopback device: %w", err)
	}
	rule := netlink.NewRule()
	rule.Family, rule.Priority, rule.Table, rule.Mark, rule.Mask = netlink.FAMILY_V4, rulePriority, table, mark, &mark
	return rule, &netlink.Route{
		LinkIndex: lo.Attrs().Index, Table: table, Type: syscall.RTN_LOCAL, Scope: netlink.SCOPE_HOST,
		Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
	}, nil
}

func (around) lead(mark uint32, table int) error {
	rule, route, err := leadBy(mark, table)
	if err != nil {
		return err
	}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("adding the local route of routing table %d: %w", table, err)
	}
	if err := netlink.RuleAdd(rule); err != nil && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("adding the rule that leads packets with mark %#x to routing table %d: %w", mark, table, err)
	}
	return nil
}

func (around) unlead(mark uint32, table int) error {
	rule, route, err := leadBy(mark, table)
	if err != nil {
		return err
	}
	if err := netlink.RuleDel(rule); err != nil && !errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("removing the rule that leads packets with mark %#x to routing table %d: %w", mark, table, err)
	}
	if err := netlink.RouteDel(route); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("removing the local route of routing table %d: %w", table, err)
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
