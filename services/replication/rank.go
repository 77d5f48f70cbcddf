package replication

import (
	"cmp"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner/owned"
)

// candidate is a pod that may have to go, and what speaks for it.
type candidate struct {
	object    *events.Object
	pod       *corev1.Pod
	phase     int
	ready     bool
	cost      int64
	neighbors int // active pods of the same owner, or its siblings, on the same node
	restarts  int32
	readyAt   metav1.Time
}

// rankVictims orders a set's active pods: those that are missed least come first. The order is Kubernetes' (ActivePodsWithRanks), except that ages
// count exactly, not by their magnitude.
func rankVictims(s *events.State, set *events.Object, pods []*events.Object) []*events.Object {
	neighbors := podsPerNode(s, set, pods)
	candidates := make([]candidate, len(pods))
	for i, o := range pods {
		pod := o.Typed().(*corev1.Pod)
		c := candidate{object: o, pod: pod, phase: phaseRank(pod.Status.Phase), neighbors: neighbors[pod.Spec.NodeName]}
		since, ready := owned.ReadySince(pod)
		c.ready, c.readyAt = ready, metav1.NewTime(since)
		c.cost, _ = strconv.ParseInt(pod.Annotations[corev1.PodDeletionCost], 10, 32)
		for j := range pod.Status.ContainerStatuses {
			c.restarts = max(c.restarts, pod.Status.ContainerStatuses[j].RestartCount)
		}
		candidates[i] = c
	}
	slices.SortFunc(candidates, compareVictims)
	ranked := make([]*events.Object, len(candidates))
	for i := range candidates {
		ranked[i] = candidates[i].object
	}
	return ranked
}

func compareVictims(a, b candidate) int {
	order := cmp.Or(
		firstIf(a.pod.Spec.NodeName == "", b.pod.Spec.NodeName == ""),
		cmp.Compare(a.phase, b.phase),
		firstIf(!a.ready, !b.ready),
		cmp.Compare(a.cost, b.cost),
		cmp.Compare(b.neighbors, a.neighbors),
	)
	if order == 0 && a.ready && b.ready {
		order = b.readyAt.Compare(a.readyAt.Time)
	}
	return cmp.Or(order,
		cmp.Compare(b.restarts, a.restarts),
		b.pod.CreationTimestamp.Compare(a.pod.CreationTimestamp.Time),
		cmp.Compare(a.pod.Name, b.pod.Name))
}

func firstIf(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func phaseRank(phase corev1.PodPhase) int {
	switch phase {
	case corev1.PodRunning:
		return 2
	case corev1.PodUnknown:
		return 1
	}
	return 0
}

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
