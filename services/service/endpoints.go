package service

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

var (
	podsKind      = events.GroupResource{Resource: "pods"}
	nodesKind     = events.GroupResource{Resource: "nodes"}
	endpointsKind = events.GroupResource{Resource: "endpoints"}
	slicesKind    = events.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
)

// Endpoints is the decider that keeps EndpointSlices and Endpoints. Its keys are Services.
type Endpoints struct{ selection *selection }

var (
	_ runner.Decider = (*Endpoints)(nil)
	_ runner.Folder  = (*Endpoints)(nil)
)

// NewEndpoints returns the decider.
func NewEndpoints() *Endpoints { return &Endpoints{selection: newSelection()} }

// Name is "endpoints".
func (e *Endpoints) Name() string { return "endpoints" }

// Fold keeps the index of who selects whom.
func (e *Endpoints) Fold(c events.Change) {
	ref := c.Ref()
	switch ref.GroupResource() {
	case servicesKind:
		e.selection.service(ref, selectorOf(c.Old), selectorOf(c.New))
	case podsKind:
		e.selection.pod(ref, labelsOf(c.Old), labelsOf(c.New))
	}
}

func selectorOf(o *events.Object) map[string]string {
	if o == nil {
		return nil
	}
	return o.Typed().(*corev1.Service).Spec.Selector
}

func labelsOf(o *events.Object) map[string]string {
	if o == nil {
		return nil
	}
	return o.Meta().GetLabels()
}

// Keys asks for the Services that a change concerns: the Service itself, those that select the pod, that of the slice or the Endpoints.
func (e *Endpoints) Keys(c events.Change, state *events.State) []events.Ref {
	ref := c.Ref()
	switch ref.GroupResource() {
	case servicesKind:
		if c.Old == nil || c.New == nil || c.Event.Facet == events.Desired {
			return []events.Ref{ref}
		}
	case podsKind:
		if c.Old == nil || c.New == nil || factsOf(c.Old) != factsOf(c.New) || !maps.Equal(labelsOf(c.Old), labelsOf(c.New)) {
			return e.selection.selecting(ref.Namespace, labelsOf(c.Old), labelsOf(c.New))
		}
	case endpointsKind:
		return []events.Ref{serviceRef(ref.Namespace, ref.Name)}
	case slicesKind:
		for _, o := range []*events.Object{c.New, c.Old} {
			if name := labelsOf(o)[discoveryv1.LabelServiceName]; name != "" {
				return []events.Ref{serviceRef(ref.Namespace, name)}
			}
		}
	case nodesKind:
		if c.Old == nil || c.New == nil || isLost(c.Old) != isLost(c.New) || labelsOf(c.Old)[corev1.LabelTopologyZone] != labelsOf(c.New)[corev1.LabelTopologyZone] {
			return e.selecting(state, ref.Name)
		}
	}
	return nil
}

// selecting gives the Services that select a pod on a node.
func (e *Endpoints) selecting(state *events.State, node string) []events.Ref {
	found := map[events.Ref]bool{}
	for pod := range state.Indexed(events.ByNode, node) {
		for _, ref := range e.selection.selecting(pod.Ref.Namespace, labelsOf(pod)) {
			found[ref] = true
		}
	}
	return slices.SortedFunc(maps.Keys(found), compareRefs)
}

// facts are what an endpoint says of a pod, apart from its labels.
type facts struct {
	ips, node, host   string
	ready, going, end bool
}

func factsOf(o *events.Object) facts {
	pod := o.Typed().(*corev1.Pod)
	var ips strings.Builder
	ips.WriteString(pod.Status.PodIP)
	for _, ip := range pod.Status.PodIPs {
		ips.WriteString("," + ip.IP)
	}
	return facts{ips: ips.String(), node: pod.Spec.NodeName, host: pod.Spec.Hostname + "." + pod.Spec.Subdomain,
		ready: isReady(pod), going: pod.DeletionTimestamp != nil, end: isFinished(pod)}
}

// isLost says that nothing is known of a node, or that it isn't well: its pods can't be relied on, whatever they said last.
func isLost(node *events.Object) bool {
	return slices.ContainsFunc(node.Typed().(*corev1.Node).Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue
	})
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func isFinished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
