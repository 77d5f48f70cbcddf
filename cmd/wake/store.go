package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/wakehq/wake/events/archive"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/jetstream"
	"github.com/wakehq/wake/gateway/pki"
)

// retention is what stays where, for how long.
type retention struct {
	keepEvents uint64        // in the stream; 0 is no limit
	keepFor    time.Duration // in the stream; 0 is no limit
	thinAfter  time.Duration // superseded status in the archive; 0 is for good

	segmentEvents int // per segment, in the archive; 0 is the archive's default
}

// storeOptions say how a cluster's ledger is kept.
type storeOptions struct {
	identity  identity
	deciders  map[string]string // how they are set up, for the archive
	retention retention
}

// store is a cluster's ledger as it is kept: the stream at the brokers, and the archive. Secrets in it are sealed.
type store struct {
	stream   *jetstream.Ledger
	archive  *archive.Archive
	archived *archive.Ledger // stream and archive as one
	files    archive.Store   // of the archive
	cluster  string          // the cluster's ID
	closers  []func() error
}

// openStopped opens the ledger of a cluster on one machine that doesn't run. The caller closes it even after an error.
func openStopped(ctx context.Context, place *location, id identity) (*store, error) {
	b, err := broker.Start(broker.Config{Dir: place.broker(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return &store{}, err
	}
	s, err := openStore(ctx, place, b, storeOptions{identity: id})
	s.closers = append([]func() error{b.Close}, s.closers...)
	return s, err
}

// openStore opens a cluster's ledger over link. The caller closes it even after an error.
func openStore(ctx context.Context, place *location, link broker.Link, o storeOptions) (*store, error) {
	s := &store{}
	conn, err := link.Ledger()
	if err != nil {
		return s, err
	}
	s.closers = append(s.closers, func() error { conn.Close(); return nil })
	if s.stream, err = jetstream.Open(ctx, conn, jetstream.Config{Replicas: o.identity.replicas()}); err != nil {
		return s, err
	}
	s.closers = append(s.closers, s.stream.Close)
	s.cluster = o.identity.ID
	if s.files, err = archive.OpenDir(place.archive(o.identity)); err != nil {
		return s, err
	}
	if s.archive, err = archive.Open(ctx, s.files, archive.Config{Cluster: o.identity.ID, Deciders: o.deciders, KeepEvents: o.retention.keepEvents, KeepFor: o.retention.keepFor,
		ThinAfter: o.retention.thinAfter, SegmentEvents: o.retention.segmentEvents}); err != nil {
		return s, err
	}
	s.archived, err = archive.NewLedger(ctx, s.stream, s.archive)
	return s, err
}

// reread opens the archive's files anew: what a running cluster has read of them says nothing of what they are now. The error is a segment.DamageError if
// the newest can't be read.
func (s *store) reread(ctx context.Context) (*archive.Ledger, error) {
	files, err := archive.Open(ctx, s.files, archive.Config{Cluster: s.cluster})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the archive is gone: %v", err) //nolint:errorlint // to who proves, fs.ErrNotExist is a witness that isn't there
	}
	if err != nil {
		return nil, err
	}
	return archive.NewLedger(ctx, s.stream, files)
}

func (s *store) close() error {
	var failed error
	for i := len(s.closers) - 1; i >= 0; i-- {
		failed = errors.Join(failed, s.closers[i]())
	}
	s.closers = nil
	return failed
}

// check refuses limits that can't be meant.
func (r retention) check() error {
	if r.segmentEvents < 0 {
		return fmt.Errorf("--segment-events %d: a segment holds events", r.segmentEvents)
	}
	for flag, d := range map[string]time.Duration{"keep-for": r.keepFor, "thin-after": r.thinAfter} {
		if d < 0 {
			return fmt.Errorf("--%s %s: the past does not lie ahead; 0 sets no limit", flag, d)
		}
	}
	return nil
}

// deciding says how the deciders of a cluster of this identity are set up.
func (id identity) deciding(authority *pki.Authority) (deciding, error) {
	services, err := parseServiceRanges(id.ServiceCIDR)
	if err != nil {
		return deciding{}, fmt.Errorf("the cluster's service addresses %q: %w", id.ServiceCIDR, err)
	}
	return deciding{services: services, pods: id.podRanges, authority: string(authority.CertificatePEM())}, nil
}
