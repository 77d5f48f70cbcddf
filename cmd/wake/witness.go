package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/wakehq/wake/events/segment"
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
	archived, err := s.reread(ctx)
	var damage *segment.DamageError
	if errors.As(err, &damage) {
		return damagedProof(damage), nil
	}
	if err != nil {
		return nil, err
	}
	whole, err := trust.Check(ctx, archived, trust.Options{Dir: dir, Key: key, Marks: marks})
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
	if _, last := archived.Archive().Bounds(); last == 0 {
		return []ledgerapi.Proof{{Place: "stream", Report: whole}}, nil
	}
	if len(whole.Findings) == 0 { // what is beside the events in the archive's files, to find and to begin with, is not witnessed
		if _, _, err = archived.Archive().Verify(ctx); errors.As(err, &damage) {
			whole.Findings = append(whole.Findings, damaged(damage))
		} else if err != nil {
			return nil, fmt.Errorf("proving the archive: %w", err)
		}
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

// damagedProof is what comes of proving an archive that can't be opened.
func damagedProof(d *segment.DamageError) []ledgerapi.Proof {
	return []ledgerapi.Proof{{Place: "archive and stream", Report: trust.Report{Findings: []trust.Finding{damaged(d)}}}}
}

func damaged(d *segment.DamageError) trust.Finding {
	return trust.Finding{Kind: trust.Unreadable, Revision: d.First, Through: d.Last, What: "the archive can't be read: " + d.Error() + ".",
		Remedy: "Look at the disk; put back an undamaged copy of the file, and verify again."}
}
