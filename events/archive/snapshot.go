package archive

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/segment"
)

// maxNotes bounds how many notes a snapshot has: as many as a events.State shows.
const maxNotes = 10_000

// keptSnapshots is how many are kept: the one before the newest may be about to be read.
const keptSnapshots = 2

// lasts is the last event of each facet, and the notes, of a run of events.
type lasts struct {
	bySubject map[string]events.Raw
	noted     []events.Raw
}

func newLasts() *lasts { return &lasts{bySubject: map[string]events.Raw{}} }

func (l *lasts) add(r events.Raw) {
	l.bySubject[r.Subject] = r
	if r.Get(events.HeaderNote) != "" {
		if len(r.Payload) > 0 {
			r = r.Without(nil)
		}
		l.noted = append(l.noted, r)
		l.noted = l.noted[max(0, len(l.noted)-maxNotes):]
	}
}

// writeSnapshot writes the state after events that last tells of; before has the state that they came upon, nil if there was none.
func (k *Keeper) writeSnapshot(ctx context.Context, before *segment.Reader, last *lasts, after segment.Footer) error {
	header := segment.Header{Cluster: k.archive.config.Cluster, Deciders: k.archive.config.Deciders, Base: after.Last, BaseTime: after.LastTime, Chain: after.Chain}
	forgotten, err := k.forget(ctx, before, last, &header)
	if err != nil {
		return err
	}
	// Only what the stream doesn't have any more may be forgotten: a guard of 0 must hold there.
	if len(forgotten) > 0 {
		if err := k.trimTo(ctx, header.Forgotten); err != nil {
			return err
		}
	}
	name := fmt.Sprintf(snapshotName, after.Last)
	_, err = k.write(ctx, func(segment.Footer) string { return name }, header, func(w *segment.Writer) error {
		return merge(w, before, last, forgotten)
	})
	if err != nil {
		return fmt.Errorf("writing a snapshot of revision %d: %w", after.Last, err)
	}
	k.archive.mu.Lock()
	k.archive.replaceSnapshot(&entry{name: name, base: after.Last, last: after.Last})
	k.archive.mu.Unlock()
	return k.dropSnapshots(ctx)
}

// forget returns the objects that ended so long ago that the state leaves them out, and sets header.Forgotten. What is old follows from the events, not from
// the time at which a segment is cut.
func (k *Keeper) forget(ctx context.Context, before *segment.Reader, last *lasts, header *segment.Header) (map[string]bool, error) {
	if before == nil {
		return nil, nil
	}
	header.Forgotten = before.Header().Forgotten
	outside, err := k.archive.outside(ctx, header.Base, header.BaseTime)
	if err != nil {
		return nil, err
	}
	to := min(outside, header.Base-min(header.Base, k.archive.config.TombstoneEvents), before.Header().Base)
	if to <= header.Forgotten {
		return nil, nil
	}
	header.Forgotten = to
	ended := map[string]bool{}
	facet := events.Desired
	err = before.StateOf(segment.Patterns(events.Query{Facet: &facet}), func(r events.Raw) bool {
		if r.Revision <= to && r.Get(events.HeaderTombstone) == "1" {
			ended[object(r.Subject)] = true
		}
		return true
	})
	if err != nil || len(ended) == 0 {
		return nil, err
	}
	// An object of which anything was heard later is remembered whole.
	err = before.State(func(r events.Raw) bool {
		if r.Revision > to {
			delete(ended, object(r.Subject))
		}
		return true
	})
	for subject := range last.bySubject {
		delete(ended, object(subject))
	}
	return ended, err
}

// object returns what the subjects of an object's facets have in common.
func object(subject string) string {
	_, rest, _ := strings.Cut(subject, ".")
	_, rest, _ = strings.Cut(rest, ".")
	return rest
}

// merge writes the state that before and the last events after it come to, ordered by subject, and the newest notes of both.
func merge(w *segment.Writer, before *segment.Reader, last *lasts, forgotten map[string]bool) error {
	changed := slices.Sorted(maps.Keys(last.bySubject))
	var failed error
	put := func(r events.Raw) bool {
		if failed == nil {
			failed = w.State(r)
		}
		return failed == nil
	}
	var notes []events.Raw
	if before != nil {
		err := before.State(func(r events.Raw) bool {
			for len(changed) > 0 && changed[0] < r.Subject && put(last.bySubject[changed[0]]) {
				changed = changed[1:]
			}
			if len(changed) > 0 && changed[0] == r.Subject {
				r, changed = last.bySubject[r.Subject], changed[1:]
			}
			return failed == nil && (forgotten[object(r.Subject)] || put(r))
		})
		if err != nil {
			return err
		}
		if err := before.Notes(func(r events.Raw) bool { notes = append(notes, r); return true }); err != nil {
			return err
		}
	}
	for _, subject := range changed {
		put(last.bySubject[subject])
	}
	notes = append(notes, last.noted...)
	for _, r := range notes[max(0, len(notes)-maxNotes):] {
		if failed == nil {
			failed = w.Note(r)
		}
	}
	return failed
}

// dropSnapshots removes those that nobody needs any more.
func (k *Keeper) dropSnapshots(ctx context.Context) error {
	names, err := k.archive.store.List(ctx)
	if err != nil {
		return err
	}
	var snapshots []string
	for _, name := range names {
		var revision events.Revision
		if _, err := fmt.Sscanf(name, snapshotName, &revision); err == nil && name == fmt.Sprintf(snapshotName, revision) {
			snapshots = append(snapshots, name)
		}
	}
	slices.Sort(snapshots)
	for _, name := range snapshots[:max(0, len(snapshots)-keptSnapshots)] {
		if err := k.archive.store.Remove(ctx, name); err != nil {
			return fmt.Errorf("removing a snapshot that a newer one replaces: %w", err)
		}
	}
	return nil
}
