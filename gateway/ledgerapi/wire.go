package ledgerapi

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wakehq/wake/events"
)

// Ref names an object.
type Ref struct {
	Group     string `json:"group,omitempty"`
	Resource  string `json:"resource"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// Note is an event's human side.
type Note struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Warning bool   `json:"warning,omitempty"`
}

// Event is an event of the ledger; see events.Event for what the fields say.
type Event struct {
	Revision    uint64    `json:"revision"`
	Stored      time.Time `json:"stored"`
	At          time.Time `json:"at"`
	Type        string    `json:"type"`
	Actor       string    `json:"actor"`
	Key         string    `json:"key,omitempty"`
	Cause       uint64    `json:"cause,omitempty"`
	Correlation uint64    `json:"correlation,omitempty"`
	Basis       uint64    `json:"basis,omitempty"`
	Changed     []string  `json:"changed,omitempty"`
	Facet       string    `json:"facet"`
	Ref         Ref       `json:"ref"`
	UID         string    `json:"uid"`
	Tombstone   bool      `json:"tombstone,omitempty"`
	Note        *Note     `json:"note,omitempty"`
	Routine     bool      `json:"routine,omitempty"` // see RoutineTypes

	Fields    []Field         `json:"fields,omitempty"`    // what it changed, on request: not of a deletion
	Placement json.RawMessage `json:"placement,omitempty"` // events.Placement, of an event that placed a pod
	Before    json.RawMessage `json:"before,omitempty"`    // the merged object before the event, if there was one
	Object    json.RawMessage `json:"object,omitempty"`    // and after it
}

// Object is an object of a past state.
type Object struct {
	Ref      Ref             `json:"ref"`
	Revision uint64          `json:"revision"`
	Object   json.RawMessage `json:"object"`
}

func wireRef(r events.Ref) Ref {
	return Ref{Group: r.Group, Resource: r.Resource, Namespace: r.Namespace, Name: r.Name}
}

func wireEvent(e *events.Event) Event {
	w := Event{Revision: e.Revision, Stored: e.Stored, At: e.At, Type: e.Type, Actor: e.Actor, Key: e.Key, Cause: e.Cause,
		Correlation: e.Correlation, Basis: e.Basis, Changed: e.Changed, Facet: e.Facet.String(), Ref: wireRef(e.Ref), UID: e.UID, Tombstone: e.Tombstone, Routine: routine(e)}
	if e.Facet == events.Assigned && json.Valid(e.Payload) {
		w.Placement = e.Payload
	}
	if n := e.Note; n != nil {
		w.Note = &Note{Reason: n.Reason, Message: n.Message, Warning: n.Warning}
	}
	return w
}

// wireObject encodes an object, but never what a Secret holds.
func wireObject(o *events.Object) (json.RawMessage, error) {
	if o == nil || !o.Live() {
		return nil, nil
	}
	return json.Marshal(withoutSecrets(o.Typed()))
}

func withoutSecrets(obj runtime.Object) runtime.Object {
	secret, ok := obj.(*corev1.Secret)
	if !ok {
		return obj
	}
	shown := secret.DeepCopy()
	for key := range shown.Data {
		shown.Data[key] = nil
	}
	shown.StringData = nil
	delete(shown.Annotations, corev1.LastAppliedConfigAnnotation)
	return shown
}
