package gateway

import (
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
)

// bind places a pod on a node, as a scheduler outside Wake asks. Of two that place the same pod one is told of a conflict.
func (g *Gateway) bind(r *request) error {
	if err := r.checkOptions("CreateOptions"); err != nil {
		return err
	}
	obj, err := g.decodeAs(r, corev1.SchemeGroupVersion.WithKind("Binding"))
	if err != nil {
		return err
	}
	binding, ok := obj.(*corev1.Binding)
	switch {
	case !ok || binding.Target.Name == "":
		return apierrors.NewBadRequest("the Binding names no target: set target.name to the name of a node")
	case binding.Target.Kind != "" && binding.Target.Kind != "Node":
		return apierrors.NewBadRequest(fmt.Sprintf("a pod is bound to a Node, not to a %s", binding.Target.Kind))
	}
	_, err = g.commit(r, func(state *events.State) (draft, error) {
		o, err := find(state, r)
		if err != nil {
			return draft{}, err
		}
		if err := checkBinding(r, o, binding.UID, binding.Target.Name); err != nil {
			return draft{}, err
		}
		return draft{object: o.Typed(), proposals: []events.Proposal{events.Place(o, events.Placement{Node: binding.Target.Name}, "PodBound")}}, nil
	})
	if err != nil {
		return err
	}
	status := &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}
	status.Kind, status.APIVersion = "Status", "v1"
	return g.answerPlain(r, http.StatusCreated, status)
}

func checkBinding(r *request, o *events.Object, uid types.UID, node string) error {
	pod, ok := o.Typed().(*corev1.Pod)
	conflict := func(format string, args ...any) error {
		return apierrors.NewConflict(r.kind.GroupResource(), r.name, fmt.Errorf(format, args...))
	}
	switch {
	case !ok:
		return errNoSuchPath()
	case uid != "" && uid != pod.UID:
		return conflict("Precondition failed: UID in precondition: %s, UID in object meta: %s", uid, pod.UID)
	case pod.DeletionTimestamp != nil:
		return conflict("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return conflict("pod %s is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) > 0:
		return conflict("pod %s has non-empty .spec.schedulingGates: it can't be placed on %s yet", pod.Name, node)
	}
	return nil
}
