package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/recording"
	"github.com/wakehq/wake/gateway"
	"github.com/wakehq/wake/gateway/pki"
	"github.com/wakehq/wake/services/simulation/pace"
)

// serveHistory serves the API of the cluster as it is at each point of its story.
func (o *replayOptions) serveHistory(cmd *cobra.Command, h *history) (err error) {
	dir, err := os.MkdirTemp("", "wake-replay-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	authority, err := pki.Open(filepath.Join(dir, "pki"))
	if err != nil {
		return err
	}
	listener, err := listen(o.serve)
	if err != nil {
		return err
	}
	kubeconfig, url := filepath.Join(dir, "kubeconfig"), "https://"+listener.Addr().String()
	reader, err := authority.Client("reader")
	if err == nil {
		err = pki.Kubeconfig{Cluster: "wake-replay", Server: url, Authority: authority.CertificatePEM(), Identity: reader}.Write(kubeconfig)
	}
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	before, err := h.state(cmd.Context(), h.first-1)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	ready := make(chan struct{})
	played := recording.NewPlayback(h.ledger, h.first-1, before.Time(), o.player(cmd, ready))
	g, ctx := errgroup.WithContext(cmd.Context())
	view, err := events.OpenView(ctx, played, h.registry)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	address := netip.MustParseAddrPort(listener.Addr().String())
	api := gateway.New(gateway.Config{View: view, Ledger: played, Registry: h.registry, Authority: authority, Hosts: []string{address.Addr().String(), "localhost"},
		Version: version(), Explain: pending, Log: slog.New(slog.DiscardHandler)})
	g.Go(func() error { return api.Serve(ctx, listener) })
	cmd.Printf("Serving %s at %s, %s, until Ctrl-C; it can only be read.\n  export KUBECONFIG=%s\n", h.source, url, o.speed, kubeconfig)
	close(ready)
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// player plays events at the pace that was asked for, and shows each that it lets pass, once ready is closed.
func (o *replayOptions) player(cmd *cobra.Command, ready <-chan struct{}) recording.Player {
	return func(ctx context.Context, all iter.Seq2[events.Event, error], show func(events.Event) error) error {
		select {
		case <-ready:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := pace.Player{Speed: o.speed, MaxPause: o.maxPause}.Play(ctx, all, func(e events.Event) error {
			if o.to != 0 && e.Revision > o.to {
				return errReplayed
			}
			if err := show(e); err != nil || o.quiet || o.speed == pace.Max {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), replayLine(&e))
			return err
		})
		if err == nil || errors.Is(err, errReplayed) {
			cmd.Println("Played to the end; the cluster stays as it is now.")
			return nil
		}
		return err
	}
}

// errReplayed ends a playback where it was to end.
var errReplayed = errors.New("played up to where it was to end")
