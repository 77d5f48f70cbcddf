package scheduler

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
)

// Explanation is why a pod is where it is, or why it is nowhere and what would help. String words it.
type Explanation struct {
	Pod      events.Ref      `json:"-"`
	Node     string          `json:"node,omitempty"`     // where it is; empty while it is pending
	Next     string          `json:"next,omitempty"`     // where the scheduler's next decision would put a pending pod
	By       string          `json:"by,omitempty"`       // who placed it: an actor
	Revision events.Revision `json:"revision,omitempty"` // of the event that placed it
	Recorded bool            `json:"recorded"`           // Why was kept with the binding; else it is how the state looks now, as if the pod had no place
	Why      *events.Choice  `json:"why,omitempty"`      // nil when the scheduler doesn't look for a place
	Message  string          `json:"message,omitempty"`  // why a pending pod is that, as its PodScheduled condition would say it now
	Remedies []Remedy        `json:"remedies,omitempty"` // what would make a pending pod fit, what takes least first
}

// Explain explains a pod at a state. Of a placed one it tells what was kept with its binding. A pending one it judges as the scheduler's next decision
// would on that state: after the pods that stand before it in the queue. config weighs nodes where nothing was recorded. It looks at all
// pods and nodes: some 100 ms for 100,000 pods. The error says that there is no such pod.
func Explain(state *events.State, ref events.Ref, config Config) (Explanation, error) {
	o, ok := state.Get(ref)
	if !ok || ref.GroupResource() != pods {
		return Explanation{}, fmt.Errorf("explaining the placement of %s: there is no such pod at revision %d", ref, state.Revision())
	}
	e := Explanation{Pod: ref, Node: o.Typed().(*corev1.Pod).Spec.NodeName}
	if placed := o.Facet(events.Assigned); placed != nil {
		e.By, e.Revision = placed.Actor, placed.Revision
		var placement events.Placement
		if err := json.Unmarshal(placed.Payload, &placement); err != nil {
			return Explanation{}, fmt.Errorf("explaining the placement of %s: event %d: %w", ref, placed.Revision, err)
		}
		if e.Why = placement.Why; e.Why != nil {
			e.Recorded = true
			return e, nil
		}
	}
	if why := notLookedAt(o.Typed().(*corev1.Pod)); why != "" {
		e.Message = why
		return e, nil
	}
	a := accountOf(state, config)
	if e.Node != "" {
		e.again(a)
	} else {
		e.pend(a)
	}
	return e, nil
}

// accountOf builds the account of a state.
func accountOf(state *events.State, config Config) *account {
	s := &scheduler{account: newAccount(config)}
	for _, gr := range []events.GroupResource{namespaces, nodes, pods} {
		for o := range state.All(gr, "") {
			s.Fold(events.Change{Revision: o.Revision(), Event: o.Newest(), New: o})
		}
	}
	return s.account
}

// notLookedAt says why the scheduler looks for no place for a pod; "" if it does.
func notLookedAt(p *corev1.Pod) string {
	switch {
	case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
		return fmt.Sprintf("The pod has ended (%s): it takes no place.", p.Status.Phase)
	case p.Spec.NodeName != "":
		return ""
	case p.DeletionTimestamp != nil:
		return "The pod is being deleted: nobody looks for a place for it."
	case p.Spec.SchedulerName != "" && p.Spec.SchedulerName != corev1.DefaultSchedulerName:
		return fmt.Sprintf("The pod waits for the scheduler %q, which is not this one.", p.Spec.SchedulerName)
	case len(p.Spec.SchedulingGates) > 0:
		gates := make([]string, len(p.Spec.SchedulingGates))
		for i, gate := range p.Spec.SchedulingGates {
			gates[i] = gate.Name
		}
		return fmt.Sprintf("The pod waits for its scheduling gates to be removed: %s.", strings.Join(gates, ", "))
	default:
		return ""
	}
}

// again asks where a placed pod would go now if it had no place.
func (e *Explanation) again(a *account) {
	p := a.pods[e.Pod]
	a.lift(p)
	p.shape = a.shapeOf(p.spec(), p.demand)
	if p.impossible() != "" {
		e.Message = p.impossible()
		return
	}
	c := p.company(a)
	e.Why = a.choose(p, &c).choice()
}

