package events

import (
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
)

// Index names an index over all objects of a State.
type Index uint8

const (
	// ByOwner files an object under the UID of each of its owner references.
	ByOwner Index = iota
	// ByNode files a pod under the name of the node it is on; pods without a node under "".
	ByNode
	indexes
)

// index is an index of a State and of those forks that have not changed it since. It may be built only when it is first asked for.
type index struct {
	built    atomic.Pointer[tree]
	building sync.Mutex
	owner    *owner // who may go on without a copy; nil once it is built
}

// keys adds under what i files o.
func (i Index) keys(o *Object, to []string) []string {
	if o == nil || o.meta == nil {
		return to
	}
	switch i {
	case ByOwner:
		for _, owner := range o.meta.GetOwnerReferences() {
			to = append(to, string(owner.UID))
		}
	case ByNode:
		if pod, ok := o.typed.(*corev1.Pod); ok {
			to = append(to, pod.Spec.NodeName)
		}
	}
	return to
}

// Indexed gives the objects filed under key, ordered by kind, namespace and name.
func (s *State) Indexed(index Index, key string) iter.Seq[*Object] {
	return func(yield func(*Object) bool) {
		prefix := key + "\x00"
		s.index(index).Ascend(prefix, func(k string, o *Object) bool {
			return strings.HasPrefix(k, prefix) && yield(o)
		})
	}
}

// index returns the tree of i, and builds it if that hasn't been done.
func (s *State) index(i Index) *tree {
	x := s.indexes[i]
	if t := x.built.Load(); t != nil {
		return t
	}
	x.building.Lock()
	defer x.building.Unlock()
	if t := x.built.Load(); t != nil {
		return t
	}
	t := s.buildIndex(i)
	x.built.Store(t)
	return t
}

func (s *State) buildIndex(i Index) *tree {
	var all []*Object
	for gr, of := range s.tables {
		if i == ByNode && gr != (GroupResource{Resource: "pods"}) {
			continue
		}
		all = slices.Grow(all, of.live.Len())
		of.live.Scan(func(_ string, o *Object) bool {
			all = append(all, o)
			return true
		})
	}
	inParallel(all, func(o *Object) { o.read() })
	t := &tree{} // of no owner: whoever changes it makes a copy
	for _, o := range all {
		o = o.read()
		for _, key := range i.keys(o, nil) {
			t.Set(indexKey(key, o.Ref), o)
		}
	}
	return t
}

// reindex files updated where old was, either of which may be nil.
func (s *State) reindex(old, updated *Object) {
	for i := range indexes {
		s.refile(i, old, updated)
	}
}

func (s *State) refile(i Index, old, updated *Object) {
	var before, after [2]string // most objects are filed once
	filed, kept := i.keys(old, before[:0]), i.keys(updated, after[:0])
	if len(filed) == 0 && len(kept) == 0 {
		return
	}
	t := s.writableIndex(i)
	if t == nil {
		return
	}
	for _, key := range kept {
		t.Set(indexKey(key, updated.Ref), updated)
	}
	for _, key := range filed {
		if !slices.Contains(kept, key) {
			t.Delete(indexKey(key, old.Ref))
		}
	}
}

// writableIndex returns the tree of i to be changed, or nil if it isn't built: then it will be from what s holds when it is asked for.
func (s *State) writableIndex(i Index) *tree {
	built := s.indexes[i].built.Load()
	if built == nil {
		s.forgetIndex(i)
		return nil
	}
	t := built.writable(s.owner)
	if t != built {
		s.indexes[i] = &index{}
		s.indexes[i].built.Store(t)
	}
	return t
}

// forgetIndex makes i one that is not built.
func (s *State) forgetIndex(i Index) {
	if x := s.indexes[i]; x.owner != s.owner || x.built.Load() != nil {
		s.indexes[i] = &index{owner: s.owner}
	}
}

func indexKey(key string, r Ref) string {
	if r.Group == "" {
		return key + "\x00" + r.Resource + "\x00" + r.Namespace + "\x00" + r.Name
	}
	return key + "\x00" + r.Resource + "." + r.Group + "\x00" + r.Namespace + "\x00" + r.Name
}
