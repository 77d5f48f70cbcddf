package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/segment"
)

// Defaults of a Config.
const (
	DefaultSegmentEvents   = 16_384
	DefaultTombstoneEvents = 1 << 20
	DefaultEvery           = time.Second
)

// maxOpen is how many segments are held open at most: each takes a file descriptor and its directory's memory.
const maxOpen = 128

// maxAttempts is how often something is tried that a keeper can thwart by being quicker.
const maxAttempts = 10

// Config says what an archive is of and how it is kept.
type Config struct {
	Cluster  string            // which cluster's ledger; an archive of another is refused
	Deciders map[string]string // the configuration of those who decide, for the segments' headers

	// The window that stays in the stream: what is older than KeepFor or has KeepEvents after it is trimmed off once it is archived, a segment at a time.
	// Zero sets no limit; with neither, all stays in the stream.
	KeepEvents uint64
	KeepFor    time.Duration

	ThinAfter       time.Duration // age from which on superseded observed events lose their payload in segments; 0 is never
	SegmentEvents   int           // events per segment, unless half of the number of facets is more; DefaultSegmentEvents if 0
	TombstoneEvents uint64        // how many events long an object that ended is remembered by the present, at least; DefaultTombstoneEvents if 0
	Every           time.Duration // how often the keeper looks; DefaultEvery if 0
}

// Archive is what a Store holds of a ledger. It may be used by many goroutines.
type Archive struct {
	store  Store
	config Config

	// horizon is up to where the stream may have been trimmed: it is raised before that happens.
	horizon atomic.Uint64
	appends sync.RWMutex // read while an append is under way that was checked against horizon

	mu       sync.Mutex
	segments []*entry // in order, without a gap
	snapshot *entry   // the newest; nil before the first
	opened   []*entry // whose readers are held, the longest used first
	failed   error    // the keeper's last failure, nil while it works
}

// entry is something in the store: the state as of base, and the events after it up to last.
type entry struct {
	name       string
	base, last events.Revision
	reader     *segment.Reader // nil until it is used; guarded by Archive.mu
}

const (
	segmentName  = "segment-%020d-%020d.wake"
	snapshotName = "snapshot-%020d.wake"
)

// Open opens the archive in store; an empty store is the archive of an empty ledger.
func Open(ctx context.Context, store Store, config Config) (*Archive, error) {
	config.SegmentEvents = cmp.Or(config.SegmentEvents, DefaultSegmentEvents)
	config.TombstoneEvents = cmp.Or(config.TombstoneEvents, DefaultTombstoneEvents)
	config.Every = cmp.Or(config.Every, DefaultEvery)
	a := &Archive{store: store, config: config}
	if err := a.refresh(ctx); err != nil {
		return nil, err
	}
	if newest := a.newest(); newest != nil {
		if _, err := a.open(ctx, newest); err != nil {
			return nil, fmt.Errorf("opening the archive: %w", err)
		}
	}
	return a, nil
}

// refresh looks what the store has: another process may keep it.
func (a *Archive) refresh(ctx context.Context) error {
	names, err := a.store.List(ctx)
	if err != nil {
		return fmt.Errorf("opening the archive: %w", err)
	}
	var segments []*entry
	var snapshot *entry
	for _, name := range names {
		e := &entry{name: name}
		if _, err := fmt.Sscanf(name, segmentName, &e.base, &e.last); err == nil && name == fmt.Sprintf(segmentName, e.base, e.last) {
			e.base--
			segments = append(segments, e)
		} else if _, err := fmt.Sscanf(name, snapshotName, &e.base); err == nil && name == fmt.Sprintf(snapshotName, e.base) {
			if e.last = e.base; snapshot == nil || snapshot.base < e.base {
				snapshot = e
			}
		}
	}
	slices.SortFunc(segments, func(a, b *entry) int { return cmp.Compare(a.base, b.base) })
	for i, e := range segments {
		switch {
		case e.last <= e.base:
			return fmt.Errorf("the archive in %s has the nonsensical %s", a.store, e.name)
		case i > 0 && e.base != segments[i-1].last:
			return fmt.Errorf("the archive in %s lacks revisions %d to %d, between %s and %s: put back the segments that were there",
				a.store, segments[i-1].last+1, e.base, segments[i-1].name, e.name)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	// Who reads on with an entry from before reads the same. A newest segment that is gone is not forgotten, or the ledger would have a gap without anybody noticing.
	if len(segments) > 0 && len(a.segments) > 0 && segments[len(segments)-1].last < a.segments[len(a.segments)-1].last || len(segments) == 0 && len(a.segments) > 0 {
		return fmt.Errorf("the archive in %s has lost its newest segments, there was %s: put them back", a.store, a.segments[len(a.segments)-1].name)
	}
	a.segments = reuse(segments, a.segments)
	if snapshot != nil && (a.snapshot == nil || a.snapshot.base != snapshot.base) {
		a.replaceSnapshot(snapshot)
	}
	return nil
}

// replaceSnapshot makes e the newest. The caller holds a.mu.
func (a *Archive) replaceSnapshot(e *entry) {
	if a.snapshot != nil {
		a.letGo(a.snapshot)
	}
	a.snapshot = e
}

// letGo forgets e's reader: its file is closed, and its space free if it was removed, once nobody reads it any more. The caller holds a.mu.
func (a *Archive) letGo(e *entry) {
	e.reader = nil
	a.opened = slices.DeleteFunc(a.opened, func(o *entry) bool { return o == e })
}

// reuse takes over entries that are known already, for their readers.
func reuse(found, known []*entry) []*entry {
	byName := map[string]*entry{}
	for _, e := range known {
		byName[e.name] = e
	}
	for i, e := range found {
		if k := byName[e.name]; k != nil {
			found[i] = k
		}
	}
	return found
}

// newest returns the last segment, nil if there is none.
func (a *Archive) newest() *entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.segments) == 0 {
		return nil
	}
	return a.segments[len(a.segments)-1]
}

