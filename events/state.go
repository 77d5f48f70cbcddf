package events

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/btree"

	"github.com/wakehq/wake/schemas"
)

// State is the cluster at a revision: the fold of all events up to it. Apply changes it in place; a Fork is independent and costs the same however large the
// State is. A State that no Apply is called on may be read by many goroutines.
type State struct {
	registry *schemas.Registry
	revision Revision
	stored   time.Time
	tables   map[GroupResource]table
	indexes  [indexes]*index
	notes    *noteShelf
	sum      atomic.Pointer[sum] // of all facets; nil until somebody asks
	scratch  []byte              // to digest facets in
	lazy     bool                // there may be objects that are not decoded
	owner    *owner
}

// owner marks the trees that a State alone holds. Whatever carries another mark is shared with a fork and copied before it is written.
type owner struct{ _ byte }

// tree is an ordered map that is copied on write.
type tree struct {
	btree.Map[string, *Object]
	owner   *owner
	copying sync.Mutex // Copy marks the original too, and several forks may copy it at once
}

// writable returns t if o owns it, else a copy that o owns.
func (t *tree) writable(o *owner) *tree {
	if t.owner == o {
		return t
	}
	t.copying.Lock()
	defer t.copying.Unlock()
	return &tree{Map: *t.Copy(), owner: o}
}

// table holds the objects of one kind by "namespace\x00name".
type table struct {
	live, gone *tree
}

// Change is what one event did to one object. Old is nil for a new object, New for one that is gone.
type Change struct {
	Revision Revision
	Event    *Event
	Old, New *Object
}

// stale says that the event was about an earlier object of the same name: only what the next one has to expect has changed.
func (c *Change) stale() bool {
	return c.Old != nil && c.New != nil && c.Event.UID != c.New.UID()
}

// Ref names the object that changed.
func (c *Change) Ref() Ref {
	if c.New != nil {
		return c.New.Ref
	}
	return c.Old.Ref
}

// NewState returns the state before the first event.
func NewState(registry *schemas.Registry) *State {
	s := &State{registry: registry, tables: map[GroupResource]table{}, owner: new(owner)}
	s.notes = &noteShelf{owner: s.owner}
	for i := range s.indexes {
		s.indexes[i] = &index{}
		s.indexes[i].built.Store(&tree{owner: s.owner})
	}
	return s
}

// Revision returns the revision up to which s was folded.
func (s *State) Revision() Revision { return s.revision }

// Time returns when the last event folded was stored.
func (s *State) Time() time.Time { return s.stored }

// Registry returns the kinds that s knows.
func (s *State) Registry() *schemas.Registry { return s.registry }

// Fork returns an independent copy.
func (s *State) Fork() *State {
	s.owner = new(owner)
	fork := &State{registry: s.registry, revision: s.revision, stored: s.stored, tables: maps.Clone(s.tables), indexes: s.indexes, notes: s.notes, lazy: s.lazy, owner: new(owner)}
	fork.sum.Store(s.sum.Load())
	return fork
}

// Advance notes that the state holds up to revision, though that event changed nothing (it was set aside).
func (s *State) Advance(revision Revision) { s.revision = max(s.revision, revision) }

// reach notes that s holds up to e.
func (s *State) reach(e *Event) {
	if e.Revision >= s.revision {
		s.revision, s.stored = e.Revision, e.Stored
	}
}

// Apply folds e. The error says why it can't be; then s holds as if e had not been, but for its revision.
func (s *State) Apply(e Event) (changes []Change, err error) {
	err = s.apply(&e, func(c Change) { changes = append(changes, c) })
	return changes, err
}

// apply folds e, which it keeps, and tells what that changes.
func (s *State) apply(e *Event, changed func(Change)) error {
	s.reach(e)
	kind, ok := s.registry.ByStorage(e.Ref.Group, e.Ref.Resource)
	if !ok {
		return unknownKind(e)
	}
	at := s.find(e.Ref)
	old := at.held.read()
	if old == nil {
		old = &Object{Ref: e.Ref, Kind: kind}
	}
	updated, err := old.with(e)
	if err != nil {
		return fmt.Errorf("event %d: %w", e.Revision, err)
	}
	s.put(at, updated)
	change := Change{Revision: e.Revision, Event: e}
	if old.Live() {
		change.Old = old
	}
	if updated.Live() {
		change.New = updated
	}
	if change.Old != nil || change.New != nil {
		s.reindex(change.Old, change.New)
		if !change.stale() {
			changed(change)
		}
	}
	if e.Note != nil {
		s.applyNote(e, changed)
	}
	return nil
}

