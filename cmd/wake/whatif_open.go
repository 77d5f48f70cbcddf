package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/simulation"
)

// askCommand is "wake what-if" about the cluster at place, or about an export.
func askCommand(place *location) *cobra.Command {
	var file string
	c := whatIfCommand(func(ctx context.Context, moment string) (*whatIfBase, error) {
		return openBase(ctx, place, file, moment)
	})
	c.Flags().StringVar(&file, "file", "", "ask about an export instead of the cluster; without --from, about its end")
	return c
}

// openBase returns the state at a moment (empty: the last) and the deciders of its cluster.
func openBase(ctx context.Context, place *location, file, moment string) (_ *whatIfBase, err error) {
	wanted := stretch{file: file, from: moment, to: moment}
	if file == "" && moment == "" {
		if wanted.from, err = place.newest(ctx); err != nil {
			return nil, err
		}
		wanted.to = wanted.from
	}
	h, err := openHistory(ctx, place, wanted)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	at := h.last
	var after events.Revision
	if err := h.resolve(ctx, "", moment, &after, &at); err != nil {
		return nil, err
	}
	state, err := h.state(ctx, at)
	if err != nil {
		return nil, err
	}
	return &whatIfBase{state: state, deciders: func(name string) (simulation.Services, error) {
		scheduling, err := schedulerConfig(name)
		return h.deciders(scheduling), err
	}}, nil
}

// newest returns the newest revision of the running cluster as a moment; empty for a stopped one.
func (l *location) newest(ctx context.Context) (string, error) {
	if _, err := l.serving(); err != nil {
		return "", nil
	}
	client, err := l.ledgerClient()
	if err != nil {
		return "", err
	}
	s, err := client.status(ctx, nil)
	return strconv.FormatUint(s.Revision, 10), err
}
