package events

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// part is an object that is being loaded.
type part struct {
	slot   Object // what Load begins with: facets, nothing decoded
	object *Object
	err    error
}

// Load folds events into a State that holds nothing yet: what applying them one by one comes to, but each object is decoded once, and on
// all processors. It returns what had to be set aside. The notes shown are those of recent, and of events outside of its window.
func (s *State) Load(all []*Event, recent Recent) (aside []SetAside) {
	parts, aside := s.gather(all)
	decode(parts)
	for _, p := range parts {
		if p.err != nil {
			aside = append(aside, s.applyEach(p)...)
			continue
		}
		s.insert(p.object)
	}
	s.loadNotes(all, recent)
	return aside
}

// gather files events under their objects, in the order in which the objects first come up.
func (s *State) gather(all []*Event) (parts []*part, aside []SetAside) {
	byRef := make(map[Ref]*part, len(all))
	for _, e := range all {
		s.Advance(e.Revision)
		s.stored = e.Stored
		p, known := byRef[e.Ref]
		if !known {
			kind, ok := s.registry.ByStorage(e.Ref.Group, e.Ref.Resource)
			if !ok {
				aside = append(aside, setAside(e, unknownKind(e)))
				continue
			}
			p = &part{slot: Object{Ref: e.Ref, Kind: kind}}
			byRef[e.Ref] = p
			parts = append(parts, p)
		}
		p.slot.facets[e.Facet] = e
	}
	return parts, aside
}

func unknownKind(e *Event) error {
	return fmt.Errorf("event %d is about a %s, a kind that this wake does not know", e.Revision, e.Ref.GroupResource())
}

func decode(parts []*part) {
	var workers sync.WaitGroup
	for chunk := range slices.Chunk(parts, len(parts)/runtime.GOMAXPROCS(0)+1) {
		workers.Go(func() {
			for _, p := range chunk {
				p.object, p.err = newObject(p.slot.Ref, p.slot.Kind, p.slot.facets)
			}
		})
	}
	workers.Wait()
}

// applyEach finds out which facet of a part can't be decoded, and applies the others.
func (s *State) applyEach(p *part) (aside []SetAside) {
	given := slices.DeleteFunc(slices.Clone(p.slot.facets[:]), func(e *Event) bool { return e == nil })
	slices.SortFunc(given, func(a, b *Event) int { return cmp.Compare(a.Revision, b.Revision) })
	revision, stored := s.revision, s.stored
	for _, e := range given {
		plain := *e
		plain.Note = nil // told by loadNotes
		if _, err := s.Apply(plain); err != nil {
			aside = append(aside, setAside(e, err))
		}
	}
	s.revision, s.stored = revision, stored
	return aside
}

func (s *State) insert(o *Object) {
	t, key := s.writable(o.Ref.GroupResource()), tableKey(o.Ref.Namespace, o.Ref.Name)
	if !o.Live() {
		t.gone.Set(key, o)
		return
	}
	t.live.Set(key, o)
	s.reindex(Change{New: o})
}

// noteWindow is how many of the ledger's newest events are searched for notes when the present is loaded: most that carry one have been
// followed by another event of their facet since.
const noteWindow = 10_000

// Recent is the events with notes among all from First to Last. The zero Recent is an empty window.
type Recent struct {
	First, Last Revision
	Noted       []Event
}

// ReadRecent reads the notes of a ledger's newest events.
func ReadRecent(ctx context.Context, ledger Ledger) (Recent, error) {
	last, _, err := ledger.Last(ctx)
	if err != nil || last == 0 {
		return Recent{}, err
	}
	r := Recent{First: 1, Last: last}
	if last > noteWindow {
		r.First = last - noteWindow + 1
	}
	return r, ledger.Read(ctx, Query{From: r.First, To: r.Last}, func(e Event) bool {
		if e.Note != nil {
			e.Payload = nil
			r.Noted = append(r.Noted, e)
		}
		return true
	})
}

// loadNotes shows the newest notes, in order.
func (s *State) loadNotes(all []*Event, recent Recent) {
	noted := make([]*Event, 0, len(recent.Noted))
	for i := range recent.Noted {
		noted = append(noted, &recent.Noted[i])
	}
	for _, e := range all {
		if e.Note != nil && (e.Revision < recent.First || e.Revision > recent.Last) {
			noted = append(noted, e)
		}
	}
	slices.SortStableFunc(noted, func(a, b *Event) int { return cmp.Compare(a.Revision, b.Revision) })
	for _, e := range noted[max(0, len(noted)-maxNotes):] {
		s.applyNote(e)
	}
}
