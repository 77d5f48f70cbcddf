package node

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

var (
	nodesKind  = events.GroupResource{Resource: "nodes"}
	podsKind   = events.GroupResource{Resource: "pods"}
	leasesKind = events.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}
)

// everyNode is the key of the pace at which pods are driven off nodes: it depends on all of them.
var everyNode = events.Ref{Resource: nodesKind.Resource}

// Node is the decider. Its keys are Nodes, Pods on them, and everyNode.
type Node struct{}

var _ runner.Decider = Node{}

// New returns the decider.
func New() Node { return Node{} }

// Name is "node".
func (n Node) Name() string { return "node" }

// Keys asks for a node when it or its Lease changed, for its pods and for all nodes when its health did, and for a pod that changed on a node in bad health.
func (n Node) Keys(c events.Change, state *events.State) []events.Ref {
	ref := c.Ref()
	switch ref.GroupResource() {
	case nodesKind:
		keys := []events.Ref{ref}
		if standingOf(c.Old) != standingOf(c.New) {
			keys = append(keys, everyNode)
		}
		if c.New != nil && troubleOf(c.Old) != troubleOf(c.New) {
			for pod := range state.Indexed(events.ByNode, ref.Name) {
				keys = append(keys, pod.Ref)
			}
		}
		return keys
	case leasesKind:
		if ref.Namespace == corev1.NamespaceNodeLease {
			return []events.Ref{nodeRef(ref.Name)}
		}
	case podsKind:
		if c.New == nil {
			return nil
		}
		pod := c.New.Typed().(*corev1.Pod)
		home, ok := state.Get(nodeRef(pod.Spec.NodeName))
		if ok && (troubleOf(home) != trouble{} || isOurs(readyCondition(pod))) {
			return []events.Ref{ref}
		}
	}
	return nil
}

func nodeRef(name string) events.Ref { return events.Ref{Resource: nodesKind.Resource, Name: name} }

// standing is what of a node concerns the pace.
type standing struct {
	there, ready, barred, driven bool
	zone                         string
}

func standingOf(o *events.Object) standing {
	if o == nil {
		return standing{}
	}
	node := o.Typed().(*corev1.Node)
	s := standing{there: true, ready: isReady(node), driven: driven(node) != nil, zone: zoneOf(node)}
	s.barred = !s.ready && barred(node)
	return s
}

// trouble is what of a node's health concerns its pods; zero if it is ready and nothing drives pods off it.
type trouble struct {
	unready bool
	taints  string // those with NoExecute
}

func troubleOf(o *events.Object) (t trouble) {
	if o == nil {
		return t
	}
	node := o.Typed().(*corev1.Node)
	ready := condition(node, corev1.NodeReady)
	t.unready = ready != nil && ready.Status != corev1.ConditionTrue
	for _, taint := range node.Spec.Taints {
		if taint.Effect == corev1.TaintEffectNoExecute {
			t.taints += taint.ToString() + ","
		}
	}
	return t
}

func condition(node *corev1.Node, of corev1.NodeConditionType) *corev1.NodeCondition {
	i := slices.IndexFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == of })
	if i < 0 {
		return nil
	}
	return &node.Status.Conditions[i]
}

func readyCondition(pod *corev1.Pod) *corev1.PodCondition {
	return podCondition(pod, corev1.PodReady)
}

func podCondition(pod *corev1.Pod, of corev1.PodConditionType) *corev1.PodCondition {
	i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == of })
	if i < 0 {
		return nil
	}
	return &pod.Status.Conditions[i]
}

// isOurs says that it was this package that made a pod unready.
func isOurs(ready *corev1.PodCondition) bool {
	return ready != nil && ready.Status == corev1.ConditionFalse && ready.Reason == notReadyReason
}
