package gateway

import (
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wakehq/wake/events"
)

// create makes the object in the request's body.
func (g *Gateway) create(r *request) error {
	if err := r.checkOptions("CreateOptions"); err != nil {
		return err
	}
	if r.kind.Namespaced && r.namespace == "" {
		return apierrors.NewMethodNotSupported(r.kind.GroupResource(), "create")
	}
	obj, err := r.decode()
	if err != nil {
		return err
	}
	d, err := g.commit(r, func(state *events.State) (draft, error) { return g.draftCreate(r, state, obj, true) })
	warn(r, d.warnings)
	if err != nil {
		return err
	}
	return g.answer(r, http.StatusCreated, d.object)
}

// draftCreate decides the creation of obj. Track says that the fields' manager is still to be recorded.
func (g *Gateway) draftCreate(r *request, state *events.State, obj runtime.Object, track bool) (draft, error) {
	if err := checkNamespace(r, state); err != nil {
		return draft{}, err
	}
	if track {
		tracked, err := r.kind.TrackUpdate(nil, obj, r.manager(), "")
		if err != nil {
			return draft{}, err
		}
		obj = tracked
	}
	d, err := prepareNew(r, state, obj)
	if err != nil {
		return d, err
	}
	if err := g.checkService(state, d.object, nil); err != nil {
		return d, err
	}
	created := events.Create(state, d.object, r.kind.KindName+"Created")
	d.proposals = []events.Proposal{created}
	if !r.kind.HasStatus {
		return d, nil
	}
	// Some kinds bring a status of their own, such as a node that registers itself.
	silent, err := r.kind.Decode(created.Payload, nil)
	if err == nil && !r.kind.StatusEqual(silent, d.object) {
		d.proposals = append(d.proposals, events.ObserveNew(state, d.object, r.kind.KindName+"StatusChanged"))
	}
	return d, err
}

// maxNames is how many generated names are tried before a create is refused because they are all taken.
const maxNames = 8

// prepareNew completes and checks a new object, under a name that is free.
func prepareNew(r *request, state *events.State, obj runtime.Object) (draft, error) {
	sent, err := meta.Accessor(obj)
	if err != nil {
		return draft{}, err
	}
	for attempt := 1; ; attempt++ {
		prepared, warnings, err := r.kind.PrepareCreate(r.write(state), obj)
		d := draft{object: prepared, warnings: warnings}
		if err != nil {
			return d, err
		}
		m, err := meta.Accessor(prepared)
		if err != nil {
			return d, err
		}
		ref := r.ref()
		ref.Name = m.GetName()
		o, taken := state.Get(ref)
		switch {
		case !taken:
			return d, nil
		case sent.GetName() == "" && r.name == "" && attempt < maxNames:
			continue
		case o.Meta().GetDeletionTimestamp() != nil:
			return d, errBeingDeleted(r, ref.Name)
		}
		return d, apierrors.NewAlreadyExists(r.kind.GroupResource(), ref.Name)
	}
}

func errBeingDeleted(r *request, name string) error {
	exists := apierrors.NewAlreadyExists(r.kind.GroupResource(), name)
	exists.ErrStatus.Message = fmt.Sprintf("object is being deleted: %s", exists.ErrStatus.Message)
	return exists
}

// checkNamespace refuses objects for a namespace that isn't there or is on its way out.
func checkNamespace(r *request, state *events.State) error {
	if !r.kind.Namespaced {
		return nil
	}
	namespaces := schema.GroupResource{Resource: "namespaces"}
	o, ok := state.Get(events.Ref{Resource: namespaces.Resource, Name: r.namespace})
	if !ok {
		return apierrors.NewNotFound(namespaces, r.namespace)
	}
	if o.Meta().GetDeletionTimestamp() == nil {
		return nil
	}
	err := apierrors.NewForbidden(r.kind.GroupResource(), r.name, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", r.namespace))
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause,
		Message: fmt.Sprintf("namespace %s is being terminated", r.namespace), Field: "metadata.namespace"}}
	return err
}
