package node

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// The pace, as Kubernetes' node lifecycle controller has it by default.
const (
	// usually is the time between two nodes of a zone that pods are driven off.
	usually = 10 * time.Second
	// seldom is that of a large zone of which most nodes are unready.
	seldom = 100 * time.Second
	// most is the part of a zone's nodes, in percent, that must be unready for that; and more than few nodes.
	most = 55
	few  = 2
	// large is how many nodes a zone has at most in which nothing is driven off at all then.
	large = 50
)

// zone is the nodes of one failure domain.
type zone struct {
	ready, unready int
	last           time.Time        // when pods were driven off one of its nodes last, as far as that can be seen
	waiting        []*events.Object // unready ones that pods are not driven off yet
}

// zoneOf is the failure domain that a node is in.
func zoneOf(node *corev1.Node) string {
	return node.Labels[corev1.LabelTopologyRegion] + "/" + node.Labels[corev1.LabelTopologyZone]
}

// pace is the time between two nodes; 0 if nothing may be driven off.
func (z *zone) pace() time.Duration {
	switch {
	case z.ready == 0 || z.unready <= few || z.unready*100 < most*(z.ready+z.unready):
		return usually // with no node ready it is the zone that is away, not the way to it: others are
	case z.ready+z.unready > large:
		return seldom
	}
	return 0
}

// isReady says that a node's condition Ready is True.
func isReady(node *corev1.Node) bool {
	ready := condition(node, corev1.NodeReady)
	return ready != nil && ready.Status == corev1.ConditionTrue
}

// driven returns the taint by which this package drives pods off a node; nil if it has none.
func driven(node *corev1.Node) *corev1.Taint {
	for i := range node.Spec.Taints {
		t := &node.Spec.Taints[i]
		if t.Effect == corev1.TaintEffectNoExecute && (t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable) {
			return t
		}
	}
	return nil
}

// barred says that a node has the taints of its conditions, as far as those drive no pods off.
func barred(node *corev1.Node) bool {
	return !slices.ContainsFunc(wanted(node), func(t corev1.Taint) bool { return !containsTaint(node.Spec.Taints, t) })
}

// decidePace says off which nodes pods are driven now.
func decidePace(in runner.Input) runner.Decision {
	zones, nobody := map[string]*zone{}, true
	var off []*events.Object // nodes that pods are driven off
	for o := range in.State.All(nodesKind, "") {
		node := o.Typed().(*corev1.Node)
		z := zones[zoneOf(node)]
		if z == nil {
			z = &zone{}
			zones[zoneOf(node)] = z
		}
		taint := driven(node)
		if taint != nil {
			off = append(off, o)
			if at := addedAt(taint, o); at.After(z.last) {
				z.last = at
			}
		}
		switch {
		case isReady(node):
			nobody = false
			z.ready++
			continue
		case taint == nil && condition(node, corev1.NodeReady) != nil && barred(node):
			z.waiting = append(z.waiting, o)
		}
		z.unready++
	}
	var d runner.Decision
	if nobody {
		for _, o := range off {
			d.Each = append(d.Each, spare(o))
		}
		return d
	}
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		again := zones[name].next(in.Now, &d)
		if !again.IsZero() && (d.Again.IsZero() || again.Before(d.Again)) {
			d.Again = again
		}
	}
	return d
}

// addedAt is when a taint was added to a node, as far as the node says.
func addedAt(taint *corev1.Taint, o *events.Object) time.Time {
	if taint.TimeAdded == nil {
		return o.Facet(events.Desired).At
	}
	return taint.TimeAdded.Time
}

// next has pods driven off the node that waits longest, if it is time for one. It returns when to look again; the zero time if nothing but a change can matter.
func (z *zone) next(now time.Time, d *runner.Decision) (again time.Time) {
	every := z.pace()
	if len(z.waiting) == 0 || every == 0 {
		return time.Time{}
	}
	if due := z.last.Add(every); now.Before(due) {
		return due
	}
	since := func(o *events.Object) time.Time {
		return condition(o.Typed().(*corev1.Node), corev1.NodeReady).LastTransitionTime.Time
	}
	o := slices.MinFunc(z.waiting, func(a, b *events.Object) int {
		return cmp.Or(since(a).Compare(since(b)), cmp.Compare(a.Ref.Name, b.Ref.Name))
	})
	d.Each = append(d.Each, drive(o, now))
	if len(z.waiting) > 1 {
		again = now.Truncate(time.Second).Add(every)
	}
	return again
}

// drive has pods leave a node that isn't ready.
func drive(o *events.Object, now time.Time) events.Proposal {
	node := o.Typed().(*corev1.Node).DeepCopy()
	key := corev1.TaintNodeNotReady
	if condition(node, corev1.NodeReady).Status == corev1.ConditionUnknown {
		key = corev1.TaintNodeUnreachable
	}
	node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute, TimeAdded: &metav1.Time{Time: now.Truncate(time.Second)}})
	p := events.Alter(o, node, NodeTainted, "spec.taints")
	if status := o.Facet(events.Observed); status != nil {
		p.Cause, p.Correlation = status.Revision, status.Chain()
	}
	return p
}

// spare has pods stay on a node that isn't ready, for no other is.
func spare(o *events.Object) events.Proposal {
	node := o.Typed().(*corev1.Node).DeepCopy()
	node.Spec.Taints = slices.DeleteFunc(node.Spec.Taints, func(t corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoExecute && (t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable)
	})
	return events.Alter(o, node, NodeUntainted, "spec.taints").With(events.Note{Reason: "EvictionsStopped", Warning: true,
		Message: "No node is ready: pods stay where they are, for it may be the control plane that is cut off."})
}
