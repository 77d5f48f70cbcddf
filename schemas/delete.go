package schemas

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"
)

// Deletion is what asking for an object's deletion comes to.
type Deletion struct {
	Object  runtime.Object // in the storage version, marked: deletionTimestamp, grace period, finalizers
	Changed bool           // Object differs from what is stored; false when it was being deleted already
	Remove  bool           // nothing holds the object back: it is to be removed now
}

// PrepareDelete works out what deleting obj, which is what is stored, means: pods that run get their grace period, finalizers (those that the
// propagation policy asks for included) hold the object, and a namespace is held by what it contains. Preconditions are checked. Options may
// be nil.
func (k *Kind) PrepareDelete(w *Write, obj runtime.Object, options *metav1.DeleteOptions) (Deletion, error) {
	options = ptr.To(ptr.Deref(options, metav1.DeleteOptions{}))
	internal, err := k.internal(obj)
	if err != nil {
		return Deletion{}, err
	}
	m, err := meta.Accessor(internal)
	if err != nil {
		return Deletion{}, err
	}
	before := m.GetDeletionTimestamp()
	ctx, _ := k.context(w, "delete", "")
	graceful, pending, err := rest.BeforeDelete(k.create, ctx, internal, options)
	if err != nil {
		return Deletion{}, err
	}
	if pending {
		return Deletion{Object: obj}, nil
	}
	if graceful && before == nil {
		m.SetDeletionTimestamp(ptr.To(w.after(*options.GracePeriodSeconds)))
	}
	var policy rest.GarbageCollectionPolicy
	if s, ok := k.create.(rest.GarbageCollectionDeleteStrategy); ok {
		policy = s.DefaultGarbageCollectionPolicy(ctx)
	}
	finalizers := deletionFinalizers(m.GetFinalizers(), policy, options)
	changed := !slices.Equal(finalizers, m.GetFinalizers())
	m.SetFinalizers(finalizers)
	out, err := k.external(internal)
	if err != nil {
		return Deletion{}, err
	}
	if graceful && ptr.Deref(options.GracePeriodSeconds, 0) > 0 {
		return Deletion{Object: out, Changed: true}, nil
	}
	held := len(finalizers) > 0 || k.Storage.held != nil && k.Storage.held(out)
	if before == nil && held {
		mark(w, out.(metav1.Object), graceful)
		changed = true
	}
	if k.Storage.complete != nil {
		k.Storage.complete(out)
	}
	return Deletion{Object: out, Changed: changed || graceful, Remove: !held}, nil
}

// mark notes that an object which something still holds is being deleted. A graceful deletion has counted the generation already.
func mark(w *Write, m metav1.Object, graceful bool) {
	if m.GetGeneration() > 0 && !graceful {
		m.SetGeneration(m.GetGeneration() + 1)
	}
	m.SetDeletionTimestamp(ptr.To(w.after(0)))
	m.SetDeletionGracePeriodSeconds(ptr.To[int64](0))
}

// Removable says that obj, in the storage version, is being deleted and nothing holds it any more. Asked after an update, which may have taken
// the last finalizer away.
func (k *Kind) Removable(obj runtime.Object) bool {
	m := obj.(metav1.Object)
	return m.GetDeletionTimestamp() != nil && ptr.Deref(m.GetDeletionGracePeriodSeconds(), 0) == 0 && len(m.GetFinalizers()) == 0 &&
		(k.Storage.held == nil || !k.Storage.held(obj))
}

// deletionFinalizers replaces the two finalizers by which the garbage collector is told what to do with dependents.
func deletionFinalizers(finalizers []string, policy rest.GarbageCollectionPolicy, options *metav1.DeleteOptions) []string {
	wanted := propagation(finalizers, policy, options)
	out := slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool {
		return f != wanted && (f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents)
	})
	if wanted != "" && !slices.Contains(out, wanted) {
		out = append(out, wanted)
	}
	return out
}

// propagation returns the finalizer that stands for the deletion's policy, empty for background. Options come first, then what an earlier request
// asked for, then the kind's habit.
func propagation(finalizers []string, policy rest.GarbageCollectionPolicy, options *metav1.DeleteOptions) string {
	orphan := options.OrphanDependents
	switch {
	case policy == rest.Unsupported:
		return ""
	case orphan != nil && *orphan:
		return metav1.FinalizerOrphanDependents
	case orphan != nil:
		return ""
	case options.PropagationPolicy != nil:
		return map[metav1.DeletionPropagation]string{
			metav1.DeletePropagationOrphan:     metav1.FinalizerOrphanDependents,
			metav1.DeletePropagationForeground: metav1.FinalizerDeleteDependents,
		}[*options.PropagationPolicy]
	}
	for _, f := range finalizers {
		if f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents {
			return f
		}
	}
	if policy == rest.OrphanDependents {
		return metav1.FinalizerOrphanDependents
	}
	return ""
}