// Bounds returns the first and the last revision in segments; 0, 0 if there are none.
func (a *Archive) Bounds() (first, last events.Revision) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.segments) == 0 {
		return 0, 0
	}
	return a.segments[0].base + 1, a.segments[len(a.segments)-1].last
}

// open returns a reader of e, and sees to it that it is what its name says.
func (a *Archive) open(ctx context.Context, e *entry) (*segment.Reader, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.reader != nil {
		return e.reader, nil
	}
	file, size, err := a.store.Open(ctx, e.name)
	if err != nil {
		return nil, fmt.Errorf("the archive in %s: %w", a.store, err)
	}
	r, err := segment.Open(file, size, a.store.String()+"/"+e.name)
	if err != nil {
		return nil, err
	}
	switch h := r.Header(); {
	case h.Cluster != a.config.Cluster:
		return nil, fmt.Errorf("%s is of the cluster %q, this is %q: give each cluster a directory of its own", r.Name(), h.Cluster, a.config.Cluster)
	case h.Base != e.base || r.Footer().Last != e.last:
		return nil, fmt.Errorf("%s has the events from %d to %d: it was renamed", r.Name(), h.Base+1, r.Footer().Last)
	}
	e.reader = r
	if a.opened = append(a.opened, e); len(a.opened) > maxOpen {
		a.letGo(a.opened[0])
	}
	return r, nil
}

// covering returns the segment that has the event at revision, nil if none has.
func (a *Archive) covering(revision events.Revision) *entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := sort.Search(len(a.segments), func(i int) bool { return a.segments[i].last >= revision })
	if i == len(a.segments) || a.segments[i].base >= revision {
		return nil
	}
	return a.segments[i]
}

// state returns a reader from which the state as of a revision can be told, and with little to fold if there is a choice.
func (a *Archive) state(ctx context.Context, at events.Revision) (*segment.Reader, error) {
	for attempt := 1; ; attempt++ {
		a.mu.Lock()
		e := a.snapshot
		a.mu.Unlock()
		if e == nil || e.base != at {
			e = a.covering(at)
			if next := a.covering(at + 1); next != nil && next.base == at {
				e = next
			}
		}
		if e == nil {
			return nil, fmt.Errorf("the state as of revision %d: %s: %w", at, a.where(), events.ErrTooOld)
		}
		r, err := a.open(ctx, e)
		var damage *segment.DamageError
		if segmentOf := a.covering(at); errors.As(err, &damage) && segmentOf != nil && segmentOf != e {
			return a.open(ctx, segmentOf) // it tells the same, with more to fold
		}
		if attempt == maxAttempts || !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
		if err := a.refresh(ctx); err != nil { // a newer snapshot took the place of the one that was to be opened
			return nil, err
		}
	}
}

// lastOf returns the last event on a subject as of a revision that the archive has; false if there is none.
func (a *Archive) lastOf(ctx context.Context, subject string, at events.Revision) (events.Raw, bool, error) {
	if at == 0 {
		return events.Raw{}, false, nil
	}
	r, err := a.state(ctx, at)
	if err != nil {
		return events.Raw{}, false, err
	}
	return r.Last(subject, at)
}

// lasts returns the last events as of a revision that the archive has, in no order (see segment.Reader.LastBatches).
func (a *Archive) lasts(ctx context.Context, patterns []string, at events.Revision, skip func(subject string) bool) (out events.Batch, _ error) {
	if at == 0 {
		return out, nil
	}
	r, err := a.state(ctx, at)
	if err != nil {
		return out, err
	}
	if patterns == nil { // all of it: what a state has grown by since its base mostly replaces what was there
		out.Events = make([]events.Event, 0, r.Footer().Facets+r.Footer().Facets/4)
	}
	err = r.LastBatches(patterns, at, skip, func(b events.Batch) bool {
		out.Events, out.SetAside = append(out.Events, b.Events...), append(out.SetAside, b.SetAside...)
		out.Revision = max(out.Revision, b.Revision)
		return ctx.Err() == nil
	})
	return out, cmp.Or(err, ctx.Err())
}

