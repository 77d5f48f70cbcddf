package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/jetstream"
)

// role is a part of the control plane that runs in a process of its own.
type role struct {
	name     string
	place    *location
	logLevel string
	health   string // where it tells how it is; empty: nowhere
}

func newRole(place *location, name string) *role { return &role{name: name, place: place} }

// flags adds those that every role has.
func (r *role) flags(f *pflag.FlagSet) {
	f.StringVar(&r.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&r.health, "health-listen", "", "address, such as 127.0.0.1:8080, of /healthz, /readyz and /metrics in plain HTTP (default: none)")
}

// begin sets up what every role begins with.
func (r *role) begin(cmd *cobra.Command) (*plane, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(r.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level %q: say debug, info, warn or error", r.logLevel)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectorPercent)
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	slog.SetDefault(log)
	id, err := r.place.clusterOf()
	if err != nil {
		return nil, err
	}
	return newPlane(r.place, id, log)
}

// run opens the ledger over the cluster's brokers and its present, has start add to the group what the role does, and runs that until the command's context ends.
// start returns what to say when it is up.
func (r *role) run(cmd *cobra.Command, keep retention, start func(ctx context.Context, p *plane, g *errgroup.Group) (string, error)) (err error) {
	began, asked := time.Now(), cmd.Context()
	p, err := r.begin(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	link, err := broker.NewRemote("wake "+r.name, p.identity.addresses(brokerPlace.clients), p.authority.ControlPlane(r.name), p.log)
	if err != nil {
		return err
	}
	h, err := openHealth(r.health, link)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(asked)
	g.Go(func() error { return h.run(ctx) })
	g.Go(func() error {
		if err := link.Reach(ctx); err != nil {
			return err
		}
		if err := p.openRemote(ctx, link, keep); err != nil {
			return err
		}
		h.ready(p)
		up, err := start(ctx, p, g)
		if err == nil {
			cmd.Printf("Wake %s is up after %s; %s\n", r.name, time.Since(began).Round(10*time.Millisecond), up)
		}
		return err
	})
	return r.end(asked, g.Wait())
}

// end tells a wanted end from an unwanted one.
func (r *role) end(asked context.Context, err error) error {
	switch {
	case asked.Err() == nil:
		return fmt.Errorf("wake %s ended by itself: %w", r.name, err)
	case errors.Is(err, context.Canceled):
		return nil
	}
	return err
}

const (
	// openWithin is how long the ledger may fail to open while brokers can be reached and have a majority: then something else is wrong.
	openWithin = time.Minute
	retryOpen  = 500 * time.Millisecond
)

// openRemote opens the ledger and its present. As long as the brokers have no majority it waits for them.
func (p *plane) openRemote(ctx context.Context, link broker.Link, keep retention) error {
	tell := (&complaints{log: p.log, what: "opening the ledger; trying again"}).tell
	for began := time.Now(); ; {
		err := p.openStore(ctx, link, keep)
		if err == nil {
			err = p.openView(ctx)
		}
		if err == nil || ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if closed := p.close(); closed != nil {
			p.log.Debug("closing what was opened", "error", closed)
		}
		if jetstream.Unavailable(err) {
			began = time.Now()
		}
		if time.Since(began) > openWithin {
			return err
		}
		tell(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryOpen):
		}
	}
}
