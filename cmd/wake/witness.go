package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/wakehq/wake/events/trust"
	"github.com/wakehq/wake/gateway/ledgerapi"
)

// witness proves a cluster's ledger with what its notary has seen.
type witness struct {
	*trust.Notary
	store *store
	dir   string
	key   string // the signing key's file
}

// openWitness opens the notary of a cluster, which the caller closes.
func openWitness(place *location, id identity, s *store, log *slog.Logger) (*witness, error) {
	dir := place.trust(id)
	notary, err := trust.Open(trust.Config{Dir: dir, KeyFile: place.checkpointKey(), Cluster: id.ID, Ledger: s.archived, Log: log})
	if err != nil {
		return nil, err
	}
	return &witness{Notary: notary, store: s, dir: dir, key: place.checkpointKey()}, nil
}

// Prove compares what the archive and the stream give together with what was witnessed, and then the stream alone: an event may be in both.
func (w *witness) Prove(ctx context.Context, marks []trust.Mark) ([]ledgerapi.Proof, error) {
	return proveStore(ctx, w.store, w.dir, w.key, marks)
}

// proveStore is Prove for a cluster that may not run. That the witness or its key is lost is a finding; fs.ErrNotExist says that there never was one.
func proveStore(ctx context.Context, s *store, dir, keyFile string, marks []trust.Mark) ([]ledgerapi.Proof, error) {
	key, keyless := trust.PublicKey(keyFile)
	if keyless != nil && !errors.Is(keyless, fs.ErrNotExist) {
		return nil, keyless
	}
	whole, err := trust.Check(ctx, s.archived, trust.Options{Dir: dir, Key: key, Marks: marks})
	switch {
	case errors.Is(err, fs.ErrNotExist) && keyless == nil:
		whole.Findings = append(whole.Findings, trust.Finding{Kind: trust.WitnessLost, What: fmt.Sprintf("there is nothing in %s, where the notary of this cluster keeps what it has seen.", dir),
			Remedy: "Put that directory back, or name the right one with --trust-dir; to begin anew, move the key " + keyFile + " away (keep it) and start the cluster."})
		return []ledgerapi.Proof{{Place: "stream", Report: whole}}, nil
	case err != nil:
		return nil, fmt.Errorf("proving the ledger: %w", err)
	case keyless != nil:
		whole.Findings = append(whole.Findings, trust.Finding{Kind: trust.KeyMismatch, What: fmt.Sprintf("the key %s is gone: that the checkpoints are this cluster's can't be told.", keyFile),
			Remedy: "Put the key back. To begin anew, move " + dir + " away (keep it) and start the cluster."})
	}
	if _, archived := s.archive.Bounds(); archived == 0 {
		return []ledgerapi.Proof{{Place: "stream", Report: whole}}, nil
	}
	first, _, err := s.stream.Bounds(ctx)
	if err != nil {
		return nil, err
	}
	stream, err := trust.Check(ctx, s.stream, trust.Options{Dir: dir, Key: key, Marks: marks, From: first})
	if err != nil {
		return nil, fmt.Errorf("proving the stream: %w", err)
	}
	return []ledgerapi.Proof{{Place: "archive and stream", Report: whole}, {Place: "stream", Report: stream}}, nil
}
