package events

import (
	"iter"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Index names an index over all objects of a State.
type Index uint8

const (
	// ByOwner files an object under the UID of each of its owner references.
	ByOwner Index = iota
	// ByNode files a pod under the name of the node it is on; pods without a node under "".
	ByNode
)

var indexers = map[Index]func(*Object, func(key string)){
	ByOwner: func(o *Object, file func(string)) {
		for _, owner := range o.meta.GetOwnerReferences() {
			file(string(owner.UID))
		}
	},
	ByNode: func(o *Object, file func(string)) {
		if pod, ok := o.typed.(*corev1.Pod); ok {
			file(pod.Spec.NodeName)
		}
	},
}

// Indexed gives the objects filed under key, ordered by kind, namespace and name.
func (s *State) Indexed(index Index, key string) iter.Seq[*Object] {
	return func(yield func(*Object) bool) {
		prefix := key + "\x00"
		s.indexes[index].Ascend(prefix, func(k string, o *Object) bool {
			return strings.HasPrefix(k, prefix) && yield(o)
		})
	}
}

func (s *State) reindex(c Change) {
	for index, file := range indexers {
		kept := make([]string, 0, 2) // most objects stay where they were filed
		if c.New != nil {
			file(c.New, func(key string) {
				kept = append(kept, key)
				s.writableIndex(index).Set(indexKey(key, c.New.Ref), c.New)
			})
		}
		if c.Old != nil {
			file(c.Old, func(key string) {
				if !slices.Contains(kept, key) {
					s.writableIndex(index).Delete(indexKey(key, c.Old.Ref))
				}
			})
		}
	}
}

func (s *State) writableIndex(index Index) *tree {
	s.indexes[index] = s.indexes[index].writable(s.owner)
	return s.indexes[index]
}

func indexKey(key string, r Ref) string {
	return key + "\x00" + r.GroupResource().String() + "\x00" + r.Namespace + "\x00" + r.Name
}
