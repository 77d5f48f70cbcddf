package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wakehq/wake/events/calls"
	"github.com/wakehq/wake/events/presence"
	"github.com/wakehq/wake/gateway"
	"github.com/wakehq/wake/gateway/pki"
)

// gatewayOptions are the flags of "wake gateway".
type gatewayOptions struct {
	listen    string
	advertise string
	hosts     []string
}

func gatewayCommand(place *location) *cobra.Command {
	r, o := newRole(place, "gateway"), &gatewayOptions{}
	c := &cobra.Command{
		Use:   "gateway",
		Short: "Run a cluster's gateway: the Kubernetes API, joining, and the ledger's API",
		Long: `Run a gateway. Several serve the same cluster: what one has acknowledged, a client may name to another (resourceVersion) and is not shown an earlier state. Their addresses are
those of the service "kubernetes" in the cluster, as long as they run. It runs until Ctrl-C.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			listener, err := listen(o.listen)
			if err != nil {
				return err
			}
			defer func() { _ = listener.Close() }() // served and closed by then, unless something failed before
			return r.run(cmd, retention{}, func(ctx context.Context, p *plane, g *errgroup.Group) (string, error) {
				return o.start(ctx, p, g, listener)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&o.listen, "listen", "0.0.0.0:6443", "address of the API")
	f.StringVar(&o.advertise, "advertise", "", "address, such as 192.0.2.1:6443, at which pods reach it through the service \"kubernetes\" (default: --listen's, or this machine's own)")
	f.StringSliceVar(&o.hosts, "tls-host", nil, "more names and addresses that its certificate is for, beside those of \"wake init --api\"")
	r.flags(f)
	return c
}

// start adds the API.
func (o *gatewayOptions) start(ctx context.Context, p *plane, g *errgroup.Group, listener net.Listener) (string, error) {
	own, err := o.advertised(p, listener)
	if err != nil {
		return "", err
	}
	line, err := p.openLine()
	if err != nil {
		return "", err
	}
	client, err := calls.NewClient(p.link)
	if err != nil {
		return "", err
	}
	p.onClose(client.Close)
	peers, err := p.join("gateways", presence.Member{ID: rand.Text()[:12], Says: own.String()})
	if err != nil {
		return "", err
	}
	if err := gateway.Bootstrap(ctx, p.ledger, p.view, gateway.BootstrapConfig{API: own, ServiceCIDRs: p.services, Shared: true}); err != nil {
		return "", err
	}
	g.Go(func() error { return peers.Run(ctx) })
	g.Go(func() error {
		return gateway.KeepEndpoints(ctx, p.ledger, p.view, gatewayPeers{peers}, p.log)
	})
	g.Go(func() error {
		return p.runGateway(ctx, door{listener: listener, hosts: o.certified(p, own), line: line, witness: remoteWitness{client}, joining: p.sharedJoining()})
	})
	return fmt.Sprintf("the API is at https://%s, for pods at %s", listener.Addr(), own), nil
}

// advertised is where others reach this gateway.
func (o *gatewayOptions) advertised(p *plane, listener net.Listener) (netip.AddrPort, error) {
	if o.advertise != "" {
		address, err := netip.ParseAddrPort(o.advertise)
		if err != nil {
			return address, fmt.Errorf("--advertise %q is no address such as 192.0.2.1:6443: %w", o.advertise, err)
		}
		return address, nil
	}
	address := netip.MustParseAddrPort(listener.Addr().String())
	if !address.Addr().IsUnspecified() {
		return address, nil
	}
	// No packet is sent by this: it asks the kernel from which address the first broker would be reached.
	conn, err := net.Dial("udp", p.identity.Brokers[0].clients())
	if err != nil {
		return address, fmt.Errorf("finding out at which address others reach this gateway (say it with --advertise): %w", err)
	}
	own, err := netip.ParseAddrPort(conn.LocalAddr().String())
	_ = conn.Close()
	return netip.AddrPortFrom(own.Addr().Unmap(), address.Port()), err
}

// certified lists the names and addresses that the gateway's certificate is for: any of the cluster's gateways may be reached at any of theirs.
func (o *gatewayOptions) certified(p *plane, own netip.AddrPort) []string {
	hosts := []string{"localhost", "127.0.0.1", pki.GatewayHost, "kubernetes", "kubernetes.default", "kubernetes.default.svc.cluster.local", own.Addr().String(),
		p.services[0].Addr().Next().String()}
	for _, text := range p.identity.API {
		if u, err := url.Parse(text); err == nil {
			hosts = append(hosts, u.Hostname())
		}
	}
	hosts = append(hosts, o.hosts...)
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// sharedJoining is what machines that join are told.
func (p *plane) sharedJoining() *gateway.Joining {
	nodes := p.identity.addresses(brokerPlace.nodes)
	return &gateway.Joining{Broker: nodes[0], Brokers: nodes, Servers: p.identity.API, Cluster: p.identity.ID,
		ServiceCIDR: p.identity.ServiceCIDR, ClusterCIDR: p.identity.ClusterCIDR, Domain: p.identity.Domain}
}

// gatewayPeers are the gateways that run.
type gatewayPeers struct{ *presence.Group }

// Gateways implements gateway.Peers.
func (p gatewayPeers) Gateways() (all []netip.AddrPort, first, settled bool) {
	members, settled := p.Members()
	for _, m := range members {
		if address, err := netip.ParseAddrPort(strings.TrimSpace(m.Says)); err == nil {
			all = append(all, address)
		}
	}
	return all, p.Owns("endpoints"), settled
}
