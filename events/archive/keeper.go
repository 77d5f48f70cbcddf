package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/segment"
)

// Source is the stream that is archived.
type Source interface {
	events.RawReader
	events.Trimmer
}

// Keeper moves a ledger's past into an archive: it cuts segments, writes snapshots, trims the stream and thins. It belongs to one goroutine.
type Keeper struct {
	archive *Archive
	source  Source
	checked bool // that what the store has fits together
	remake  bool // the newest snapshot, which may be damaged
}

// NewKeeper returns the keeper of archive.
func NewKeeper(archive *Archive, source Source) *Keeper {
	return &Keeper{archive: archive, source: source}
}

// Run keeps until ctx ends. What fails is tried again, and shown by Archive.Status. The error is that of ctx, or that another keeper is at work.
func (k *Keeper) Run(ctx context.Context) error {
	unlock, err := k.archive.store.Lock(ctx)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		wait := k.archive.config.Every
		if err := k.Step(ctx); err != nil {
			wait *= afterFailure
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return errors.Join(ctx.Err(), unlock())
}

// Step does all that there is to do now. A failure loses nothing: the next Step goes on.
func (k *Keeper) Step(ctx context.Context) error {
	err := k.step(ctx)
	if err != nil {
		var damage *segment.DamageError
		k.checked, k.remake = false, k.remake || errors.As(err, &damage)
	}
	if ctx.Err() == nil {
		k.archive.mu.Lock()
		k.archive.failed = err
		k.archive.mu.Unlock()
	}
	return err
}

func (k *Keeper) step(ctx context.Context) error {
	if !k.checked {
		if err := k.takeUp(ctx); err != nil {
			return err
		}
		k.checked = true
	}
	_, last, err := k.source.Bounds(ctx)
	if err != nil {
		return err
	}
	for {
		_, archived := k.archive.Bounds()
		size, err := k.segmentEvents(ctx)
		if err != nil {
			return err
		}
		if last < archived+size {
			break
		}
		if err := k.cut(ctx, archived, archived+size); err != nil {
			return err
		}
	}
	if err := k.trim(ctx, last, time.Now()); err != nil {
		return err
	}
	return k.thin(ctx)
}

// takeUp goes on where a keeper before ended, be it in the middle of something.
func (k *Keeper) takeUp(ctx context.Context) error {
	if err := k.archive.refresh(ctx); err != nil {
		return err
	}
	if err := k.archive.fits(ctx, k.source); err != nil {
		return err
	}
	newest := k.archive.newest()
	if newest == nil {
		return nil
	}
	k.archive.mu.Lock()
	snapshot := k.archive.snapshot
	k.archive.mu.Unlock()
	if snapshot != nil && snapshot.base == newest.last && !k.remake {
		if _, err := k.archive.open(ctx, snapshot); err == nil {
			return nil
		}
	}
	// A snapshot is made of the segments: one that is missing or damaged is made again.
	r, err := k.archive.open(ctx, newest)
	if err != nil {
		return err
	}
	last := newLasts()
	if err := r.Events(0, 0, func(e events.Raw) bool { last.add(e); return true }); err != nil {
		return err
	}
	if err := k.writeSnapshot(ctx, r, last, r.Footer()); err != nil {
		return err
	}
	k.remake = false
	return nil
}

// segmentEvents returns how many events the next segment has: enough that the state, which each begins with, doesn't outweigh them.
func (k *Keeper) segmentEvents(ctx context.Context) (uint64, error) {
	facets := 0
	if newest := k.archive.newest(); newest != nil {
		r, err := k.archive.state(ctx, newest.last)
		if err != nil {
			return 0, err
		}
		facets = r.Footer().Facets
	}
	return uint64(max(k.archive.config.SegmentEvents, facets/facetsPerEvent)), nil
}

const (
	// afterFailure is how many times longer it is waited then: what fails may have read much before.
	afterFailure = 10
	// facetsPerEvent is how many facets a segment's state may have for each of its events.
	facetsPerEvent = 2
	// segmentBytes is where a segment ends before it has all its events, unless half of the state's size is more: the last events of each facet are
	// held in memory while it is cut.
	segmentBytes = 64 << 20
)

// cut writes the segment that begins after base and ends at to at the latest, and the snapshot after it. Which events it has follows from the stream alone.
func (k *Keeper) cut(ctx context.Context, base, to events.Revision) error {
	header := segment.Header{Cluster: k.archive.config.Cluster, Deciders: k.archive.config.Deciders, Base: base}
	limit := int64(segmentBytes)
	var before *segment.Reader
	if base > 0 {
		var err error
		if before, err = k.archive.state(ctx, base); err != nil {
			return err
		}
		h := before.Header()
		header.BaseTime, header.Chain, header.Forgotten = h.BaseTime, h.Chain, h.Forgotten
		limit = max(limit, before.Footer().StateSize/facetsPerEvent)
	}
	last := newLasts()
	footer, err := k.write(ctx, func(f segment.Footer) string { return fmt.Sprintf(segmentName, base+1, f.Last) }, header, func(w *segment.Writer) error {
		if before != nil {
			if err := w.Copy(before); err != nil {
				return err
			}
		}
		return k.writeEvents(ctx, w, base, to, limit, last)
	})
	if err != nil {
		return fmt.Errorf("archiving the events after revision %d: %w", base, err)
	}
	e := &entry{name: fmt.Sprintf(segmentName, base+1, footer.Last), base: base, last: footer.Last}
	k.archive.mu.Lock()
	k.archive.segments = append(k.archive.segments[:len(k.archive.segments):len(k.archive.segments)], e)
	k.archive.mu.Unlock()
	return k.writeSnapshot(ctx, before, last, footer)
}

// write writes a file. It gets its name once it is whole.
func (k *Keeper) write(ctx context.Context, name func(segment.Footer) string, header segment.Header, fill func(*segment.Writer) error) (segment.Footer, error) {
	pending, err := k.archive.store.Create(ctx)
	if err != nil {
		return segment.Footer{}, err
	}
	w, err := segment.NewWriter(pending, header)
	if err == nil {
		err = fill(w)
	}
	var footer segment.Footer
	if err == nil {
		footer, err = w.Close()
	}
	if err != nil {
		return segment.Footer{}, errors.Join(err, pending.Discard())
	}
	return footer, pending.Commit(name(footer))
}

// writeEvents writes the events after base up to to, or until they come to limit bytes.
func (k *Keeper) writeEvents(ctx context.Context, w *segment.Writer, base, to events.Revision, limit int64, last *lasts) error {
	next := base + 1
	var failed error
	full := false
	err := k.source.ReadRaw(ctx, next, to, func(r events.Raw) bool {
		if r.Revision != next {
			return false
		}
		next++
		last.add(r)
		failed = w.Event(r)
		full = w.Size() >= limit
		return failed == nil && !full
	})
	switch {
	case cmp.Or(err, failed) != nil:
		return cmp.Or(err, failed)
	case !full && next <= to:
		return fmt.Errorf("revision %d: %w in the stream though later ones are there: the stream is damaged; nothing after it is archived or trimmed until it is back (see wake verify)",
			next, segment.ErrGap)
	}
	return nil
}

// trim takes off the stream what is outside of its window and archived.
func (k *Keeper) trim(ctx context.Context, last events.Revision, now time.Time) error {
	a := k.archive
	a.mu.Lock()
	snapshot := a.snapshot
	a.mu.Unlock()
	if snapshot == nil {
		return nil
	}
	to, err := a.outside(ctx, last, now)
	if err != nil {
		return err
	}
	return k.trimTo(ctx, min(to, snapshot.base))
}

// outside returns the end of the last segment that is outside of the stream's window when its last event has a revision and the time is now.
func (a *Archive) outside(ctx context.Context, last events.Revision, now time.Time) (events.Revision, error) {
	var to events.Revision
	if keep := a.config.KeepEvents; keep > 0 && last > keep {
		to = last - keep
	}
	if a.config.KeepFor > 0 {
		aged, err := a.revisionAt(ctx, now.Add(-a.config.KeepFor))
		if err != nil {
			return 0, err
		}
		to = max(to, aged)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var end events.Revision
	for _, e := range a.segments {
		if e.last <= to {
			end = e.last
		}
	}
	return end, nil
}

func (k *Keeper) trimTo(ctx context.Context, to events.Revision) error {
	first, _, err := k.source.Bounds(ctx)
	if err != nil || to < first {
		return err
	}
	// From here on appends are checked against the archive for what is about to go; those that were checked before are waited for.
	k.archive.raise(to)
	k.archive.appends.Lock()
	k.archive.appends.Unlock() //nolint:staticcheck // an empty critical section waits
	return k.source.Trim(ctx, to)
}

// raise notes that the stream may be trimmed up to revision.
func (a *Archive) raise(revision events.Revision) {
	for {
		known := a.horizon.Load()
		if known >= revision || a.horizon.CompareAndSwap(known, revision) {
			return
		}
	}
}

// thin rewrites the oldest segment that is old enough and has not been thinned, if there is one.
func (k *Keeper) thin(ctx context.Context) error {
	if k.archive.config.ThinAfter <= 0 {
		return nil
	}
	k.archive.mu.Lock()
	segments := k.archive.segments
	k.archive.mu.Unlock()
	for _, e := range segments {
		r, err := k.archive.open(ctx, e)
		if err != nil {
			return err
		}
		if time.Since(r.Footer().LastTime) < k.archive.config.ThinAfter {
			return nil
		}
		if !r.Header().Thinned {
			return k.thinOne(ctx, e, r)
		}
	}
	return nil
}

func (k *Keeper) thinOne(ctx context.Context, e *entry, r *segment.Reader) error {
	facet := events.Observed
	patterns := segment.Patterns(events.Query{Facet: &facet})
	last, err := r.LastRevisions(patterns, e.last)
	if err != nil {
		return err
	}
	header := r.Header()
	header.Thinned = true
	_, err = k.write(ctx, func(segment.Footer) string { return e.name }, header, func(w *segment.Writer) error {
		if err := w.Copy(r); err != nil {
			return err
		}
		var failed error
		err := r.Events(0, 0, func(raw events.Raw) bool {
			if newest, observed := last[raw.Subject]; observed && raw.Revision < newest && len(raw.Payload) > 0 && raw.Kept == nil {
				raw = raw.Without(nil)
			}
			failed = w.Event(raw)
			return failed == nil && ctx.Err() == nil
		})
		return cmp.Or(err, failed, ctx.Err())
	})
	if err != nil {
		return fmt.Errorf("thinning %s: %w", e.name, err)
	}
	k.archive.mu.Lock()
	defer k.archive.mu.Unlock()
	k.archive.letGo(e)
	return nil
}
