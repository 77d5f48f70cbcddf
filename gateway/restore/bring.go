package restore

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
)

// Restored ends the type of an event that brings an object back: DeploymentRestored.
const Restored = "Restored"

// bring says what makes an object what it was.
func (p *planner) bring(was *events.Object) Step {
	s := Step{Ref: was.Ref, Kind: was.Kind.KindName}
	if reason := p.homeless(was); reason != "" {
		s.Action, s.Reason = Blocked, reason
		return s
	}
	now, live := p.Present.Get(was.Ref)
	var err error
	switch {
	case !live:
		err = p.recreate(&s, was)
	case now.Meta().GetDeletionTimestamp() != nil:
		s.Action, s.Reason = Blocked, "it is still being deleted: restore it when it is gone"
	default:
		err = p.changeBack(&s, was, now)
	}
	if err != nil {
		s.Action, s.Reason, s.Changes, s.proposal = Blocked, err.Error(), nil, nil
	}
	return s
}

// homeless says why nothing can be put into the namespace of an object; empty if it can.
func (p *planner) homeless(o *events.Object) string {
	if !o.Kind.Namespaced {
		return ""
	}
	home := events.Ref{Resource: "namespaces", Name: o.Ref.Namespace}
	now, ok := p.Present.Get(home)
	switch {
	case !ok && !p.creating[home]:
		return fmt.Sprintf("its namespace is gone: restore namespace/%s", home.Name)
	case ok && now.Meta().GetDeletionTimestamp() != nil:
		return fmt.Sprintf("the namespace %s is being deleted: restore it when it is gone", home.Name)
	}
	return ""
}

// recreate proposes that an object come into being again.
func (p *planner) recreate(s *Step, was *events.Object) error {
	target, m := draftOf(was)
	m.SetFinalizers(nil)
	m.SetGeneration(0)
	m.SetResourceVersion("")
	owners, lost := p.owners(was)
	m.SetOwnerReferences(owners)
	m.SetAnnotations(withoutKept(m.GetAnnotations()))
	reasons := lost
	if service, ok := target.(*corev1.Service); ok {
		reasons = append(reasons, p.taken.yield(service)...)
	}
	forget(target)
	write, uid := p.write(was.Ref), p.uids[types.UID(was.UID())]
	write.NewUID = func() types.UID { return uid }
	created, _, err := was.Kind.PrepareCreate(write, target)
	if err != nil {
		return err
	}
	proposal := events.Create(p.Present, created, was.Kind.KindName+Restored)
	if gone := p.Present.Slot(was.Ref); gone != nil {
		becauseOf(&proposal, gone)
	}
	s.Action, s.Reason = Create, strings.Join(reasons, "; ")
	p.propose(s, proposal)
	return nil
}

// changeBack proposes that an object become what it was, if it isn't.
func (p *planner) changeBack(s *Step, was, now *events.Object) error {
	target, m := draftOf(was)
	n := now.Meta()
	m.SetUID(n.GetUID())
	m.SetResourceVersion(n.GetResourceVersion())
	m.SetCreationTimestamp(n.GetCreationTimestamp())
	m.SetGeneration(n.GetGeneration())
	m.SetFinalizers(slices.Clone(n.GetFinalizers()))
	owners, lost := p.owners(was)
	m.SetOwnerReferences(owners)
	m.SetAnnotations(keptFrom(n.GetAnnotations(), m.GetAnnotations()))
	m.SetManagedFields(append(m.GetManagedFields(), ofStatus(n.GetManagedFields())...))
	reasons := slices.Concat(lost, p.inherit(target, now.Typed()))
	was.Kind.SetStatus(target, now.Typed().DeepCopyObject())
	updated, _, err := was.Kind.PrepareUpdate(p.write(was.Ref), target, now.Typed())
	if err != nil {
		return err
	}
	changes, paths, err := differences(now.Typed(), updated)
	if err != nil {
		return err
	}
	if s.Action = Unchanged; len(changes) == 0 {
		return nil
	}
	desired := updated
	if now.Facet(events.Assigned) != nil {
		desired = updated.DeepCopyObject()
		now.Kind.Unassign(desired)
	}
	proposal := events.Alter(now, desired, was.Kind.KindName+Restored, paths...)
	becauseOf(&proposal, now)
	s.Action, s.Changes, s.Reason = Change, changes, strings.Join(reasons, "; ")
	p.propose(s, proposal)
	return nil
}

// propose adds the proposal and the note that tells of it.
func (p *planner) propose(s *Step, proposal events.Proposal) {
	proposal = proposal.With(events.Note{Reason: Restored, Message: fmt.Sprintf("Restored as it was at revision %d", p.plan.At)})
	s.proposal = &proposal
}

// becauseOf makes the event that deleted or changed an object last the cause of what undoes it.
func becauseOf(proposal *events.Proposal, o *events.Object) {
	if last := o.Facet(events.Desired); last != nil {
		proposal.Cause, proposal.Correlation = last.Revision, last.Chain()
	}
}

// draftOf returns what was as a user could send it: without deletion marks, status' field managers and the node that the scheduler chose.
func draftOf(was *events.Object) (runtime.Object, metav1.Object) {
	target := was.Typed().DeepCopyObject()
	if was.Facet(events.Assigned) != nil {
		was.Kind.Unassign(target)
	}
	m := target.(metav1.Object)
	m.SetDeletionTimestamp(nil)
	m.SetDeletionGracePeriodSeconds(nil)
	m.SetManagedFields(slices.DeleteFunc(m.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool { return e.Subresource == "status" }))
	return target, m
}

func ofStatus(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	return slices.DeleteFunc(slices.Clone(entries), func(e metav1.ManagedFieldsEntry) bool { return e.Subresource != "status" })
}

// owners returns an object's owner references as they are to be: to the owners that are there, under their present UIDs. It tells of those that
// are left out: a reference to an owner that is gone would be the object's end.
func (p *planner) owners(was *events.Object) (kept []metav1.OwnerReference, lost []string) {
	for _, owner := range was.Meta().GetOwnerReferences() {
		ref, known := p.ownerRef(&owner, was.Ref.Namespace)
		now, live := p.Present.Get(ref)
		uid, coming := p.uids[owner.UID]
		switch {
		case !known: // nobody can say that it is gone
		case coming:
			owner.UID = uid
		case live && !p.ending[types.UID(now.UID())]:
			owner.UID = types.UID(now.UID())
		default:
			lost = append(lost, fmt.Sprintf("without its owner %s %s, which is gone", owner.Kind, owner.Name))
			continue
		}
		kept = append(kept, owner)
	}
	return kept, lost
}

// keptAnnotations are written by controllers about what they do now.
var keptAnnotations = []string{"deployment.kubernetes.io/revision", "deployment.kubernetes.io/revision-history", "deployment.kubernetes.io/desired-replicas",
	"deployment.kubernetes.io/max-replicas", corev1.EndpointsOverCapacity, "endpoints.kubernetes.io/last-change-trigger-time"}

func withoutKept(annotations map[string]string) map[string]string {
	out := maps.Clone(annotations)
	for _, key := range keptAnnotations {
		delete(out, key)
	}
	return out
}

// keptFrom returns the annotations of then, but those that controllers write as they are now.
func keptFrom(now, then map[string]string) map[string]string {
	out := withoutKept(then)
	for _, key := range keptAnnotations {
		if value, ok := now[key]; ok {
			if out == nil {
				out = map[string]string{}
			}
			out[key] = value
		}
	}
	return out
}
