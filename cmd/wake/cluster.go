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
	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/archive"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/events/seal"
	"github.com/wakehq/wake/gateway"
	"github.com/wakehq/wake/gateway/ledgerapi"
	"github.com/wakehq/wake/gateway/pki"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/feed"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/scheduler"
)

// administrator is the user of the kubeconfig that "wake up" writes.
const administrator = "kubernetes-admin"

// cluster is every part of a one-machine cluster, opened but not yet running.
type cluster struct {
	place     *location
	options   *upOptions
	log       *slog.Logger
	listener  net.Listener
	authority *pki.Authority
	deciding  deciding
	store     *store
	witness   *witness
	ledger    events.Ledger
	view      *events.View
	registry  *schemas.Registry
	line      *nodewire.Server
	gate      *broker.Gate // nil: no nodes from outside
	agent     *agent.Agent
	closers   []func() error // in the order of opening
}

// openCluster takes what a cluster needs: the address, the data directory, the ledger up to its present. What fails leaves nothing open.
func openCluster(ctx context.Context, place *location, o *upOptions, log *slog.Logger) (c *cluster, err error) {
	c = &cluster{place: place, options: o, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.authority, err = pki.Open(place.pki()); err != nil {
		return c, err
	}
	if c.deciding, err = o.identity.deciding(c.authority); err != nil {
		return c, err
	}
	c.store, err = openStore(ctx, place, storeOptions{identity: o.identity, deciders: c.deciding.settings(), syncAlways: o.syncAlways, retention: o.retention, log: log})
	c.closers = append(c.closers, c.store.close)
	if err != nil {
		return c, err
	}
	if c.listener, err = listen(o.listen); err != nil {
		return c, err
	}
	if c.registry, err = schemas.NewRegistry(); err != nil {
		return c, err
	}
	if err := c.openLedger(ctx); err != nil {
		return c, err
	}
	if err := c.openLine(ctx); err != nil {
		return c, err
	}
	if err := c.openGate(); err != nil {
		return c, err
	}
	return c, c.writeKubeconfig()
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

func (c *cluster) openLedger(ctx context.Context) error {
	var err error
	if c.ledger, err = seal.New(c.store.archived, c.place.secretKey()); err != nil {
		return err
	}
	if c.witness, err = openWitness(c.place, c.options.identity, c.store, c.log); err != nil {
		return err
	}
	c.closers = append(c.closers, c.witness.Close)
	if c.view, err = events.OpenView(ctx, c.ledger, c.registry); err != nil {
		return err
	}
	if missing := c.view.Status().Notes; missing != nil {
		c.log.Warn("kubectl get events shows none of before", "cause", missing)
	}
	return nil
}

// openLine connects both ends of the line between the node feed and this machine's agent.
func (c *cluster) openLine(ctx context.Context) error {
	server, err := c.store.broker.Nodes()
	if err != nil {
		return err
	}
	c.closers = append(c.closers, func() error { server.Close(); return nil })
	c.line = nodewire.NewServer(server)
	if c.options.noAgent {
		return nil
	}
	client, err := c.store.broker.Nodes()
	if err != nil {
		return err
	}
	c.closers = append(c.closers, func() error { client.Close(); return nil })
	c.agent, err = openAgent(ctx, c.place, c.options, nodewire.NewClient(client, c.options.identity.Node), c.log)
	return err
}

func (c *cluster) writeKubeconfig() error {
	identity, err := c.authority.Client(administrator, pki.Administrators)
	if err != nil {
		return err
	}
	return pki.Kubeconfig{Cluster: "wake", Server: c.url(), Authority: c.authority.CertificatePEM(), Identity: identity}.Write(c.place.kubeconfig())
}

func (c *cluster) url() string { return "https://" + c.listener.Addr().String() }

// run runs everything until asked ends or a part fails. ready is called when the API serves.
func (c *cluster) run(asked context.Context, ready func() error) error {
	address := netip.MustParseAddrPort(c.listener.Addr().String())
	if err := gateway.Bootstrap(asked, c.ledger, c.view, gateway.BootstrapConfig{API: address, ServiceCIDR: c.options.services}); err != nil {
		return err
	}
	counts := newMetrics(c.view)
	g, ctx := errgroup.WithContext(asked)
	api := gateway.New(gateway.Config{View: c.view, Ledger: c.ledger, Registry: c.registry, Authority: c.authority, Logs: c.line,
		Hosts: []string{address.Addr().String(), "localhost", "kubernetes.default.svc"}, ServiceCIDR: c.options.services, Version: version(), Health: c.store.broker.Health,
		Metrics: counts.handler(), Recorder: &ledgerapi.Recorder{Source: c.store.archived, Cluster: c.options.identity.ID, Deciders: c.deciding.settings()},
		Witness: c.witness, Archive: c.store.archive, Explain: pending, Joining: c.joining(), Log: c.log})
	g.Go(func() error { return api.Serve(ctx, c.listener) })
	g.Go(func() error { return c.witness.Run(ctx) })
	g.Go(func() error { return archive.NewKeeper(c.store.archive, c.store.stream).Run(ctx) })
	for _, decider := range c.deciding.deciders(scheduler.Config{}) {
		g.Go(func() error {
			return runner.Runner{Decider: decider, View: c.view, Ledger: c.ledger, Log: c.log, Metrics: counts}.Run(ctx)
		})
	}
	nodes := feed.New(feed.Config{View: c.view, Ledger: c.ledger, Line: c.line, Log: c.log,
		Registers: func(node string) bool { return node == c.options.identity.Node }})
	g.Go(func() error { return nodes.Run(ctx) })
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
	var failed error
	for i := len(c.closers) - 1; i >= 0; i-- {
		failed = errors.Join(failed, c.closers[i]())
	}
	c.closers = nil
	if c.listener != nil {
		_ = c.listener.Close() // the gateway closed it already
	}
	if own, err := c.place.process(); err == nil && own.PID == os.Getpid() {
		failed = errors.Join(failed, os.Remove(c.place.runFile()))
	}
	return failed
}
