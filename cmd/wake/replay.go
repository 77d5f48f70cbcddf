package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/gateway/ledgerapi"
	"github.com/wakehq/wake/services/simulation/pace"
)

// replayOptions are the flags of "wake replay".
type replayOptions struct {
	speedText, serve, hashes string
	maxPause                 time.Duration
	to                       uint64
	quiet                    bool

	speed pace.Speed
}

func replayCommand(place *location) *cobra.Command {
	o := &replayOptions{}
	c := &cobra.Command{
		Use:   "replay FILE",
		Short: "Play an exported history again, at any speed",
		Long: `Play an exported history again in memory: the same file gives the same state at every revision, on any machine. Nothing of it reaches a cluster.

At full speed it tells how it ends. At a pace it shows each event as its time comes, and with --serve a read-only API of the cluster as it is at that
point of the story, for kubectl and everything else that reads.`,
		Example: `  wake replay monday.wake
  wake replay incident.wake --speed 10x --max-pause 5s
  wake replay incident.wake --speed 1x --serve 127.0.0.1:7443     then, elsewhere: kubectl get pods --watch`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.speed, err = pace.ParseSpeed(o.speedText); err != nil {
				return fmt.Errorf("--speed: %w", err)
			}
			h, err := openHistory(cmd.Context(), place, stretch{file: args[0]})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, h.close()) }()
			if o.serve != "" {
				return o.serveHistory(cmd, h)
			}
			return o.run(cmd, h)
		},
	}
	f := c.Flags()
	f.StringVar(&o.speedText, "speed", pace.Max.String(), "how many times faster than it happened: 1x, 1000x, or max")
	f.DurationVar(&o.maxPause, "max-pause", 0, "cut longer pauses of the recording to this (0: never)")
	f.Uint64Var(&o.to, "to", 0, "end after this revision (0: the last)")
	f.StringVar(&o.hashes, "hashes", "", "write the state's hash at every revision to this file, or to standard output (-)")
	f.StringVar(&o.serve, "serve", "", "serve the API at this address while it plays, and after")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show no events")
	return c
}

// replay is one that is going on.
type replay struct {
	*replayOptions
	state  *events.State
	out    io.Writer
	hashes *bufio.Writer // nil: not asked for
	began  time.Time
	first  time.Time // when the first event was stored
	count  int
	aside  int
}

func (o *replayOptions) run(cmd *cobra.Command, h *history) (err error) {
	r := &replay{replayOptions: o, out: cmd.OutOrStdout(), began: time.Now()}
	if r.state, err = h.state(cmd.Context(), h.first-1); err != nil {
		return err
	}
	r.state = r.state.Fork()
	if o.hashes != "" {
		done, err := r.openHashes(cmd.OutOrStdout())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, done()) }()
	}
	player := pace.Player{Speed: o.speed, MaxPause: o.maxPause}
	if err := player.Play(cmd.Context(), h.events(cmd.Context(), h.first, o.to), r.see); err != nil {
		return err
	}
	return r.sum(cmd.ErrOrStderr())
}

func (r *replay) openHashes(standard io.Writer) (done func() error, err error) {
	if r.replayOptions.hashes == "-" {
		r.hashes = bufio.NewWriter(standard)
		return r.hashes.Flush, nil
	}
	f, err := os.Create(r.replayOptions.hashes)
	if err != nil {
		return nil, fmt.Errorf("--hashes: %w", err)
	}
	r.hashes = bufio.NewWriter(f)
	return func() error { return errors.Join(r.hashes.Flush(), f.Close()) }, nil
}

// see folds an event whose time has come, and shows it if there is time to look at it.
func (r *replay) see(e events.Event) error {
	if r.count++; r.count == 1 {
		r.first = e.Stored
	}
	if _, err := r.state.Apply(e); err != nil {
		r.aside++
	}
	if r.hashes != nil {
		if _, err := fmt.Fprintf(r.hashes, "%d %s\n", e.Revision, r.state.Hash()); err != nil {
			return err
		}
	}
	if r.speed == pace.Max || r.quiet {
		return nil
	}
	_, err := fmt.Fprintln(r.out, replayLine(&e))
	return err
}

func replayLine(e *events.Event) string {
	shown := ledgerapi.Event{Type: e.Type, Actor: e.Actor, Tombstone: e.Tombstone}
	if e.Note != nil {
		shown.Note = &ledgerapi.Note{Warning: e.Note.Warning}
	}
	line := fmt.Sprintf("%*d  %s  %s  %-*s  %s", revisionWidth, e.Revision, e.Stored.Local().Format("15:04:05.000"), typeColor(shown).Sprintf("%-*s", typeWidth, e.Type),
		actorWidth, e.Actor, e.Ref)
	if e.Note != nil {
		line += "  " + color.New(color.Italic).Sprint(e.Note.Message)
	}
	return line
}

// sum tells how it ended.
func (r *replay) sum(out io.Writer) error {
	took, span := time.Since(r.began), r.state.Time().Sub(r.first)
	if r.count == 0 {
		fmt.Fprintf(out, "The recording holds no events, only the state at revision %d.\n", r.state.Revision())
	} else {
		fmt.Fprintf(out, "Replayed %d events up to revision %d, %s of history, in %s", r.count, r.state.Revision(), span.Round(time.Second), took.Round(time.Millisecond))
		if r.speed == pace.Max && span > took {
			fmt.Fprintf(out, ": %.0f times as fast as it happened", span.Seconds()/took.Seconds())
		}
		fmt.Fprintln(out, ".")
	}
	if r.aside > 0 {
		fmt.Fprintf(out, "%d events were set aside: this wake does not understand them.\n", r.aside)
	}
	var counts []string
	for _, gr := range r.state.Resources() {
		if gr != events.EventsResource {
			counts = append(counts, fmt.Sprintf("%d %s", r.state.Count(gr), gr))
		}
	}
	fmt.Fprintf(out, "Holds %s.\n", strings.Join(counts, ", "))
	_, err := fmt.Fprintf(out, "State hash %s\n", r.state.Hash())
	return err
}

// events gives the events of a stretch; to 0 is the last.
func (h *history) events(ctx context.Context, from, to events.Revision) iter.Seq2[events.Event, error] {
	return func(yield func(events.Event, error) bool) {
		more := true
		err := h.ledger.Read(ctx, events.Query{From: from, To: to}, func(e events.Event) bool {
			more = yield(e, nil)
			return more
		})
		if err != nil && more {
			yield(events.Event{}, err)
		}
	}
}
