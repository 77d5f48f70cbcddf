package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/wakehq/wake/agent"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/gateway"
	"github.com/wakehq/wake/gateway/pki"
)

// administrator is the user of the kubeconfig that "wake up" writes.
const administrator = "kubernetes-admin"

// cluster is every part of a one-machine cluster, opened but not yet running.
type cluster struct {
	*plane
	options  *upOptions
	broker   *broker.Broker
	listener net.Listener
	witness  *witness
	line     *nodewire.Server
	gate     *broker.Gate // nil: no nodes from outside
	agent    *agent.Agent
}

// openCluster takes what a cluster needs: the address, the data directory, the ledger up to its present. What fails leaves nothing open.
func openCluster(ctx context.Context, place *location, o *upOptions, log *slog.Logger) (c *cluster, err error) {
	p, err := newPlane(place, o.identity, log)
	if err != nil {
		return nil, err
	}
	c = &cluster{plane: p, options: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.broker, err = broker.Start(broker.Config{Dir: place.broker(), SyncAlways: o.syncAlways, Log: log}); err != nil {
		return c, err
	}
	c.onClose(c.broker.Close)
	if err := c.openStore(ctx, c.broker, o.retention); err != nil {
		return c, err
	}
	if c.listener, err = listen(o.listen); err != nil {
		return c, err
	}
	if c.witness, err = openWitness(place, o.identity, c.store, log); err != nil {
		return c, err
	}
	c.onClose(c.witness.Close)
	if err := c.openView(ctx); err != nil {
		return c, err
	}
	if err := c.openNode(ctx); err != nil {
		return c, err
	}
	if err := c.openGate(); err != nil {
		return c, err
	}
	return c, c.writeKubeconfig(c.url())
}

func listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("the API's address %s is in use by another program: stop that one, or choose another address with --listen", address)
	}
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", address, err)
	}
	return l, nil
}

// openNode connects both ends of the line between the node feed and this machine's agent.
func (c *cluster) openNode(ctx context.Context) (err error) {
	if c.line, err = c.openLine(); err != nil || c.options.noAgent {
		return err
	}
	client, err := c.broker.Nodes()
	if err != nil {
		return err
	}
	c.onClose(func() error { client.Close(); return nil })
	c.agent, err = openAgent(ctx, c.place, c.options, nodewire.NewClient(client, c.identity.Node), c.log)
	return err
}

// writeKubeconfig writes the administrator's kubeconfig for gateways, at least one.
func (p *plane) writeKubeconfig(servers ...string) error {
	identity, err := p.authority.Client(administrator, pki.Administrators)
	if err != nil {
		return err
	}
	return pki.Kubeconfig{Cluster: "wake", Server: servers[0], Others: servers[1:], Authority: p.authority.CertificatePEM(), Identity: identity}.Write(p.place.kubeconfig())
}

func (c *cluster) url() string { return "https://" + c.listener.Addr().String() }

// run runs everything until asked ends or a part fails. ready is called when the API serves.
func (c *cluster) run(asked context.Context, ready func() error) error {
	address := netip.MustParseAddrPort(c.listener.Addr().String())
	if err := gateway.Bootstrap(asked, c.ledger, c.view, gateway.BootstrapConfig{API: address, ServiceCIDRs: c.services, Pool: c.options.pools}); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(asked)
	g.Go(func() error {
		return c.runGateway(ctx, door{listener: c.listener, hosts: []string{address.Addr().String(), "localhost", pki.GatewayHost}, line: c.line, witness: c.witness, joining: c.joining()})
	})
	g.Go(func() error { return c.witness.Run(ctx) })
	g.Go(func() error { return c.runKeeper(ctx) })
	c.runDeciders(ctx, g, nil)
	g.Go(func() error { return c.runFeed(ctx, c.line, func(node string) bool { return node == c.identity.Node }) })
	if c.gate != nil {
		g.Go(func() error { return c.gate.Run(ctx) })
	}
	if c.agent != nil {
		g.Go(func() error { return c.agent.Run(ctx) })
	}
	g.Go(ready)
	err := g.Wait()
	switch {
	case asked.Err() == nil:
		return fmt.Errorf("a part of the cluster ended by itself: %w", err)
	case errors.Is(err, context.Canceled):
		return nil
	}
	return err
}

// close gives everything back, the last opened first.
func (c *cluster) close() error {
	failed := c.plane.close()
	if c.listener != nil {
		_ = c.listener.Close() // the gateway closed it already
	}
	if own, err := c.place.process(); err == nil && own.PID == os.Getpid() {
		failed = errors.Join(failed, os.Remove(c.place.runFile()))
	}
	return failed
}
