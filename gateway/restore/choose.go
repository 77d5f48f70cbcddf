package restore

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wakehq/wake/events"
)

// choose returns the objects of the past that are selected.
func (p *planner) choose() ([]*events.Object, error) {
	switch {
	case len(p.Refs) > 0:
		return p.chooseNamed()
	case p.Namespace != "":
		return p.chooseNamespace()
	}
	chosen := p.matching(p.Past)
	if len(chosen) == 0 && !p.Prune {
		return nil, &NotFoundError{fmt.Sprintf("no %s were there at revision %d that the selection names", p.Kind, p.Past.Revision())}
	}
	return p.withOwned(chosen), nil
}

func (p *planner) chooseNamed() ([]*events.Object, error) {
	var chosen []*events.Object
	for _, ref := range p.Refs {
		o, ok := p.Past.Get(ref)
		if !ok {
			return nil, &NotFoundError{p.absence(ref)}
		}
		chosen = append(chosen, o)
	}
	return p.withOwned(chosen), nil
}

// absence says why there is nothing under ref in the past.
func (p *planner) absence(ref events.Ref) string {
	reason := fmt.Sprintf("there was no %s at revision %d", ref, p.Past.Revision())
	if gone := p.Past.Slot(ref); gone != nil && gone.Facet(events.Desired) != nil {
		return reason + fmt.Sprintf(": event %d had ended it; choose a moment before that", gone.Facet(events.Desired).Revision)
	}
	if _, ok := p.Present.Get(ref); ok || p.Present.Slot(ref) != nil {
		return reason + ": it came later"
	}
	return reason
}

func (p *planner) chooseNamespace() ([]*events.Object, error) {
	ref := events.Ref{Resource: "namespaces", Name: p.Namespace}
	if now, ok := p.Present.Get(ref); ok && now.Meta().GetDeletionTimestamp() != nil {
		return nil, fmt.Errorf("the namespace %s is still being deleted, with %d objects left in it: restore it when it is gone", p.Namespace, len(inNamespace(p.Present, p.Namespace)))
	}
	o, ok := p.Past.Get(ref)
	if !ok {
		return nil, &NotFoundError{p.absence(ref)}
	}
	if o.Meta().GetDeletionTimestamp() != nil {
		return nil, &NotFoundError{fmt.Sprintf("the namespace %s was being deleted already at revision %d: choose an earlier moment (wake log namespace/%s)",
			p.Namespace, p.Past.Revision(), p.Namespace)}
	}
	return append([]*events.Object{o}, inNamespace(p.Past, p.Namespace)...), nil
}

// inNamespace returns what lies in a namespace, but for notes and Events.
func inNamespace(state *events.State, namespace string) []*events.Object {
	var out []*events.Object
	for _, gr := range state.Resources() {
		for o := range state.All(gr, namespace) {
			if o.Kind.Namespaced && o.Kind.KindName != "Event" {
				out = append(out, o)
			}
		}
	}
	return out
}

func (p *planner) matching(state *events.State) []*events.Object {
	selector := p.Labels
	if selector == nil {
		selector = labels.Everything()
	}
	var out []*events.Object
	for o := range state.All(p.Kind, p.In) {
		if selector.Matches(labels.Set(o.Meta().GetLabels())) && o.Kind.KindName != "Event" {
			out = append(out, o)
		}
	}
	return out
}

// withOwned adds what the chosen objects own, and what that owns, if that is asked for.
func (p *planner) withOwned(chosen []*events.Object) []*events.Object {
	if !p.Owned {
		return chosen
	}
	seen := map[events.Ref]bool{}
	for _, o := range chosen {
		seen[o.Ref] = true
	}
	for i := 0; i < len(chosen); i++ {
		for child := range p.Past.Indexed(events.ByOwner, chosen[i].UID()) {
			if !seen[child.Ref] {
				seen[child.Ref] = true
				chosen = append(chosen, child)
			}
		}
	}
	return chosen
}

