package agent

import (
	"net/netip"
	"os"
	"slices"

	"github.com/wakehq/wake/agent/dns/resolv"
)

// naming is whom pods ask for names. It is never changed.
type naming struct {
	servers []string    // for the cluster's names
	node    resolv.Conf // the node's own
}

const dnsPort = 53

// Where nodes keep their own name servers. The first names a resolver on the loopback interface where systemd-resolved runs, which no pod reaches; the second has
// what that one asks.
const (
	resolvConf        = "/etc/resolv.conf"
	systemdResolvConf = "/run/systemd/resolve/resolv.conf"
)

// ResolvConf is the file that has the name servers of this machine that pods can ask.
func ResolvConf() string {
	text, err := os.ReadFile(resolvConf)
	if err != nil {
		return resolvConf
	}
	servers := resolv.Parse(string(text)).Nameservers
	local := func(server string) bool {
		addr, err := netip.ParseAddr(server)
		return err == nil && addr.IsLoopback()
	}
	if _, err := os.Stat(systemdResolvConf); err == nil && len(servers) > 0 && !slices.ContainsFunc(servers, func(s string) bool { return !local(s) }) {
		return systemdResolvConf
	}
	return resolvConf
}

// readResolver takes over what the node's own resolver is now. If that can't be read, it is as before.
func (a *Agent) readResolver() {
	file := a.config.ResolvConf
	if file == "" {
		file = ResolvConf()
	}
	text, err := os.ReadFile(file)
	if err != nil {
		a.log.Debug("the node's name servers can't be read", "error", err)
		return
	}
	a.rename(func(n *naming) { n.node = resolv.Parse(string(text)) })
}

// nameServers has pods ask a DNS server, unless the configuration says whom they ask.
func (a *Agent) nameServers(dns DNS) {
	if dns == nil || len(a.config.ClusterDNS) > 0 {
		return
	}
	var servers []string
	for _, at := range dns.Addrs() {
		if at.Port() == dnsPort {
			servers = append(servers, at.Addr().String())
		}
	}
	a.rename(func(n *naming) { n.servers = servers })
}

// rename changes a copy.
func (a *Agent) rename(change func(*naming)) {
	for {
		before := a.names.Load()
		after := *before
		if change(&after); a.names.CompareAndSwap(before, &after) {
			return
		}
	}
}
