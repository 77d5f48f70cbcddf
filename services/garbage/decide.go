package garbage

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/owned"
)

var nodesKind = events.GroupResource{Resource: "nodes"}

// Decide says what becomes of one object, as an owner if it is being deleted, as a dependent otherwise.
func (g *Garbage) Decide(in runner.Input) runner.Decision {
	if in.Key == allFinished {
		return g.trim(in)
	}
	o, ok := in.State.Get(in.Key)
	if !ok {
		return runner.Decision{}
	}
	m := o.Meta()
	switch {
	case m.GetDeletionTimestamp() == nil && len(m.GetOwnerReferences()) > 0:
		if p, ok := judge(in, o); ok {
			return runner.Decision{Each: []events.Proposal{p}}
		}
	case m.GetDeletionTimestamp() != nil && slices.Contains(m.GetFinalizers(), metav1.FinalizerOrphanDependents):
		return orphan(in, o)
	case isForeground(m):
		return foreground(in, o)
	}
	if nodeMissing(in.State, o) {
		return withoutNode(in, o)
	}
	return runner.Decision{}
}

// judge decides on a dependent by the standing of its owners.
func judge(in runner.Input, o *events.Object) (events.Proposal, bool) {
	var stay, gone []metav1.OwnerReference
	var anyWaiting bool
	var cause runner.Cause // what asked for the decision, unless an owner is known
	for _, reference := range o.Meta().GetOwnerReferences() {
		ref, standing := find(in.State, o, reference)
		if standing == solid {
			stay = append(stay, reference)
			continue
		}
		gone = append(gone, reference)
		anyWaiting = anyWaiting || standing == waiting
		if owner := in.State.Slot(ref); owner != nil && owner.UID() == string(reference.UID) {
			cause = causeOf(owner)
		}
	}
	var p events.Proposal
	switch {
	case len(gone) == 0:
		return p, false
	case len(stay) > 0:
		p = owned.Edit(o, OwnerForgotten, "metadata.ownerReferences", func(m metav1.Object) { m.SetOwnerReferences(stay) })
	default:
		policy := metav1.DeletePropagationBackground
		if anyWaiting && len(dependents(in.State, o)) > 0 {
			policy = metav1.DeletePropagationForeground
		}
		var ok bool
		if p, ok = owned.Delete(o, policy, in.Now); !ok {
			return p, false
		}
	}
	p.Cause, p.Correlation = cause.Revision, cause.Correlation
	return p, true
}

// causeOf names the last thing that was said about an owner: that it ended, or is to end.
func causeOf(owner *events.Object) runner.Cause {
	e := owner.Facet(events.Desired)
	return runner.Cause{Revision: e.Revision, Correlation: e.Chain()}
}

// foreground deletes the dependents that block o, and lets o go when there are none left.
func foreground(in runner.Input, o *events.Object) runner.Decision {
	var d runner.Decision
	blocked := false
	for dependent := range in.State.Indexed(events.ByOwner, o.UID()) {
		if !blocks(dependent, o.UID()) {
			continue
		}
		blocked = true
		if dependent.Meta().GetDeletionTimestamp() != nil || len(d.Each) >= maxGroup {
			continue
		}
		if p, ok := judge(in, dependent); ok {
			d.Each = append(d.Each, p)
		}
	}
	if !blocked {
		d.Each = append(d.Each, letGo(o, metav1.FinalizerDeleteDependents))
	}
	return d
}

func blocks(dependent *events.Object, owner string) bool {
	return slices.ContainsFunc(dependent.Meta().GetOwnerReferences(), func(r metav1.OwnerReference) bool {
		return string(r.UID) == owner && r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion
	})
}

// orphan makes dependents forget o, and lets o go when none names it any more.
func orphan(in runner.Input, o *events.Object) runner.Decision {
	var d runner.Decision
	for dependent := range in.State.Indexed(events.ByOwner, o.UID()) {
		if len(d.Each) >= maxGroup {
			break
		}
		d.Each = append(d.Each, owned.Edit(dependent, OwnerForgotten, "metadata.ownerReferences", func(m metav1.Object) {
			m.SetOwnerReferences(slices.DeleteFunc(m.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return string(r.UID) == o.UID() }))
		}))
	}
	if len(d.Each) == 0 {
		d.Each = append(d.Each, letGo(o, metav1.FinalizerOrphanDependents))
	}
	return d
}

func letGo(o *events.Object, finalizer string) events.Proposal {
	return owned.Edit(o, FinalizerRemoved, "metadata.finalizers", func(m metav1.Object) {
		m.SetFinalizers(slices.DeleteFunc(m.GetFinalizers(), func(f string) bool { return f == finalizer }))
	})
}

// nodeMissing says that o is a pod on a node that doesn't exist.
func nodeMissing(state *events.State, o *events.Object) bool {
	pod, ok := o.Typed().(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" {
		return false
	}
	_, exists := state.Get(events.Ref{Resource: "nodes", Name: pod.Spec.NodeName})
	return !exists
}

// withoutNode removes a pod whose node has been gone for nodeGrace: nobody is left to say that it has ended.
func withoutNode(in runner.Input, o *events.Object) runner.Decision {
	since := o.Facet(events.Desired).At
	node := in.State.Slot(events.Ref{Resource: "nodes", Name: o.Typed().(*corev1.Pod).Spec.NodeName})
	if node != nil && node.Facet(events.Desired).At.After(since) {
		since = node.Facet(events.Desired).At
	}
	if due := since.Add(nodeGrace); in.Now.Before(due) {
		return runner.Decision{Again: due}
	}
	if len(o.Meta().GetFinalizers()) > 0 {
		if p, ok := owned.Delete(o, metav1.DeletePropagationBackground, in.Now); ok {
			return runner.Decision{Each: []events.Proposal{p}}
		}
		return runner.Decision{}
	}
	p := events.Remove(o, "PodDeleted").With(events.Note{Reason: "DeletionByPodGC", Warning: true,
		Message: "PodGC: node " + o.Typed().(*corev1.Pod).Spec.NodeName + " no longer exists"})
	if node != nil {
		cause := causeOf(node)
		p.Cause, p.Correlation = cause.Revision, cause.Correlation
	}
	return runner.Decision{Each: []events.Proposal{p}}
}

// trim deletes the oldest of too many finished pods.
func (g *Garbage) trim(in runner.Input) runner.Decision {
	excess := min(len(g.finished)-g.maxFinished, maxGroup)
	if excess <= 0 {
		return runner.Decision{}
	}
	oldest := slices.SortedFunc(maps.Keys(g.finished), func(a, b events.Ref) int {
		return cmp.Or(g.finished[a].Compare(g.finished[b]), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	var d runner.Decision
	for _, ref := range oldest[:excess] {
		o, ok := in.State.Get(ref)
		if !ok {
			continue
		}
		if p, ok := owned.Delete(o, metav1.DeletePropagationBackground, in.Now); ok {
			d.Each = append(d.Each, p)
		}
	}
	return d
}