// made says for a kind of owner which kinds its controller makes.
var made = map[string][]string{
	"Deployment": {"ReplicaSet"}, "ReplicaSet": {"Pod"}, "ReplicationController": {"Pod"}, "Job": {"Pod"}, "CronJob": {"Job"},
	"StatefulSet": {"Pod", "ControllerRevision"}, "DaemonSet": {"Pod", "ControllerRevision"}, "Service": {"EndpointSlice", "Endpoints"}, "Node": {"Lease"},
}

// leave says whether, and why, an object of the past is not brought back.
func (p *planner) leave(o *events.Object) (reason string, left bool) {
	if o.Meta().GetDeletionTimestamp() != nil {
		return "it was being deleted then", true
	}
	if maker, ok := makerOf(p.Past, o); ok && !p.Owned {
		return "left to " + maker, true
	}
	if claimed(o) {
		return "left to whoever needs it now: it is a claim", true
	}
	if furnished(o) {
		return "every namespace gets its own", true
	}
	if _, live := p.Present.Get(o.Ref); !live && !p.Rerun && (finished(o.Typed()) || p.finishedSince(o)) {
		return "it had run to its end, and would run again (--rerun)", true
	}
	return "", false
}

// makerOf names the controller that makes o again by itself.
func makerOf(state *events.State, o *events.Object) (string, bool) {
	kind := o.Kind.KindName
	if owner := metav1.GetControllerOfNoCopy(o.Meta()); owner != nil && slices.Contains(made[owner.Kind], kind) {
		return fmt.Sprintf("%s %s", owner.Kind, owner.Name), true
	}
	if kind != "Endpoints" {
		return "", false
	}
	o, ok := state.Get(events.Ref{Resource: "services", Namespace: o.Ref.Namespace, Name: o.Ref.Name})
	if !ok {
		return "", false
	}
	service, ok := o.Typed().(*corev1.Service)
	return "Service " + o.Ref.Name, ok && len(service.Spec.Selector) > 0
}

// claimed says that o is a claim, which is good only for whom it was given to.
func claimed(o *events.Object) bool {
	return o.Kind.KindName == "Lease" || o.Kind.KindName == "IPAddress"
}

// furnished says that o is what every namespace is given, as it is given.
func furnished(o *events.Object) bool {
	switch typed := o.Typed().(type) {
	case *corev1.ConfigMap:
		return typed.Name == "kube-root-ca.crt"
	case *corev1.ServiceAccount:
		return typed.Name == "default" && len(typed.Labels)+len(typed.Annotations)+len(typed.Secrets)+len(typed.ImagePullSecrets) == 0 &&
			typed.AutomountServiceAccountToken == nil
	}
	return false
}

// finished says that an object has run to its end.
func finished(obj runtime.Object) bool {
	switch typed := obj.(type) {
	case *batchv1.Job:
		return slices.ContainsFunc(typed.Status.Conditions, func(c batchv1.JobCondition) bool {
			return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
		})
	case *corev1.Pod:
		return typed.Status.Phase == corev1.PodSucceeded || typed.Status.Phase == corev1.PodFailed
	}
	return false
}

// finishedSince says that a Job which is gone ran to its end after the moment, by the last that was heard of it. Of a pod that says nothing: one that is
// deleted ends, too.
func (p *planner) finishedSince(o *events.Object) bool {
	gone := p.Present.Slot(o.Ref)
	if _, job := o.Typed().(*batchv1.Job); !job || gone == nil || gone.UID() != o.UID() || gone.Facet(events.Observed) == nil {
		return false
	}
	last, err := o.Kind.Decode(o.Facet(events.Desired).Payload, gone.Facet(events.Observed).Payload)
	return err == nil && finished(last)
}

// ownerRef returns the object that an owner reference of an object in a namespace means; false if its kind isn't known.
func (p *planner) ownerRef(owner *metav1.OwnerReference, namespace string) (events.Ref, bool) {
	gv, err := schema.ParseGroupVersion(owner.APIVersion)
	if err != nil {
		return events.Ref{}, false
	}
	kind, ok := p.Past.Registry().Kind(gv.WithKind(owner.Kind))
	if !ok {
		return events.Ref{}, false
	}
	ref := events.Ref{Group: kind.Storage.GroupVersion.Group, Resource: kind.Storage.Resource, Name: owner.Name}
	if kind.Namespaced {
		ref.Namespace = namespace
	}
	return ref, true
}
