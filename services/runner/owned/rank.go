package owned

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
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
	readyAt   time.Time
}

// Rank orders an owner's active pods: those that are missed least come first. Neighbors counts, by node, the pods that do the same work. The order
// is Kubernetes' (ActivePodsWithRanks), except that ages count exactly, not by their magnitude.
func Rank(pods []*events.Object, neighbors map[string]int) []*events.Object {
	candidates := make([]candidate, len(pods))
	for i, o := range pods {
		pod := o.Typed().(*corev1.Pod)
		c := candidate{object: o, pod: pod, phase: phaseRank(pod.Status.Phase), neighbors: neighbors[pod.Spec.NodeName]}
		since, ready := ReadySince(pod)
		c.ready, c.readyAt = ready, since
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
		order = b.readyAt.Compare(a.readyAt)
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
