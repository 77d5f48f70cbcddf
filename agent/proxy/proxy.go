package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrNotFull is returned by Apply as long as no change has been a full one.
var ErrNotFull = errors.New("one change must be full: serving a part would take away the rest")

// Proxy keeps one backend in line with the objects of a cluster. It is safe for concurrent use.
type Proxy struct {
	log     *slog.Logger
	backend Backend

	mu     sync.Mutex
	fold   *fold
	known  bool // a full change has arrived
	synced bool // the backend has what the fold has
	health HealthReporter
}

// HealthReporter answers health checks. Report must not wait for anything.
type HealthReporter interface {
	Report(checks []HealthCheck, healthy bool) // these and no others; healthy: the proxy serves what it is to serve
}

// ReportHealth has a reporter told of health checks from now on.
func (p *Proxy) ReportHealth(to HealthReporter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.health = to
}

// report tells the reporter if there is news; p.mu is held.
func (p *Proxy) report(before bool) {
	if p.health == nil || !p.fold.healthChanged && before == p.synced {
		return
	}
	p.fold.healthChanged = false
	p.health.Report(slices.SortedFunc(maps.Values(p.fold.health), func(a, b HealthCheck) int { return strings.Compare(a.Service.String(), b.Service.String()) }), p.synced)
}

// New makes a proxy for a node. It touches nothing until the first full change.
func New(backend Backend, node Node, log *slog.Logger) *Proxy {
	return &Proxy{log: log, backend: backend, fold: newFold(node)}
}

// Apply takes in changes, in their order, and returns when the kernel serves what they come to: many cost it hardly more than one. After an error
// they are remembered, and the next Apply or Reconcile (a call with nothing new will do) serves them too.
func (p *Proxy) Apply(ctx context.Context, changes ...Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.known && !slices.ContainsFunc(changes, func(c Change) bool { return c.Full }) {
		return ErrNotFull
	}
	p.known = true
	diff := p.fold.apply(changes)
	defer p.report(p.synced)
	if !p.synced {
		return p.reconcile(ctx)
	}
	if diff.Empty() {
		return nil
	}
	err := p.backend.Update(ctx, diff)
	if err == nil {
		return nil
	}
	p.synced = false
	if again := p.reconcile(ctx); again != nil {
		return errors.Join(fmt.Errorf("updating %d and removing %d virtual servers: %w", len(diff.Put), len(diff.Gone), err), again)
	}
	p.log.WarnContext(ctx, "the service proxy's update failed and everything was reconciled instead", "cause", err)
	return nil
}

// Reconcile checks and repairs everything, for example after somebody flushed the kernel's rules. Before the
// first full change it returns ErrNotFull.
func (p *Proxy) Reconcile(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.known {
		return ErrNotFull
	}
	return p.reconcile(ctx)
}

// lookEvery is how long what others have taken away stays away, at most.
const lookEvery = 2 * time.Second

// Keep repairs what others change in the kernel, until ctx ends.
func (p *Proxy) Keep(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := p.Repair(ctx); err != nil && ctx.Err() == nil {
			p.log.WarnContext(ctx, "the service proxy's rules can't be repaired; trying again", "error", err)
		}
	}
}

// Repair looks whether the kernel has what it should have, and reconciles if not. It also has the backend clear up what an update left for later.
func (p *Proxy) Repair(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.known {
		return nil
	}
	defer p.report(p.synced)
	if p.synced {
		intact, err := p.backend.Intact(ctx)
		if err != nil {
			return err
		}
		if intact {
			if err := p.backend.Update(ctx, Diff{}); err == nil {
				return nil
			}
		}
		p.log.WarnContext(ctx, "somebody has changed the service proxy's rules; they are restored")
	}
	return p.reconcile(ctx)
}

func (p *Proxy) reconcile(ctx context.Context) error {
	if err := p.backend.Reconcile(ctx, State{Servers: p.fold.servers}); err != nil {
		p.synced = false
		return fmt.Errorf("reconciling %d virtual servers: %w", len(p.fold.servers), err)
	}
	p.synced = true
	return nil
}

// Close releases the backend. What is served stays served.
func (p *Proxy) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.backend.Close()
}
