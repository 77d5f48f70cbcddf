package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/wakehq/wake/agent"
	"github.com/wakehq/wake/agent/dns"
)

const (
	defaultDomain = "cluster.local"
	dnsPort       = 53
)

// dnsOptions say how a node's pods find names.
type dnsOptions struct {
	cluster    []string // name servers for the pods; empty: the node serves DNS itself
	upstream   []string // for all other names; empty: the node's own
	resolvConf string   // the node's own; empty: found
}

func (o *dnsOptions) flags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.cluster, "cluster-dns", nil, "addresses of name servers for this node's pods (default: the node answers itself, at its own address in the pods' range)")
	f.StringSliceVar(&o.upstream, "dns-upstream", nil, "name servers, such as 192.0.2.53 or 192.0.2.53:5353, that this node's DNS asks for names that aren't the cluster's (default: those in --resolv-conf)")
	f.StringVar(&o.resolvConf, "resolv-conf", "", "the file that names this node's name servers, for its DNS and for pods with dnsPolicy Default (default: /etc/resolv.conf, or systemd-resolved's)")
}

// check refuses flags that can't work.
func (o *dnsOptions) check() error {
	for _, text := range o.cluster {
		if _, err := netip.ParseAddr(text); err != nil {
			return fmt.Errorf("--cluster-dns %q is no address such as 192.0.2.53: pods ask at port %d", text, dnsPort)
		}
	}
	_, err := o.upstreams()
	return err
}

// upstreams reads --dns-upstream.
func (o *dnsOptions) upstreams() ([]netip.AddrPort, error) {
	var servers []netip.AddrPort
	for _, text := range o.upstream {
		server, err := netip.ParseAddrPort(text)
		if err != nil {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(text); err != nil {
				return nil, fmt.Errorf("--dns-upstream %q is no address such as 192.0.2.53 or 192.0.2.53:5353", text)
			}
			server = netip.AddrPortFrom(addr, dnsPort)
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// checkDomain refuses what no name can end in.
func checkDomain(domain string) error {
	if wrong := validation.IsDNS1123Subdomain(domain); len(wrong) > 0 {
		return fmt.Errorf("--cluster-domain %q: %s", domain, strings.Join(wrong, "; "))
	}
	return nil
}

// open takes the addresses at which pods in net ask; nil if others answer.
func (o *dnsOptions) open(id identity, net agent.PodNet, place *location, log *slog.Logger) (agent.DNS, error) {
	if len(o.cluster) > 0 {
		return nil, nil
	}
	config := dns.Config{Domain: cmp.Or(id.Domain, defaultDomain), ResolvConf: cmp.Or(o.resolvConf, agent.ResolvConf()), State: place.names(), Log: log, Listen: dnsListen(net)}
	var err error
	if config.Upstreams, err = o.upstreams(); err != nil {
		return nil, err
	}
	if id.ClusterCIDR != "" {
		if config.PodRanges, err = parseServiceRanges(id.ClusterCIDR); err != nil {
			return nil, fmt.Errorf("the cluster's pod addresses %q: %w", id.ClusterCIDR, err)
		}
	}
	server, err := dns.Open(config)
	if err != nil {
		return nil, fmt.Errorf("this node's DNS, which needs port %d at the node's address in the pods' range to itself (--cluster-dns names others instead): %w", dnsPort, err)
	}
	return server, nil
}

// dnsListen are the addresses at which pods in a range ask.
func dnsListen(pods agent.PodNet) []string {
	var at []string
	for _, gateway := range pods.Gateways {
		at = append(at, net.JoinHostPort(gateway.String(), strconv.Itoa(dnsPort)))
	}
	return at
}
