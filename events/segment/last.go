package segment

import (
	"cmp"
	"maps"
	"slices"

	"github.com/wakehq/wake/events"
)

// LastOf returns the last event on each subject that one of patterns matches, as of a revision that isn't before Base, ordered by revision. One that was thinned is
// passed over: the one before it that is whole stands for it.
func (r *Reader) LastOf(patterns []string, at events.Revision) ([]events.Raw, error) {
	var out []events.Raw
	err := lasts(r, patterns, at, nil, func(list []events.Raw) []events.Raw { return list }, func(list []events.Raw) bool {
		out = append(out, list...)
		return true
	})
	slices.SortFunc(out, func(a, b events.Raw) int { return cmp.Compare(a.Revision, b.Revision) })
	return out, err
}

// LastBatches gives what LastOf returns, decoded, in no order, and but for subjects that skip says (nil: none), until yield returns false. skip is called
// from several goroutines.
func (r *Reader) LastBatches(patterns []string, at events.Revision, skip func(subject string) bool, yield func(events.Batch) bool) error {
	return lasts(r, patterns, at, skip, decoded, yield)
}

// part is what a block comes to.
type part[T any] struct {
	converted T
	thinned   []string // subjects
}

// lasts gives what convert makes of the last events, on several goroutines.
func lasts[T any](r *Reader, patterns []string, at events.Revision, skip func(string) bool, convert func([]events.Raw) T, yield func(T) bool) error {
	last, err := r.LastRevisions(patterns, at)
	if err != nil {
		return err
	}
	wanted := make([]events.Revision, 0, len(last))
	for subject, revision := range last {
		if skip == nil || !skip(subject) {
			wanted = append(wanted, revision)
		}
	}
	slices.Sort(wanted)
	picks, err := r.picks(wanted)
	if err != nil {
		return err
	}
	thinned, more := map[string]bool{}, true
	err = ahead(picks, func(p pick) (part[T], error) { return pickWhole(r, p, convert) }, func(p part[T]) bool {
		for _, subject := range p.thinned {
			thinned[subject] = true
		}
		more = yield(p.converted)
		return more
	})
	if err != nil || !more {
		return err
	}
	if len(thinned) > 0 {
		whole, err := r.lastWhole(patterns, at, thinned)
		if err != nil || !yield(convert(whole)) {
			return err
		}
	}
	match := newMatcher(patterns)
	return ahead(merged(r.states, match.prefixes), func(b block) (out T, _ error) {
		records, err := r.records(b)
		kept := records[:0]
		for i := range records {
			subject := records[i].Subject
			if _, superseded := last[subject]; match.matches(subject) && (!superseded || thinned[subject]) && (skip == nil || !skip(subject)) {
				kept = append(kept, records[i])
			}
		}
		return convert(slim(kept, int(b.count))), err
	}, yield)
}

// pickWhole takes those of p that weren't thinned.
func pickWhole[T any](r *Reader, p pick, convert func([]events.Raw) T) (out part[T], _ error) {
	records, err := r.picked(p)
	whole := records[:0]
	for i := range records {
		if thin(&records[i]) {
			out.thinned = append(out.thinned, records[i].Subject)
		} else {
			whole = append(whole, records[i])
		}
	}
	out.converted = convert(whole)
	return out, err
}

// lastWhole returns the last events up to at of subjects that weren't thinned, and takes those off subjects of which there is one.
func (r *Reader) lastWhole(patterns []string, at events.Revision, subjects map[string]bool) ([]events.Raw, error) {
	var revisions []events.Revision
	err := r.eachPosting(patterns, 0, at, func(subject string, all []events.Revision) {
		if subjects[subject] {
			revisions = append(revisions, all...)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(revisions)
	last := map[string]events.Raw{}
	err = r.Pick(revisions, func(e events.Raw) bool {
		if !thin(&e) {
			last[e.Subject] = own(e)
			delete(subjects, e.Subject)
		}
		return true
	})
	return slices.Collect(maps.Values(last)), err
}

// thin says that an archive dropped the payload of e.
func thin(e *events.Raw) bool { return e.Kept != nil && len(e.Payload) == 0 }
