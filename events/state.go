package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
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
	indexes  map[Index]*tree
	notes    *noteShelf
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
	s := &State{registry: registry, tables: map[GroupResource]table{}, indexes: map[Index]*tree{}, owner: new(owner)}
	s.notes = &noteShelf{owner: s.owner}
	for index := range indexers {
		s.indexes[index] = &tree{owner: s.owner}
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
	return &State{registry: s.registry, revision: s.revision, stored: s.stored, tables: maps.Clone(s.tables),
		indexes: maps.Clone(s.indexes), notes: s.notes, owner: new(owner)}
}

// Advance notes that the state holds up to revision, though that event changed nothing (it was set aside).
func (s *State) Advance(revision Revision) { s.revision = max(s.revision, revision) }

// Apply folds e. The error says why it can't be; then s holds as if e had not been, but for its revision.
func (s *State) Apply(e Event) ([]Change, error) {
	s.Advance(e.Revision)
	s.stored = e.Stored
	kind, ok := s.registry.ByStorage(e.Ref.Group, e.Ref.Resource)
	if !ok {
		return nil, unknownKind(&e)
	}
	t := s.writable(e.Ref.GroupResource())
	key := tableKey(e.Ref.Namespace, e.Ref.Name)
	old, live := t.live.Get(key)
	if !live {
		old, _ = t.gone.Get(key)
	}
	if old == nil {
		old = &Object{Ref: e.Ref, Kind: kind}
	}
	updated, err := old.with(&e)
	if err != nil {
		return nil, fmt.Errorf("event %d: %w", e.Revision, err)
	}
	change := Change{Revision: e.Revision, Event: &e}
	if live {
		change.Old = old
	}
	if updated.Live() {
		change.New = updated
		t.live.Set(key, updated)
		t.gone.Delete(key)
	} else {
		t.gone.Set(key, updated)
		t.live.Delete(key)
	}
	var changes []Change
	if change.Old != nil || change.New != nil {
		s.reindex(change)
		if !change.stale() {
			changes = append(changes, change)
		}
	}
	if e.Note != nil {
		changes = append(changes, s.applyNote(&e)...)
	}
	return changes, nil
}

func tableKey(namespace, name string) string { return namespace + "\x00" + name }

func (s *State) writable(gr GroupResource) table {
	t, ok := s.tables[gr]
	if !ok {
		t = table{live: &tree{owner: s.owner}, gone: &tree{owner: s.owner}}
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
	return t.live.Get(tableKey(ref.Namespace, ref.Name))
}

// Slot returns what is known under ref, live or gone, for its guards; nil if there never was anything.
func (s *State) Slot(ref Ref) *Object {
	if o, ok := s.Get(ref); ok {
		return o
	}
	if t, ok := s.tables[ref.GroupResource()]; ok {
		o, _ := t.gone.Get(tableKey(ref.Namespace, ref.Name))
		return o
	}
	return nil
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
		t.live.Ascend(pivot, func(key string, o *Object) bool {
			return strings.HasPrefix(key, prefix) && yield(o)
		})
	}
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

// Hash identifies the state: two States with equal hashes hold the same facets of the same objects at the same revisions.
func (s *State) Hash() string {
	h := sha256.New()
	for _, gr := range s.Resources() {
		for o := range s.All(gr, "") {
			for f := range facets {
				e := o.Facet(f)
				if e == nil || o.IsNote() {
					continue
				}
				fmt.Fprintf(h, "%s\n", Subject(f, o.Ref))
				_ = binary.Write(h, binary.BigEndian, e.Revision)
				h.Write(e.Payload)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
