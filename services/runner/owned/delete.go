package owned

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

// Delete proposes what a request to delete o means, whatever its kind: a tombstone if nothing holds it, else the mark of its deletion,
// for its node or its finalizers to act on. The types are <Kind>Deleted and <Kind>DeletionRequested. False: that has been asked already.
func Delete(o *events.Object, policy metav1.DeletionPropagation, now time.Time) (events.Proposal, bool) {
	deletion, err := o.Kind.PrepareDelete(&schemas.Write{Namespace: o.Ref.Namespace, Name: o.Ref.Name, Now: now.Truncate(time.Second)}, o.Typed(),
		&metav1.DeleteOptions{PropagationPolicy: &policy})
	switch {
	case err != nil:
		panic(fmt.Errorf("deleting %s, which is in the ledger as it is: %w", o.Ref, err))
	case deletion.Remove:
		return events.Remove(o, o.Kind.KindName+"Deleted"), true
	case !deletion.Changed:
		return events.Proposal{}, false
	}
	unassign(o, deletion.Object)
	return events.Alter(o, deletion.Object, o.Kind.KindName+"DeletionRequested", "metadata.deletionTimestamp"), true
}

// Edit proposes that o become what change makes of a copy of its metadata. An object that is being deleted and that nothing holds any
// more ends with that.
func Edit(o *events.Object, eventType, path string, change func(metav1.Object)) events.Proposal {
	typed, meta := edit(o)
	change(meta)
	if o.Kind.Removable(typed) {
		return events.Remove(o, o.Kind.KindName+"Deleted")
	}
	unassign(o, typed)
	return events.Alter(o, typed, eventType, path)
}

// unassign keeps what the scheduler decided about o out of what is desired.
func unassign(o *events.Object, typed runtime.Object) {
	if o.Facet(events.Assigned) != nil {
		o.Kind.Unassign(typed)
	}
}