// each calls visit with the segments that have any of from to to, in order, until it returns false.
func (a *Archive) each(ctx context.Context, from, to events.Revision, visit func(*segment.Reader) (more bool, err error)) error {
	for from <= to {
		e := a.covering(from)
		if e == nil {
			return nil
		}
		r, err := a.open(ctx, e)
		if err != nil {
			return err
		}
		if more, err := visit(r); err != nil || !more {
			return err
		}
		from = e.last + 1
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// Each calls visit with all segments, in order.
func (a *Archive) Each(ctx context.Context, visit func(*segment.Reader) error) error {
	first, last := a.Bounds()
	return a.each(ctx, first, last, func(r *segment.Reader) (bool, error) { return true, visit(r) })
}

// revisionAt returns the last revision stored at or before t.
func (a *Archive) revisionAt(ctx context.Context, t time.Time) (events.Revision, error) {
	a.mu.Lock()
	segments := a.segments
	a.mu.Unlock()
	var failed error
	i := sort.Search(len(segments), func(i int) bool {
		r, err := a.open(ctx, segments[i])
		failed = cmp.Or(failed, err)
		return err != nil || r.Footer().LastTime.After(t)
	})
	if failed != nil || i == len(segments) {
		_, last := a.Bounds()
		return last, failed
	}
	r, err := a.open(ctx, segments[i])
	if err != nil {
		return 0, err
	}
	return r.RevisionAt(t)
}

// Verify reads all segments and checks that they are undamaged and that the hash chain leads through them. It returns the chain after the last of them. See
// segment.Reader.Verify for the error.
func (a *Archive) Verify(ctx context.Context) (chain events.Digest, last events.Revision, _ error) {
	first, end := a.Bounds()
	begin := first
	err := a.each(ctx, first, end, func(r *segment.Reader) (bool, error) {
		h := r.Header()
		if h.Base+1 != begin && h.Chain != chain || h.Base == 0 && h.Chain != (events.Digest{}) {
			return false, &segment.DamageError{File: r.Name(), Block: "its header", First: h.Base + 1, Last: r.Footer().Last,
				Reason: fmt.Sprintf("the hash chain up to revision %d is %s, the segments before come to %s", h.Base, h.Chain, chain)}
		}
		if err := r.Verify(ctx); err != nil {
			return false, err
		}
		chain, last = r.Footer().Chain, r.Footer().Last
		return true, nil
	})
	return chain, last, err
}

// Status tells how an archive is doing.
type Status struct {
	Where         string
	Segments      int
	First, Last   events.Revision // in segments
	Bytes         int64           // of segments and the newest snapshot
	BytesPerEvent float64         // of segments
	Snapshot      events.Revision // the newest; 0 if there is none
	Trimmed       events.Revision // up to where the stream may have been trimmed
	Failed        error           // why the keeper can't go on, nil while it works
}

// Status returns the archive's condition. It opens every segment: it is for people.
func (a *Archive) Status(ctx context.Context) (Status, error) {
	a.mu.Lock()
	s := Status{Where: a.store.String(), Segments: len(a.segments), Trimmed: a.horizon.Load(), Failed: a.failed}
	snapshot := a.snapshot
	a.mu.Unlock()
	s.First, s.Last = a.Bounds()
	err := a.each(ctx, s.First, s.Last, func(r *segment.Reader) (bool, error) {
		s.Bytes += r.Size()
		return true, nil
	})
	if s.Last > 0 {
		s.BytesPerEvent = float64(s.Bytes) / float64(s.Last-s.First+1)
	}
	if snapshot != nil {
		s.Snapshot = snapshot.base
		if r, openErr := a.open(ctx, snapshot); openErr != nil {
			err = errors.Join(err, openErr)
		} else {
			s.Bytes += r.Size()
		}
	}
	return s, err
}

// where names the segments that a gap lies between, for errors.
func (a *Archive) where() string {
	first, last := a.Bounds()
	if last == 0 {
		return fmt.Sprintf("the archive in %s is empty", a.store)
	}
	return strings.TrimSpace(fmt.Sprintf("the archive in %s has %d to %d", a.store, first, last))
}

// next returns the revision of the first event on subject after a revision if it has an ID, else 0.
func (a *Archive) next(ctx context.Context, subject string, after events.Revision, id string) (found events.Revision, _ error) {
	_, last := a.Bounds()
	err := a.each(ctx, after+1, last, func(r *segment.Reader) (bool, error) {
		revisions, err := r.Revisions([]string{subject}, after+1, 0)
		if err != nil || len(revisions) == 0 {
			return err == nil, err
		}
		return false, r.Pick(revisions[:1], func(e events.Raw) bool {
			if e.Get(events.HeaderID) == id {
				found = e.Revision
			}
			return false
		})
	})
	return found, err
}
