package restore

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
)

// latecomers are what is to be pruned: it is selected now and wasn't there then.
func (p *planner) latecomers() (late []*events.Object) {
	if !p.Prune {
		return nil
	}
	var present []*events.Object
	switch {
	case len(p.Refs) > 0: // what is named by itself was there
	case p.Namespace != "":
		present = inNamespace(p.Present, p.Namespace)
	default:
		present = p.matching(p.Present)
	}
	for _, now := range present {
		_, was := p.Past.Get(now.Ref)
		_, made := makerOf(p.Present, now)
		owned := len(now.Meta().GetOwnerReferences()) > 0
		if was || made || owned || claimed(now) || furnished(now) || now.Ref.Name == "default" && now.Kind.KindName == "ServiceAccount" || now.Meta().GetDeletionTimestamp() != nil {
			continue
		}
		late = append(late, now)
		p.ending[types.UID(now.UID())] = true
	}
	return late
}

// remove proposes that an object end, as a user would ask for it.
func (p *planner) remove(now *events.Object) Step {
	s := Step{Ref: now.Ref, Kind: now.Kind.KindName, Action: Delete, Reason: "it came later"}
	deletion, err := now.Kind.PrepareDelete(p.write(now.Ref), now.Typed(), &metav1.DeleteOptions{})
	if err != nil {
		s.Action, s.Reason = Blocked, err.Error()
		return s
	}
	var proposal events.Proposal
	if deletion.Remove {
		proposal = events.Remove(now, now.Kind.KindName+"Deleted")
	} else {
		desired := deletion.Object.DeepCopyObject()
		if now.Facet(events.Assigned) != nil {
			now.Kind.Unassign(desired)
		}
		proposal = events.Alter(now, desired, now.Kind.KindName+"DeletionRequested", "metadata.deletionTimestamp")
	}
	becauseOf(&proposal, now)
	s.proposal = &proposal
	return s
}
