package ledgerapi

import (
	"context"
	"slices"

	"github.com/wakehq/wake/events"
)

// fold goes through events in order and knows what each made of its object. It decodes only what somebody looks at: of the other objects it keeps the events.
type fold struct {
	api    *API
	from   events.Revision // what happened before is not noted one by one
	state  *events.State   // the objects that were looked at, as of then
	base   *events.State   // all objects before from; nil until there are many to ask for
	seeded map[events.Ref]bool
	later  map[events.Ref]*facets // what has happened to an object since state holds it
}

// facets are the last events of an object's facets; nil where there is none.
type facets [events.Observed + 1]*events.Event

// inOrder gives the events that there are, oldest first.
func (f *facets) inOrder() []*events.Event {
	given := slices.DeleteFunc(slices.Clone(f[:]), func(e *events.Event) bool { return e == nil })
	slices.SortFunc(given, func(a, b *events.Event) int { return int(a.Revision) - int(b.Revision) })
	return given
}

// foldFrom begins a fold at the event of revision from: every later event of the objects that it is asked about must be noted or stepped over.
func (a *API) foldFrom(from events.Revision) *fold {
	return &fold{api: a, from: max(from, 1), state: events.NewState(a.Registry), seeded: map[events.Ref]bool{}, later: map[events.Ref]*facets{}}
}

// note takes e in without looking at its object.
func (f *fold) note(e *events.Event) {
	slot, ok := f.later[e.Ref]
	if !ok {
		slot = &facets{}
		f.later[e.Ref] = slot
	}
	slot[e.Facet] = e
}

// step takes e in and returns its object as it was before and as it is after; nil where there is none.
func (f *fold) step(ctx context.Context, e *events.Event) (before, after *events.Object, err error) {
	if before, err = f.object(ctx, e.Ref); err != nil {
		return nil, nil, err
	}
	f.apply(e)
	return before, live(f.state.Slot(e.Ref)), nil
}

// object returns an object as it is after everything that was noted; nil if there is none.
func (f *fold) object(ctx context.Context, ref events.Ref) (*events.Object, error) {
	if err := f.seed(ctx, ref); err != nil {
		return nil, err
	}
	if slot, ok := f.later[ref]; ok {
		for _, e := range slot.inOrder() {
			f.apply(e)
		}
		delete(f.later, ref)
	}
	return live(f.state.Slot(ref)), nil
}

func live(o *events.Object) *events.Object {
	if o == nil || !o.Live() {
		return nil
	}
	return o
}

// apply folds e. An event that can't be folded changes nothing, here as in the view.
func (f *fold) apply(e *events.Event) {
	plain := *e
	plain.Note = nil // notes are told as events, not as objects
	_, _ = f.state.Apply(plain)
}

// singly is how many objects are rather read one by one than the whole cluster folded.
const singly = 32

// seed brings into state what ref was before the fold began.
func (f *fold) seed(ctx context.Context, ref events.Ref) (err error) {
	if f.seeded[ref] || f.from <= 1 {
		return nil
	}
	f.seeded[ref] = true
	if f.base == nil && len(f.seeded) > singly {
		if f.base, err = f.api.Past.StateAt(ctx, f.from-1); err != nil {
			return err
		}
	}
	if f.base == nil {
		return f.api.Ledger.Read(ctx, events.Query{To: f.from - 1, Ref: &ref, LastPerFacet: true}, func(e events.Event) bool {
			f.apply(&e)
			return true
		})
	}
	if o := live(f.base.Slot(ref)); o != nil && !o.IsNote() {
		held := facets{o.Facet(events.Desired), o.Facet(events.Assigned), o.Facet(events.Observed)}
		for _, e := range held.inOrder() {
			f.apply(e)
		}
	}
	return nil
}
