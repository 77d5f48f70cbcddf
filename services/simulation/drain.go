package simulation

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wakehq/wake/events"
)

// drainAgain is after how long an eviction is tried again that a disruption budget stands against, as kubectl does.
const drainAgain = 5 * time.Second

func nodeRef(name string) events.Ref { return events.Ref{Resource: nodesKind.Resource, Name: name} }

// Cordon lets no more pods onto a node.
func (s *Simulation) Cordon(name string) error {
	o, err := s.find(nodeRef(name))
	if err != nil {
		return err
	}
	node := o.Typed().(*corev1.Node).DeepCopy()
	node.Spec.Unschedulable = true
	_, err = s.update(o.Kind, o, node, "NodeChanged")
	return err
}

// Drain cordons a node and evicts its pods, again and again while disruption budgets stand against it. Pods of DaemonSets stay.
func (s *Simulation) Drain(name string) error {
	if err := s.Cordon(name); err != nil {
		return err
	}
	s.evictAll(name)
	return s.err
}

// evictAll evicts the pods of a node that may be, and puts down to try again with the others.
func (s *Simulation) evictAll(node string) {
	var pods []*events.Object
	for o := range s.state.Indexed(events.ByNode, node) {
		pods = append(pods, o)
	}
	refused := false
	for _, o := range pods {
		pod := o.Typed().(*corev1.Pod)
		if owner := metav1.GetControllerOfNoCopy(pod); owner != nil && owner.Kind == "DaemonSet" || pod.DeletionTimestamp != nil {
			continue
		}
		switch err := s.evict(o); {
		case apierrors.IsTooManyRequests(err):
			refused = true
		case err != nil && s.err == nil:
			s.err = fmt.Errorf("evicting %s: %w", o.Ref, err)
		}
	}
	if refused {
		s.agenda.add(s.now.Add(drainAgain), func() { s.evictAll(node) })
	}
}

// evict deletes a pod unless a budget can't spare it, as the gateway's eviction does.
func (s *Simulation) evict(o *events.Object) error {
	if budget := s.budgetAgainst(o); budget != nil {
		return apierrors.NewTooManyRequests(fmt.Sprintf("Cannot evict pod as it would violate the pod's disruption budget %s.", budget.Name), 0)
	}
	return s.delete(o, &metav1.DeleteOptions{})
}

// budgetAgainst returns the disruption budget that can't spare a running pod; nil if there is none.
func (s *Simulation) budgetAgainst(o *events.Object) *policyv1.PodDisruptionBudget {
	pod := o.Typed().(*corev1.Pod)
	if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
		return nil
	}
	for b := range s.state.All(events.GroupResource{Group: policyv1.GroupName, Resource: "poddisruptionbudgets"}, pod.Namespace) {
		budget := b.Typed().(*policyv1.PodDisruptionBudget)
		selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
		if err == nil && selector.Matches(labels.Set(pod.Labels)) && budget.Status.DisruptionsAllowed <= 0 {
			return budget
		}
	}
	return nil
}

// Kill lets a node fall silent, as a power cut does.
func (s *Simulation) Kill(name string) error {
	o, err := s.find(nodeRef(name))
	if err != nil {
		return err
	}
	s.outside.kill(o)
	return s.err
}