// pend asks what the next decision would say about a pending pod.
func (e *Explanation) pend(a *account) {
	failed := map[likeness]bool{}
	a.waiting.Scan(func(p *pod) bool {
		c := p.company(a)
		if p.ref == e.Pod {
			e.judge(a, p, &c)
			return false
		}
		like := likeness{p.shape, c.alike()}
		if len(p.spec().Spec.SchedulingGates) > 0 || p.impossible() != "" || failed[like] {
			return true
		}
		if n := a.choose(p, &c).best(); n != nil {
			a.assume(p, n)
		} else {
			failed[like] = true
		}
		return true
	})
}

func (e *Explanation) judge(a *account, p *pod, c *company) {
	if p.impossible() != "" {
		e.Message = a.explain(p, c)
		return
	}
	s := a.choose(p, c)
	e.Why = s.choice()
	if n := s.best(); n != nil {
		e.Next = n.name
		return
	}
	e.Message = a.explain(p, c)
	e.Remedies = a.remedies(p, c)
}

// String words an explanation, in lines without a newline at the end.
func (e Explanation) String() string {
	var b strings.Builder
	pod := e.Pod.Namespace + "/" + e.Pod.Name
	switch {
	case e.Node != "" && e.Recorded:
		fmt.Fprintf(&b, "%s is on %s: %s placed it there (event %d).", pod, e.Node, e.By, e.Revision)
	case e.Node != "" && e.Revision != 0:
		fmt.Fprintf(&b, "%s is on %s: %s placed it there (event %d), without saying why.", pod, e.Node, e.By, e.Revision)
	case e.Node != "":
		fmt.Fprintf(&b, "%s is on %s: its manifest says so.", pod, e.Node)
	case e.Next != "":
		fmt.Fprintf(&b, "%s is pending, and fits: the scheduler's next decision puts it on %s.", pod, e.Next)
	case e.Why != nil:
		fmt.Fprintf(&b, "%s is pending: no node will do.", pod)
	default:
		fmt.Fprintf(&b, "%s is pending.", pod)
	}
	if e.Message != "" && e.Why == nil {
		fmt.Fprintf(&b, " %s", e.Message)
	}
	if e.Why != nil {
		if e.Node != "" && !e.Recorded {
			b.WriteString("\nIf it were to be placed now:")
		}
		for _, line := range Words(*e.Why) {
			b.WriteString("\n  " + line)
		}
	}
	for i, r := range e.Remedies {
		if i == 0 {
			b.WriteString("\nIt would fit with one of these, what takes least first:")
		}
		fmt.Fprintf(&b, "\n  - %s", r)
	}
	return b.String()
}

// Words tells a choice in lines: the counts, the candidates, the nearest misses.
func Words(c events.Choice) []string {
	var lines []string
	out := counts{}
	for _, reason := range slices.Sorted(maps.Keys(c.Out)) {
		out.add(reason, c.Out[reason])
	}
	switch fit := c.Nodes - out.sum(); {
	case c.Nodes == 0:
		lines = append(lines, "No nodes are registered.")
	case len(out) == 0:
		lines = append(lines, fmt.Sprintf("%s, and each would do.", nodeCount(c.Nodes)))
	case fit == 0:
		lines = append(lines, fmt.Sprintf("%s: %s.", nodeCount(c.Nodes), out.words()))
	default:
		lines = append(lines, fmt.Sprintf("%s, of which %d would do: %s.", nodeCount(c.Nodes), fit, out.words()))
	}
	width := 0
	for _, candidate := range c.Top {
		width = max(width, len(candidate.Node))
	}
	for i, candidate := range c.Top {
		lines = append(lines, fmt.Sprintf("%d. %-*s  %s", i+1, width, candidate.Node, candidateText(candidate)))
	}
	for _, m := range c.Near {
		lines = append(lines, fmt.Sprintf("Near miss: %s lacks %s.", m.Node, m.Lacks))
	}
	return lines
}

func nodeCount(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

// candidateText tells a score and the parts that it is the sum of: "4968 points: room 9968, siblings on the node -5000".
func candidateText(c events.Candidate) string {
	parts := []string{fmt.Sprintf("room %d", c.Free)}
	for _, part := range []struct {
		name   string
		points int64
	}{{"preferred node affinity", c.Prefer}, {"taints to avoid", c.Taints}, {"siblings on the node", c.Mates}, {"siblings in the zone", c.Zone},
		{"preferences about other pods", c.Pods}} {
		if part.points != 0 {
			parts = append(parts, fmt.Sprintf("%s %+d", part.name, part.points))
		}
	}
	return fmt.Sprintf("%d points: %s", c.Score(), strings.Join(parts, ", "))
}
