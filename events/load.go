package events

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
)

// part is an object that is being loaded.
type part struct {
	base   *Object // what there was under its name; nil if nothing
	slot   Object  // with the facets that it gets, nothing decoded
	all    []*Event
	object *Object
	aside  []SetAside
}

// Load folds events, given in order, into a State: what applying them one by one comes to, but each object is decoded once, and on all processors. So an
// event that another of its facet follows is not looked at, and not set aside if it can't be decoded. It returns what had to be set aside. The notes shown are those of
// recent, and of events outside of its window. Load keeps the events.
func (s *State) Load(all []*Event, recent Recent) (aside []SetAside) {
	l := loader{state: s, parts: make([]*part, 0, len(all)/2), byRef: make(map[Ref]*part, len(all)/2)}
	for _, e := range all {
		l.add(e)
	}
	return l.finish(recent)
}

// loader is a Load whose events come one after the other.
type loader struct {
	state *State
	byRef map[Ref]*part
	parts []*part // in the order in which they first came up
	noted []*Event
	aside []SetAside
}

// add files e under its object.
func (l *loader) add(e *Event) {
	s := l.state
	s.reach(e)
	p, known := l.byRef[e.Ref]
	if !known {
		kind, ok := s.registry.ByStorage(e.Ref.Group, e.Ref.Resource)
		if !ok {
			l.aside = append(l.aside, setAside(e, unknownKind(e)))
			return
		}
		p = &part{slot: Object{Ref: e.Ref, Kind: kind}}
		if len(s.tables) > 0 {
			if p.base = s.Slot(e.Ref); p.base != nil {
				p.slot.facets = p.base.facets
			}
		}
		l.byRef[e.Ref] = p
		l.parts = append(l.parts, p)
	}
	p.slot.facets[e.Facet] = e
	p.all = append(p.all, e)
	if e.Note != nil {
		l.noted = append(l.noted, e)
	}
}

// finish decodes the objects and puts them where they belong: each tree is filled by one goroutine.
func (l *loader) finish(recent Recent) []SetAside {
	s := l.state
	inParallel(l.parts, (*part).decode)
	var fillers sync.WaitGroup
	fillers.Go(func() {
		for _, p := range l.parts {
			s.put(s.find(p.slot.Ref), p.object)
			l.aside = append(l.aside, p.aside...)
		}
	})
	for i := range indexes {
		fillers.Go(func() {
			for _, p := range l.parts {
				s.refile(i, p.base, p.object)
			}
		})
	}
	fillers.Wait()
	s.loadNotes(l.noted, recent)
	return l.aside
}

func unknownKind(e *Event) error {
	return fmt.Errorf("event %d is about a %s, a kind that this wake does not know", e.Revision, e.Ref.GroupResource())
}

func (p *part) decode() {
	var err error
	if p.base != nil && len(p.all) == 1 {
		p.object, err = p.base.with(p.all[0])
	} else {
		p.object, err = newObject(p.slot.Ref, p.slot.Kind, p.slot.facets)
	}
	if err == nil {
		return
	}
	base := p.base
	if base == nil {
		base = &Object{Ref: p.slot.Ref, Kind: p.slot.Kind}
	}
	p.object, p.aside = salvage(base, p.all)
}

// noteWindow is how many of the ledger's newest events are searched for notes when the present is loaded: most that carry one have been
// followed by another event of their facet since.
const noteWindow = 10_000

// Recent is the events with notes among all from First to Last. The zero Recent is an empty window.
type Recent struct {
	First, Last Revision
	Noted       []Event
}

// Noter is a Ledger that finds notes without reading all of the events around them.
type Noter interface {
	// Notes returns the newest events with notes up to a revision, without their payloads; as many as a State shows, if there are.
	Notes(ctx context.Context, at Revision) (Recent, error)
}

// ReadNotes reads the notes of a ledger's newest events up to a revision: from what a Noter keeps of them, or among the last 10,000 events. Error: the ledger can't
// be read; as notes are for people, a state can be had without.
func ReadNotes(ctx context.Context, ledger Ledger, at Revision) (Recent, error) {
	if at == 0 {
		return Recent{}, nil
	}
	if noter, ok := ledger.(Noter); ok {
		return noter.Notes(ctx, at)
	}
	r := Recent{First: 1, Last: at}
	if at > noteWindow {
		r.First = at - noteWindow + 1
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
		s.applyNote(e, func(Change) {})
	}
}
