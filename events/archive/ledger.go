package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/segment"
)

// Stream is the ledger that an archive continues into the past.
type Stream interface {
	events.Ledger
	events.RawReader
}

// Ledger is a stream and its archive as one.
type Ledger struct {
	stream  Stream
	archive *Archive
	asked   asked
}

var (
	_ events.Ledger    = (*Ledger)(nil)
	_ events.RawReader = (*Ledger)(nil)
	_ events.Noter     = (*Ledger)(nil)
)

// NewLedger returns stream and archive as one ledger. The error says if they don't fit together, and what is missing.
func NewLedger(ctx context.Context, stream Stream, archive *Archive) (*Ledger, error) {
	if err := archive.fits(ctx, stream); err != nil {
		return nil, err
	}
	return &Ledger{stream: stream, archive: archive}, nil
}

// Archive returns the ledger's archive.
func (l *Ledger) Archive() *Archive { return l.archive }

// fits says why stream doesn't continue what is archived.
func (a *Archive) fits(ctx context.Context, stream events.RawReader) error {
	first, last, err := stream.Bounds(ctx)
	if err != nil {
		return err
	}
	_, archived := a.Bounds()
	switch {
	case archived > last:
		return fmt.Errorf("%s, the stream ends at %d: the stream was restored from an older copy or is another cluster's; put back the newer one, or give the archive the directory that belongs to it",
			a.where(), last)
	case first > archived+1:
		return fmt.Errorf("the stream begins at revision %d and %s: revisions %d to %d are missing; put back the archive's directory as it was, or name the right one",
			first, a.where(), archived+1, first-1)
	}
	if first > 0 {
		a.raise(first - 1)
	}
	if archived == 0 || archived < first {
		return nil
	}
	return a.sameEvent(ctx, stream, archived)
}

// sameEvent checks that the archive's last event is the stream's with that revision.
func (a *Archive) sameEvent(ctx context.Context, stream events.RawReader, revision events.Revision) error {
	var archived, streamed *events.Digest
	take := func(into **events.Digest) func(events.Raw) bool {
		return func(r events.Raw) bool {
			digest := r.Digest()
			*into = &digest
			return false
		}
	}
	r, err := a.open(ctx, a.newest())
	if err != nil {
		return err
	}
	if err := r.Events(revision, revision, take(&archived)); err != nil {
		return err
	}
	if err := stream.ReadRaw(ctx, revision, revision, take(&streamed)); errors.Is(err, events.ErrTooOld) {
		return nil
	} else if err != nil {
		return err
	}
	if archived != nil && streamed != nil && *archived != *streamed {
		return fmt.Errorf("event %d is not the same in the stream and in %s: one of them was altered or is another cluster's (see wake verify)", revision, r.Name())
	}
	return nil
}

// Last implements events.Ledger.
func (l *Ledger) Last(ctx context.Context) (events.Revision, time.Time, error) {
	last, at, err := l.stream.Last(ctx)
	if err != nil || last == 0 {
		return last, at, err
	}
	if newest := l.archive.newest(); newest != nil && newest.last == last {
		r, err := l.archive.open(ctx, newest)
		if err != nil {
			return 0, time.Time{}, err
		}
		return last, r.Footer().LastTime, nil // a stream that is trimmed whole has forgotten it
	}
	return last, at, nil
}

// RevisionAt implements events.Ledger.
func (l *Ledger) RevisionAt(ctx context.Context, t time.Time) (events.Revision, error) {
	newest := l.archive.newest()
	if newest == nil {
		return l.stream.RevisionAt(ctx, t)
	}
	r, err := l.archive.open(ctx, newest)
	if err != nil {
		return 0, err
	}
	if r.Footer().LastTime.After(t) {
		return l.archive.revisionAt(ctx, t)
	}
	revision, err := l.stream.RevisionAt(ctx, t)
	return max(revision, newest.last), err
}

// Bounds implements events.RawReader.
func (l *Ledger) Bounds(ctx context.Context) (first, last events.Revision, _ error) {
	first, last, err := l.stream.Bounds(ctx)
	if archived, _ := l.archive.Bounds(); archived != 0 && err == nil {
		first = archived
	}
	return first, last, err
}

// ReadRaw implements events.RawReader.
func (l *Ledger) ReadRaw(ctx context.Context, from, to events.Revision, yield func(events.Raw) bool) error {
	next := max(from, 1)
	if to == 0 {
		_, last, err := l.stream.Bounds(ctx)
		if err != nil {
			return err
		}
		to = last
	}
	for attempt := 1; next <= to; attempt++ {
		reached, more := next, true
		give := func(r events.Raw) bool {
			next = r.Revision + 1
			more = yield(r)
			return more && ctx.Err() == nil
		}
		err := l.archive.each(ctx, next, to, func(r *segment.Reader) (bool, error) {
			err := r.Events(next, to, give)
			return more, err
		})
		if err != nil || !more || next > to || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		err = l.readStream(ctx, next, to, give)
		if !errors.Is(err, errOvertaken) {
			return err
		}
		if next > reached {
			attempt = 1
		}
		if err := l.overtaken(ctx, next, attempt); err != nil {
			return err
		}
	}
	return nil
}

// errOvertaken says that the keeper trimmed what was about to be read: it is archived now.
var errOvertaken = errors.New("the stream was trimmed meanwhile")

// overtaken looks for the archive's newest segments, which must have what the stream lost.
func (l *Ledger) overtaken(ctx context.Context, next events.Revision, attempt int) error {
	if err := l.archive.refresh(ctx); err != nil {
		return err
	}
	first, _, err := l.stream.Bounds(ctx)
	switch {
	case err != nil:
		return err
	case next < first && l.archive.covering(next) == nil, attempt > maxAttempts:
		return fmt.Errorf("revision %d: the stream begins at %d, and %s: %w", next, first, l.archive.where(), events.ErrTooOld)
	}
	return nil
}

// readStream reads from the stream until something that was trimmed is missing.
func (l *Ledger) readStream(ctx context.Context, next, to events.Revision, yield func(events.Raw) bool) error {
	gone := false
	err := l.stream.ReadRaw(ctx, next, to, func(r events.Raw) bool {
		if r.Revision != next {
			if gone = l.lost(ctx, next); gone {
				return false
			}
		}
		next = r.Revision + 1
		return yield(r)
	})
	if gone || errors.Is(err, events.ErrTooOld) {
		return errOvertaken
	}
	if err == nil && next <= to && l.lost(ctx, next) {
		return errOvertaken
	}
	return err
}

// lost says that the stream doesn't have a revision any more. If it can't be asked, the next request tells why.
func (l *Ledger) lost(ctx context.Context, revision events.Revision) bool {
	first, _, err := l.stream.Bounds(ctx)
	return err == nil && revision < first
}

// Close implements events.Ledger.
func (l *Ledger) Close() error { return l.stream.Close() }
