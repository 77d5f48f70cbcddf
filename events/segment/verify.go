package segment

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/wakehq/wake/events"
)

// Verify reads everything and checks that it is undamaged, in order and complete, and that the hash chain and the index are those of the events. The error is a
// *DamageError if the file is at fault.
func (r *Reader) Verify(ctx context.Context) error {
	if err := r.verifyState(ctx); err != nil {
		return err
	}
	chain, last, partial := r.header.Chain, r.header.Base, 0
	subjects := map[string][]events.Revision{}
	fault := ""
	err := r.Events(0, 0, func(e events.Raw) bool {
		if e.Revision != last+1 {
			fault = fmt.Sprintf("event %d follows %d", e.Revision, last)
			return false
		}
		last = e.Revision
		chain = chain.Link(e.Digest())
		if e.Kept != nil {
			partial++
		}
		subjects[e.Subject] = append(subjects[e.Subject], e.Revision)
		return ctx.Err() == nil
	})
	switch f := r.footer; {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case fault != "":
	case last != f.Last || int(last-r.header.Base) != f.Events || partial != f.Partial:
		fault = fmt.Sprintf("it holds events up to %d, it should up to %d", last, f.Last)
	case chain != f.Chain:
		fault = "the hash chain does not lead from its beginning to its end"
	}
	if fault != "" {
		return &DamageError{File: r.name, Block: "the events", First: r.header.Base + 1, Last: r.footer.Last, Reason: fault}
	}
	return r.verifyIndex(subjects)
}

func (r *Reader) verifyState(ctx context.Context) error {
	count, notes, subject, noted := 0, 0, "", events.Revision(0)
	sound := true
	err := r.State(func(e events.Raw) bool {
		sound = sound && (count == 0 || e.Subject > subject) && e.Revision <= r.header.Base
		subject = e.Subject
		count++
		return ctx.Err() == nil
	})
	if err != nil {
		return err
	}
	err = r.Notes(func(e events.Raw) bool {
		sound = sound && e.Revision > noted && e.Revision <= r.header.Base
		noted = e.Revision
		notes++
		return ctx.Err() == nil
	})
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case !sound || count != r.footer.Facets || notes != r.footer.Notes:
		return &DamageError{File: r.name, Block: "the state", Reason: "it is out of order or incomplete"}
	}
	return nil
}

// verifyIndex checks that the index tells of all events and of no others.
func (r *Reader) verifyIndex(subjects map[string][]events.Revision) error {
	told := 0
	for _, b := range r.index {
		told += int(b.count)
	}
	if told != len(subjects) {
		return r.damaged(block{kind: indexFrame}, fmt.Sprintf("it tells of %d subjects of %d", told, len(subjects)))
	}
	next := slices.Sorted(maps.Keys(subjects))
	for _, b := range r.index {
		raw, err := readBlock(r.file, r.name, b)
		if err != nil {
			return err
		}
		in := cursor{raw: raw}
		for range b.count {
			subject, revision := in.text(), r.header.Base
			sound := subject == next[0] && in.uvarint() == uint64(len(subjects[subject]))
			for _, want := range subjects[next[0]] {
				revision += in.uvarint()
				sound = sound && revision == want
			}
			if !sound || in.failed {
				return r.damaged(b, "it does not fit the events")
			}
			next = next[1:]
		}
	}
	return nil
}
