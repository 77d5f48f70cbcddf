package events

import (
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
// all processors. It returns what had to be set aside. Of repeated notes only the newest are counted.
func (s *State) Load(all []Event) (aside []SetAside) {
	parts, aside := s.gather(all)
	decode(parts)
	for _, p := range parts {
		if p.err != nil {
			aside = append(aside, s.applyEach(p)...)
			continue
		}
		s.insert(p.object)
	}
	s.loadNotes(all)
	return aside
}

// gather files events under their objects, in the order in which the objects first come up.
func (s *State) gather(all []Event) (parts []*part, aside []SetAside) {
	byRef := make(map[Ref]*part, len(all))
	for i := range all {
		e := &all[i]
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
	slices.SortFunc(given, func(a, b *Event) int { return int(a.Revision) - int(b.Revision) })
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

func (s *State) loadNotes(all []Event) {
	noted := 0
	first := len(all)
	for first > 0 && noted < maxNotes {
		if first--; all[first].Note != nil {
			noted++
		}
	}
	for i := range all[first:] {
		if e := &all[first+i]; e.Note != nil {
			s.applyNote(e)
		}
	}
}
