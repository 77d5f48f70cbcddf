package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/wakehq/wake/events/calls"
	"github.com/wakehq/wake/events/trust"
	"github.com/wakehq/wake/gateway/ledgerapi"
)

func keeperCommand(place *location) *cobra.Command {
	r := newRole(place, "keeper")
	keep := retention{}
	c := &cobra.Command{
		Use:   "keeper",
		Short: "Run a cluster's keeper: the archive of its past, and the notary that witnesses it",
		Long: `Run the keeper: it moves the ledger's past into the archive, and its notary records and signs what the ledger holds, which "wake verify" compares. One runs; a second
one finds the directories in use and ends. While none runs nothing is lost: the stream grows, and the notary makes up for it.

If the processes of the control plane share the archive's directory ("wake init --archive-dir"), what is archived is trimmed off the stream; else the stream keeps all.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := keep.check(); err != nil {
				return err
			}
			id, err := place.clusterOf()
			if err != nil {
				return err
			}
			if keep, err = keep.of(id, cmd.Flags().Changed); err != nil {
				return err
			}
			return r.run(cmd, keep, startKeeper)
		},
	}
	keep.flags(c.Flags())
	r.flags(c.Flags())
	return c
}

// flags adds those that say what is kept where.
func (r *retention) flags(f *pflag.FlagSet) {
	f.Uint64Var(&r.keepEvents, "keep-events", 1_000_000, "how many of the newest events stay in the stream; older ones are in the archive alone (0: no limit)")
	f.DurationVar(&r.keepFor, "keep-for", 0, "how long events stay in the stream (0: no limit)")
	f.DurationVar(&r.thinAfter, "thin-after", 30*24*time.Hour, "after how long the archive keeps of superseded status only what proves it (0: never)")
	f.IntVar(&r.segmentEvents, "segment-events", 0, "how many events a segment of the archive holds (0: the default)")
	f.Lookup("segment-events").Hidden = true // it is there to see the archive at work within minutes
}

// of returns what the keeper of a cluster may do: nothing is trimmed that others couldn't read.
func (r retention) of(id identity, given func(flag string) bool) (retention, error) {
	if id.SharedArchive {
		return r, nil
	}
	if given("keep-events") && r.keepEvents != 0 || r.keepFor != 0 {
		return r, errors.New("--keep-events and --keep-for trim the stream, but this cluster's processes don't share the archive: they could not read what is trimmed (wake init --archive-dir)")
	}
	r.keepEvents = 0
	return r, nil
}

// The names of what a keeper answers.
const (
	callWitnessStatus = "keeper.witness"
	callProve         = "keeper.prove"
	callAccept        = "keeper.accept"
)

// acceptance is what a person accepts of what a notary found.
type acceptance struct {
	Reason string `json:"reason"`
	Who    string `json:"who"`
}

// startKeeper adds the archive's keeper and the notary, and answers gateways.
func startKeeper(ctx context.Context, p *plane, g *errgroup.Group) (string, error) {
	w, err := openWitness(p.place, p.identity, p.store, p.log)
	if err != nil {
		return "", err
	}
	p.onClose(w.Close)
	server, err := calls.NewServer(p.link)
	if err != nil {
		return "", err
	}
	p.onClose(server.Close)
	calls.Handle(server, callWitnessStatus, func(context.Context, struct{}) (trust.Status, error) { return w.Status(), nil })
	calls.Handle(server, callProve, func(ctx context.Context, marks []trust.Mark) ([]ledgerapi.Proof, error) { return w.Prove(ctx, marks) })
	calls.Handle(server, callAccept, func(ctx context.Context, a acceptance) (trust.Break, error) { return w.Accept(ctx, a.Reason, a.Who) })
	g.Go(func() error { return server.Run(ctx) })
	g.Go(func() error { return w.Run(ctx) })
	g.Go(func() error { return p.runKeeper(ctx) })
	return fmt.Sprintf("archive in %s, witness in %s", p.store.files, w.dir), nil
}

const (
	// statusWithin is how long a keeper has to say how it is.
	statusWithin = 2 * time.Second
	// proveWithin is how long it has to compare a whole ledger.
	proveWithin = time.Hour
)

// remoteWitness is the notary of a keeper elsewhere.
type remoteWitness struct{ *calls.Client }

// Status implements ledgerapi.Witness.
func (w remoteWitness) Status() (s trust.Status) {
	ctx, cancel := context.WithTimeout(context.Background(), statusWithin)
	defer cancel()
	if err := w.Ask(ctx, callWitnessStatus, struct{}{}, &s); err != nil {
		s.Failing = keeperless(err).Error()
	}
	return s
}

// Prove implements ledgerapi.Witness.
func (w remoteWitness) Prove(ctx context.Context, marks []trust.Mark) (proofs []ledgerapi.Proof, _ error) {
	ctx, cancel := context.WithTimeout(ctx, proveWithin)
	defer cancel()
	return proofs, keeperless(w.Ask(ctx, callProve, marks, &proofs))
}

// Accept implements ledgerapi.Witness.
func (w remoteWitness) Accept(ctx context.Context, reason, who string) (b trust.Break, _ error) {
	return b, keeperless(w.Ask(ctx, callAccept, acceptance{reason, who}, &b))
}

func keeperless(err error) error {
	if errors.Is(err, calls.ErrNobody) {
		return fmt.Errorf("no keeper runs: start one with \"wake keeper\" where the archive and the witness are (%w)", err)
	}
	return err
}