// place is where an object is or may be put.
type place struct {
	table table
	key   string
	held  *Object // nil if nothing was ever there
	live  bool    // held is among the live ones
}

// find returns the place of ref, in a table that may be changed.
func (s *State) find(ref Ref) place {
	p := place{table: s.writable(ref.GroupResource()), key: tableKey(ref.Namespace, ref.Name)}
	if p.held, p.live = p.table.live.Get(p.key); !p.live {
		p.held, _ = p.table.gone.Get(p.key)
	}
	return p
}

// put makes o what is at p.
func (s *State) put(p place, o *Object) {
	if p.held == nil && o.nothing() {
		return
	}
	s.recount(p.held, o)
	to, from := p.table.gone, p.table.live
	if o.exists() {
		to, from = from, to
	}
	to.Set(p.key, o)
	if p.held != nil && p.live != o.exists() {
		from.Delete(p.key)
	}
}

func tableKey(namespace, name string) string { return namespace + "\x00" + name }

func (s *State) writable(gr GroupResource) table {
	t, ok := s.tables[gr]
	if !ok {
		t = table{live: &tree{owner: s.owner}, gone: &tree{owner: s.owner}}
	} else if t.live.owner == s.owner && t.gone.owner == s.owner {
		return t
	}
	t = table{live: t.live.writable(s.owner), gone: t.gone.writable(s.owner)}
	s.tables[gr] = t
	return t
}

// Get returns the object that ref names, if it exists.
func (s *State) Get(ref Ref) (*Object, bool) {
	t, ok := s.tables[ref.GroupResource()]
	if !ok {
		return nil, false
	}
	o, ok := t.live.Get(tableKey(ref.Namespace, ref.Name))
	if o = o.read(); !ok || !o.Live() {
		return nil, false
	}
	return o, true
}

// Slot returns what is known under ref, live or gone, for its guards; nil if there never was anything.
func (s *State) Slot(ref Ref) *Object {
	t, ok := s.tables[ref.GroupResource()]
	if !ok {
		return nil
	}
	key := tableKey(ref.Namespace, ref.Name)
	o, ok := t.live.Get(key)
	if !ok {
		o, _ = t.gone.Get(key)
	}
	if o = o.read(); o.nothing() {
		return nil
	}
	return o
}

// List gives the objects of a kind in a namespace ("" for all), ordered by namespace and name, beginning after the given
// position (empty: at the first).
func (s *State) List(gr GroupResource, namespace string, afterNamespace, afterName string) iter.Seq[*Object] {
	return func(yield func(*Object) bool) {
		t, ok := s.tables[gr]
		if !ok {
			return
		}
		pivot, prefix := "", ""
		if namespace != "" {
			prefix = namespace + "\x00"
			pivot = prefix
		}
		if after := tableKey(afterNamespace, afterName); after != "\x00" {
			pivot = after + "\x00"
		}
		listed := func(yield func(*Object) bool) {
			t.live.Ascend(pivot, func(key string, o *Object) bool {
				return strings.HasPrefix(key, prefix) && yield(o)
			})
		}
		if s.lazy {
			readAhead(listed, yield)
		} else {
			listed(yield)
		}
	}
}

// readAhead has what is listed of a lazily loaded State decoded on all processors, in ever larger steps: whoever takes one object doesn't wait for many.
func readAhead(all iter.Seq[*Object], yield func(*Object) bool) {
	const most = 1024
	step := make([]*Object, 0, 8)
	give := func() bool {
		inParallel(step, func(o *Object) { o.read() })
		for _, o := range step {
			if o = o.read(); o.Live() && !yield(o) {
				return false
			}
		}
		step = make([]*Object, 0, min(4*cap(step), most))
		return true
	}
	for o := range all {
		if step = append(step, o); len(step) == cap(step) && !give() {
			return
		}
	}
	give()
}

// All gives every object of a kind in a namespace ("" for all).
func (s *State) All(gr GroupResource, namespace string) iter.Seq[*Object] {
	return s.List(gr, namespace, "", "")
}

// Count returns how many objects of a kind exist.
func (s *State) Count(gr GroupResource) int {
	if t, ok := s.tables[gr]; ok {
		return t.live.Len()
	}
	return 0
}

// Resources lists the kinds of which there are objects, in a stable order.
func (s *State) Resources() []GroupResource {
	var out []GroupResource
	for gr, t := range s.tables {
		if t.live.Len() > 0 {
			out = append(out, gr)
		}
	}
	slices.SortFunc(out, func(a, b GroupResource) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// String gives "pods", or "deployments.apps".
func (gr GroupResource) String() string {
	if gr.Group == "" {
		return gr.Resource
	}
	return gr.Resource + "." + gr.Group
}
