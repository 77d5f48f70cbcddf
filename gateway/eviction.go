package gateway

import (
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wakehq/wake/events"
)

// evict deletes a pod unless a disruption budget stands against it. Nobody counts disruptions down within a budget's status here, so that a budget is as
// good as whoever keeps its status.
func (g *Gateway) evict(r *request) error {
	obj, err := g.decodeAs(r, policyv1.SchemeGroupVersion.WithKind("Eviction"))
	if err != nil {
		return err
	}
	eviction, ok := obj.(*policyv1.Eviction)
	if !ok || eviction.Name != "" && eviction.Name != r.name {
		return apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	options := eviction.DeleteOptions
	if options == nil {
		options = &metav1.DeleteOptions{}
	}
	if len(options.DryRun) > 0 {
		r.query["dryRun"] = options.DryRun
	}
	if err := r.checkOptions("CreateOptions"); err != nil {
		return err
	}
	_, err = g.commit(r, func(state *events.State) (draft, error) {
		o, err := find(state, r)
		if err != nil {
			return draft{}, err
		}
		if err := checkBudgets(state, o); err != nil {
			return draft{}, err
		}
		return draftDelete(r, state, o, options)
	})
	if err != nil {
		return err
	}
	status := &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}
	status.Kind, status.APIVersion = "Status", "v1"
	return g.answerPlain(r, http.StatusCreated, status)
}

// checkBudgets refuses the eviction of a running pod that a budget can't spare.
func checkBudgets(state *events.State, o *events.Object) error {
	pod, ok := o.Typed().(*corev1.Pod)
	if !ok || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodPending || pod.DeletionTimestamp != nil {
		return nil
	}
	for b := range state.All(events.GroupResource{Group: policyv1.GroupName, Resource: "poddisruptionbudgets"}, pod.Namespace) {
		budget, ok := b.Typed().(*policyv1.PodDisruptionBudget)
		if !ok {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
		if err != nil || !selector.Matches(labels.Set(pod.Labels)) || budget.Status.DisruptionsAllowed > 0 {
			continue
		}
		refused := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
		refused.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause,
			Message: fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", budget.Name, budget.Status.DesiredHealthy, budget.Status.CurrentHealthy)}}
		return refused
	}
	return nil
}
