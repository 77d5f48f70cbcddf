package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"golang.org/x/sync/errgroup"

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

// plane is what every process of a control plane has, whatever part of it it plays: whose cluster it is, the ledger, and the view of its present.
type plane struct {
	place     *location
	identity  identity
	services  serviceRanges
	log       *slog.Logger
	authority *pki.Authority
	deciding  deciding
	registry  *schemas.Registry
	link      broker.Link
	store     *store
	ledger    events.Ledger // with its Secrets open
	view      *events.View
	metrics   *metrics
	closers   []func() error // in the order of opening
}

// newPlane reads whose cluster it is. Nothing is open yet that has to be closed.
func newPlane(place *location, id identity, log *slog.Logger) (*plane, error) {
	p := &plane{place: place, identity: id, log: log}
	var err error
	if p.services, err = parseServiceRanges(id.ServiceCIDR); err != nil {
		return nil, fmt.Errorf("%s: %w", place.identity(), err)
	}
	if p.authority, err = pki.Open(place.pki()); err != nil {
		return nil, err
	}
	if p.deciding, err = id.deciding(p.authority); err != nil {
		return nil, err
	}
	p.registry, err = schemas.NewRegistry()
	return p, err
}

// onClose has f called by close, before what was opened earlier is closed.
func (p *plane) onClose(f func() error) { p.closers = append(p.closers, f) }

// openStore opens the ledger over link.
func (p *plane) openStore(ctx context.Context, link broker.Link, keep retention) (err error) {
	p.link = link
	p.store, err = openStore(ctx, p.place, link, storeOptions{identity: p.identity, deciders: p.deciding.settings(), retention: keep})
	p.onClose(p.store.close)
	return err
}

// openView loads the ledger's present, and follows it from then on until ctx ends.
func (p *plane) openView(ctx context.Context) (err error) {
	if p.ledger, err = seal.New(p.store.archived, p.place.secretKey()); err != nil {
		return err
	}
	if p.view, err = events.OpenView(ctx, p.ledger, p.registry); err != nil {
		return err
	}
	if missing := p.view.Status().Notes; missing != nil {
		p.log.Warn("kubectl get events shows none of before", "cause", missing)
	}
	p.metrics = newMetrics(p.view)
	return nil
}

// openLine opens the control plane's end of the line to the nodes.
func (p *plane) openLine() (*nodewire.Server, error) {
	conn, err := p.link.Nodes()
	if err != nil {
		return nil, err
	}
	p.onClose(func() error { conn.Close(); return nil })
	return nodewire.NewServer(conn), nil
}

// door is a gateway's place in the world.
type door struct {
	listener net.Listener
	hosts    []string // names and addresses that its certificate is for
	line     gateway.LogSource
	witness  ledgerapi.Witness
	joining  *gateway.Joining
}

// runGateway serves the API until ctx ends.
func (p *plane) runGateway(ctx context.Context, d door) error {
	return gateway.New(gateway.Config{View: p.view, Ledger: p.ledger, Registry: p.registry, Authority: p.authority, Logs: d.line, Hosts: d.hosts, ServiceCIDRs: p.services,
		Version: version(), Health: p.link.Health, Metrics: p.metrics.handler(),
		Recorder: &ledgerapi.Recorder{Source: p.store.archived, Cluster: p.identity.ID, Deciders: p.deciding.settings()},
		Witness:  d.witness, Archive: p.store.archive, Explain: pending, Joining: d.joining, Log: p.log}).Serve(ctx, d.listener)
}

// runDeciders adds to g the services that wanted names; nil is all.
func (p *plane) runDeciders(ctx context.Context, g *errgroup.Group, wanted func(service string) bool) {
	for _, decider := range p.deciding.deciders(scheduler.Config{}) {
		if wanted == nil || wanted(decider.Name()) {
			g.Go(func() error {
				return runner.Runner{Decider: decider, View: p.view, Ledger: p.ledger, Log: p.log, Metrics: p.metrics}.Run(ctx)
			})
		}
	}
}

// runFeed serves nodes until ctx ends. registers says which may register themselves.
func (p *plane) runFeed(ctx context.Context, line *nodewire.Server, registers func(node string) bool) error {
	return feed.New(feed.Config{View: p.view, Ledger: p.ledger, Line: line, Log: p.log, Registers: registers}).Run(ctx)
}

// runKeeper keeps the archive until ctx ends.
func (p *plane) runKeeper(ctx context.Context) error {
	return archive.NewKeeper(p.store.archive, p.store.stream).Run(ctx)
}

// close gives everything back, the last opened first.
func (p *plane) close() error {
	var failed error
	for i := len(p.closers) - 1; i >= 0; i-- {
		failed = errors.Join(failed, p.closers[i]())
	}
	p.closers = nil
	return failed
}
