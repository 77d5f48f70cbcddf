package events

import (
	"cmp"
	"runtime"
	"slices"
	"sync"

	"github.com/wakehq/wake/schemas"
)

// unread is what a State holds of an object that nobody has looked at yet.
type unread struct {
	Object // its facets, nothing decoded
	once   sync.Once
	read   *Object
}

// notRead returns an object of facets that is decoded when it is read.
func notRead(from *Object, f [facets]*Event) *Object {
	u := &unread{Object: Object{Ref: from.Ref, Kind: from.Kind, facets: f}}
	u.unread = u
	return &u.Object
}

// read returns o decoded; every object passes through it before it is handed out. What can't be decoded is left out as if it had been set aside; without its
// desired facet the object is not there. It may be called by many goroutines.
func (o *Object) read() *Object {
	if o == nil || o.unread == nil {
		return o
	}
	u := o.unread
	u.once.Do(func() {
		read, err := newObject(o.Ref, o.Kind, o.facets)
		if err != nil {
			read, _ = salvage(&Object{Ref: o.Ref, Kind: o.Kind}, o.given())
		}
		u.read = read
	})
	return u.read
}

// given returns the events that o is made of, in order.
func (o *Object) given() []*Event {
	given := slices.DeleteFunc(slices.Clone(o.facets[:]), func(e *Event) bool { return e == nil })
	slices.SortFunc(given, func(a, b *Event) int { return cmp.Compare(a.Revision, b.Revision) })
	return given
}

// salvage folds events onto o one by one, but for those that can't be decoded.
func salvage(o *Object, all []*Event) (_ *Object, aside []SetAside) {
	for _, e := range all {
		if next, err := o.with(e); err == nil {
			o = next
		} else {
			aside = append(aside, setAside(e, err))
		}
	}
	return o, aside
}

// inParallel calls f for each of all, on all processors if they are many.
func inParallel[T any](all []T, f func(T)) {
	const few = 64
	var workers sync.WaitGroup
	defer workers.Wait()
	for chunk := range slices.Chunk(all, max(few, len(all)/(4*runtime.GOMAXPROCS(0))+1)) {
		if len(all) <= few {
			each(chunk, f)
			return
		}
		workers.Go(func() { each(chunk, f) })
	}
}

func each[T any](all []T, f func(T)) {
	for _, t := range all {
		f(t)
	}
}

// LoadLazily is Load for a State of which little will be looked at: objects are decoded when they are first handed out, and indexes built when they are first
// asked for. So nothing is set aside for not being decodable: such a facet is as if it had been, once its object is looked at; until then Count, Resources and
// Hash take it for good. Many goroutines may read the State, as any.
func (s *State) LoadLazily(all []*Event, recent Recent) (aside []SetAside) {
	slots, aside := s.slots(all)
	fresh := len(s.tables) == 0
	for i := range slots {
		slot := &slots[i]
		at := place{table: s.writable(slot.Ref.GroupResource()), key: tableKey(slot.Ref.Namespace, slot.Ref.Name)}
		f := slot.facets
		if !fresh {
			if at = s.find(slot.Ref); at.held != nil {
				f = at.held.facets
				for facet, e := range slot.facets {
					if e != nil {
						f[facet] = e
					}
				}
			}
		}
		s.put(at, notRead(slot, f))
	}
	if len(all) > 0 {
		s.lazy = true
		for i := range indexes {
			s.forgetIndex(i)
		}
	}
	s.loadNotes(all, recent)
	return aside
}

// slots files events under the objects that they are about: the last of each facet counts. What is about a kind that s doesn't know is set aside.
func (s *State) slots(all []*Event) (slots []Object, aside []SetAside) {
	byRef := make(map[Ref]int, len(all)/2)
	slots = make([]Object, 0, len(all)/2)
	var kind *schemas.Kind
	var of GroupResource // that kind
	for _, e := range all {
		s.reach(e)
		i, known := byRef[e.Ref]
		if !known {
			if gr := e.Ref.GroupResource(); kind == nil || gr != of {
				var ok bool
				if kind, ok = s.registry.ByStorage(gr.Group, gr.Resource); !ok {
					aside = append(aside, setAside(e, unknownKind(e)))
					continue
				}
				of = gr
			}
			i = len(slots)
			byRef[e.Ref] = i
			slots = append(slots, Object{Ref: e.Ref, Kind: kind})
		}
		slots[i].facets[e.Facet] = e
	}
	return slots, aside
}
