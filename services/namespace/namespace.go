package namespace

import (
	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

var namespaces = events.GroupResource{Resource: "namespaces"}

// Namespace is the decider. Its keys are Namespaces.
type Namespace struct{ certificate string }

var _ runner.Decider = Namespace{}

// New returns the decider; certificate is that of the cluster's authority, in PEM.
func New(certificate string) Namespace { return Namespace{certificate} }

// Name is "namespace".
func (n Namespace) Name() string { return "namespace" }

// Keys asks for a namespace when it changed, when it is to be empty and something in it came or went, and when its furniture changed.
func (n Namespace) Keys(c events.Change, state *events.State) []events.Ref {
	ref := c.Ref()
	if ref.GroupResource() == namespaces {
		return []events.Ref{ref}
	}
	if ref.Namespace == "" || ref.GroupResource() == events.EventsResource {
		return nil
	}
	home := events.Ref{Resource: namespaces.Resource, Name: ref.Namespace}
	o, exists := state.Get(home)
	cameOrWent := c.Old == nil || c.New == nil
	switch {
	case !exists && state.Slot(home) == nil: // nobody ever made the namespace: it isn't ours to clear
	case !exists, o.Meta().GetDeletionTimestamp() != nil:
		if cameOrWent {
			return []events.Ref{home}
		}
	case ref == accountRef(ref.Namespace), ref == certificateRef(ref.Namespace):
		return []events.Ref{home}
	}
	return nil
}

func accountRef(namespace string) events.Ref {
	return events.Ref{Resource: "serviceaccounts", Namespace: namespace, Name: "default"}
}

func certificateRef(namespace string) events.Ref {
	return events.Ref{Resource: "configmaps", Namespace: namespace, Name: "kube-root-ca.crt"}
}
