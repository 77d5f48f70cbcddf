package main

import (
	"context"
	"crypto/ed25519"
	"fmt"
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

func proveStore(ctx context.Context, s *store, dir, keyFile string, marks []trust.Mark) ([]ledgerapi.Proof, error) {
	var key ed25519.PublicKey
	if known, err := trust.PublicKey(keyFile); err == nil {
		key = known
	}
	whole, err := trust.Check(ctx, s.archived, trust.Options{Dir: dir, Key: key, Marks: marks})
	if err != nil {
		return nil, fmt.Errorf("proving the ledger: %w", err)
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
