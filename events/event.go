package events

import (
	"fmt"
	"time"
)

// Revision is a position in the ledger: 1 for the first event. 0 stands for "none": no cause, no such facet yet.
type Revision = uint64

// Facet is the part of an object that an event states in full.
type Facet uint8

// The facets, each with one kind of writer: users and owning controllers; the scheduler; node agents and status controllers.
const (
	Desired Facet = iota
	Assigned
	Observed
	facets
)

var facetNames = [facets]string{"desired", "assigned", "observed"}

func (f Facet) String() string {
	if f < facets {
		return facetNames[f]
	}
	return fmt.Sprintf("facet(%d)", uint8(f))
}

// Ref names an object: Group is empty for the core group, Namespace for a cluster-scoped object. Resource is the plural of the
// storage version, as in a URL: "pods".
type Ref struct {
	Group, Resource, Namespace, Name string
}

// GroupResource is the kind of thing a Ref names.
type GroupResource struct{ Group, Resource string }

// GroupResource returns r's group and resource.
func (r Ref) GroupResource() GroupResource { return GroupResource{r.Group, r.Resource} }

// String gives "deployments.apps/default/web", or "nodes/n1" for a cluster-scoped object of the core group.
func (r Ref) String() string {
	s := r.Resource
	if r.Group != "" {
		s += "." + r.Group
	}
	if r.Namespace != "" {
		s += "/" + r.Namespace
	}
	return s + "/" + r.Name
}

// SchemaVersion is the version of the event format that this code writes. Events of a newer one are set aside.
const SchemaVersion = 1

// Event is one fact. Everything but Revision and Stored is chosen by the writer.
type Event struct {
	Revision Revision  // given by the ledger
	Stored   time.Time // when the ledger took it, by the broker's clock

	Facet     Facet
	Ref       Ref
	UID       string // of the object; a Tombstone's is that of the object that ended
	Type      string // what happened, past tense: PodCreated, PodBound
	Tombstone bool   // the object is gone; only on Desired
	Payload   []byte // the facet: see schemas.Kind.EncodeDesired and EncodeStatus, and Placement for Assigned

	Actor       string    // who did it: "user:kubernetes-admin", "service:scheduler", "node:n1"
	Key         string    // what a service was deciding on: the key that its decider was given
	Cause       Revision  // the event that triggered this one
	Correlation Revision  // the first event of the chain of causes; 0 when this one begins it
	Basis       Revision  // the state on which it was decided
	At          time.Time // the time that the decision took as now, to the millisecond
	Changed     []string  // field paths, when an existing facet changed: "spec.replicas"
	Schema      int       // SchemaVersion of the writer
	Note        *Note     // for people
	ID          string    // unique to the append, so that a writer knows its own event again after a lost acknowledgement
}

// Chain returns the correlation that an event caused by e carries.
func (e *Event) Chain() Revision {
	if e.Correlation != 0 {
		return e.Correlation
	}
	return e.Revision
}

// Note is a fact's human side. The view shows it as a Kubernetes Event about the object, so that "kubectl describe" tells the story.
type Note struct {
	Reason  string // UpperCamelCase
	Message string // one line
	Warning bool
	About   *Ref   // the object it is told of when that isn't the event's own
	AboutID string // that object's UID
}

// Proposal is an event that a writer wants in the ledger, and the guard under which it may enter: the revision of the last event of the same
// facet, 0 if there must be none.
type Proposal struct {
	Event
	Expect Revision
}
