package main

import (
	"context"
	"crypto/rand"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wakehq/wake/events/presence"
	"github.com/wakehq/wake/services/feed"
)

func feedCommand(place *location) *cobra.Command {
	r := newRole(place, "feed")
	c := &cobra.Command{
		Use:   "feed",
		Short: "Run a cluster's node feed: what nodes are told, and what they report",
		Long: `Run a node feed. It gives each node its part of the ledger and writes down what nodes report. Several share the nodes among themselves; when one ends, the others
take over its nodes, within two seconds if it was killed. It runs until Ctrl-C.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd, retention{}, startFeed) },
	}
	r.flags(c.Flags())
	return c
}

// startFeed adds a node feed that shares the nodes with others.
func startFeed(ctx context.Context, p *plane, g *errgroup.Group) (string, error) {
	line, err := p.openLine()
	if err != nil {
		return "", err
	}
	shard, err := p.join("feeds", presence.Member{ID: rand.Text()[:12]})
	if err != nil {
		return "", err
	}
	g.Go(func() error { return shard.Run(ctx) })
	g.Go(func() error {
		return feed.New(feed.Config{View: p.view, Ledger: p.ledger, Line: line, Log: p.log, Shard: shard,
			Connected: func() bool { return p.link.Health() == nil },
			Registers: func(string) bool { return false }}).Run(ctx)
	})
	return "sharing the nodes with the other feeds", nil
}

// join makes this process one of a kind. The caller runs the group.
func (p *plane) join(kind string, self presence.Member) (*presence.Group, error) {
	conn, err := p.link.Ledger()
	if err != nil {
		return nil, err
	}
	p.onClose(func() error { conn.Close(); return nil })
	return presence.Join(conn, kind, self), nil
}
