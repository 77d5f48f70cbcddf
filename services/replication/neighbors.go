package replication

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner/owned"
)

// podsPerNode counts the active pods of set and of its siblings, the sets of the same controller, by node.
func podsPerNode(s *events.State, set *events.Object, pods []*events.Object) map[string]int {
	counts := map[string]int{}
	count := func(o *events.Object) {
		if pod, ok := o.Typed().(*corev1.Pod); ok && owned.Active(pod) && pod.Spec.NodeName != "" {
			counts[pod.Spec.NodeName]++
		}
	}
	for _, o := range pods {
		count(o)
	}
	controller := metav1.GetControllerOfNoCopy(set.Meta())
	if controller == nil {
		return counts
	}
	for sibling := range s.Indexed(events.ByOwner, string(controller.UID)) {
		if sibling.Ref.GroupResource() != replicaSetKind || sibling.Ref == set.Ref {
			continue
		}
		for o := range s.Indexed(events.ByOwner, sibling.UID()) {
			count(o)
		}
	}
	return counts
}
