package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

const (
	mostRemedies = 5   // told
	mostTried    = 100 // nodes on which room might be made
	mostFreeings = 2   // of these, ways to make room by removing pods
	mostVictims  = 3   // pods that may have to go for one that waits

	// How much it takes to do something about a node, in comparison: a word to the node, a line in the pod, a pod removed, a machine bought.
	effortUncordon = 50
	effortTolerate = 100
	effortAskLess  = 120 // and more the more is lacking
	effortLabel    = 150
	effortReady    = 200
	effortFree     = 200 // and more for each pod, and the more is lacking
	effortVictim   = 100
	effortNode     = 600
	mostForLack    = 200
)

// Remedy is something that would make a pending pod fit.
type Remedy struct {
	Words  string   `json:"words"`           // "tolerating taint gpu=true:NoSchedule"
	Nodes  []string `json:"nodes,omitempty"` // that would then do, by name
	Effort int      `json:"effort"`          // the smaller the less it takes
	frees  bool
}

// String words a remedy with how many nodes it makes fit.
func (r Remedy) String() string {
	switch len(r.Nodes) {
	case 0:
		return r.Words
	case 1:
		return fmt.Sprintf("%s (%s would then do)", r.Words, r.Nodes[0])
	default:
		return fmt.Sprintf("%s (%d nodes would then do)", r.Words, len(r.Nodes))
	}
}

// step is one thing to do about a node.
type step struct {
	words  string
	effort int
	frees  bool
	names  bool // the node, in its words
}

// remedies finds what would make a pod fit that fits nowhere, what takes least first.
func (a *account) remedies(p *pod, c *company) []Remedy {
	byWords := map[string]*Remedy{}
	add := func(steps []step, n *node) {
		r := Remedy{}
		named := false
		var words []string
		for _, s := range steps {
			words, r.Effort, r.frees, named = append(words, s.words), r.Effort+s.effort, r.frees || s.frees, named || s.names
		}
		r.Words = strings.Join(words, " and ")
		known := byWords[r.Words]
		if known == nil {
			known = &r
			byWords[r.Words] = known
		}
		if n != nil && !named {
			known.Nodes = append(known.Nodes, n.name)
		}
	}
	tried := 0
	for _, o := range a.outlooks(p) {
		if o.distance > 0 || len(o.node.holders(p.demand.ports)) > 0 {
			if tried++; tried > mostTried {
				continue
			}
		}
		for _, room := range a.waysToRoom(p, c, o.node) {
			if steps := slices.Concat(o.obstacles, room); len(steps) > 0 {
				add(steps, o.node)
			}
		}
	}
	add([]step{a.anotherNode(p, c)}, nil)
	return smallest(slices.Collect(maps.Values(byWords)))
}

// outlook is what stands between a node and a pod.
type outlook struct {
	node      *node
	obstacles []step
	distance  int64
}

// outlooks lists the nodes, those where least is to be done first.
func (a *account) outlooks(p *pod) []outlook {
	var all []outlook
	for _, n := range a.byName {
		if n.object != nil {
			all = append(all, outlook{node: n, obstacles: p.obstaclesOf(n), distance: p.shape.distance(n)})
		}
	}
	slices.SortFunc(all, func(x, y outlook) int {
		return cmp.Or(cmp.Compare(len(x.obstacles), len(y.obstacles)), cmp.Compare(x.distance, y.distance), strings.Compare(x.node.name, y.node.name))
	})
	return all
}

// smallest sorts remedies and leaves the best.
func smallest(all []*Remedy) []Remedy {
	slices.SortFunc(all, func(x, y *Remedy) int {
		return cmp.Or(cmp.Compare(x.Effort, y.Effort), cmp.Compare(len(y.Nodes), len(x.Nodes)), strings.Compare(x.Words, y.Words))
	})
	var told []Remedy
	freeings := 0
	for _, r := range all {
		if r.frees {
			freeings++
		}
		if len(told) < mostRemedies && (!r.frees || freeings <= mostFreeings) {
			told = append(told, *r)
		}
	}
	return told
}

// obstaclesOf lists what would have to change on a node, or in what the pod says about nodes, for the node to be one for the pod at all.
func (p *pod) obstaclesOf(n *node) []step {
	steps := p.labelsMissing(n)
	if n.object.Spec.Unschedulable && !tolerated(p.shape.tolerations, &corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}) {
		steps = append(steps, step{words: "uncordoning " + n.name, effort: effortUncordon, names: true})
	}
	for i := range n.taints {
		t := &n.taints[i]
		switch {
		case t.Effect == corev1.TaintEffectPreferNoSchedule || tolerated(p.shape.tolerations, t):
		case t.Key == corev1.TaintNodeUnschedulable: // goes with the cordon
		case t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable:
			if s := (step{words: n.name + " being ready", effort: effortReady, names: true}); !slices.Contains(steps, s) {
				steps = append(steps, s)
			}
		default:
			steps = append(steps, step{words: "tolerating taint " + taintText(t), effort: effortTolerate})
		}
	}
	return steps
}

// taintText writes a taint as kubectl does.
func taintText(t *corev1.Taint) string {
	if t.Value == "" {
		return fmt.Sprintf("%s:%s", t.Key, t.Effect)
	}
	return fmt.Sprintf("%s=%s:%s", t.Key, t.Value, t.Effect)
}

// labelsMissing lists what the pod's node selector and required node affinity ask for that the node doesn't have.
func (p *pod) labelsMissing(n *node) []step {
	if match, err := p.shape.required.Match(n.object); err == nil && match {
		return nil
	}
	var missing []step
	spec := &p.spec().Spec
	for _, label := range slices.Sorted(maps.Keys(spec.NodeSelector)) {
		if value, ok := n.object.Labels[label]; !ok || value != spec.NodeSelector[label] {
			missing = append(missing, step{words: fmt.Sprintf("a node with label %s=%s", label, spec.NodeSelector[label]), effort: effortLabel})
		}
	}
	affinity := nodeAffinity(p.spec())
	if affinity == nil || affinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return missing
	}
	if selector, err := nodeaffinity.NewNodeSelector(affinity.RequiredDuringSchedulingIgnoredDuringExecution); err != nil || !selector.Match(n.object) {
		missing = append(missing, step{words: "a node " + selectorText(affinity.RequiredDuringSchedulingIgnoredDuringExecution), effort: effortLabel})
	}
	return missing
}

// selectorText words a required node affinity: "with label disk in (ssd, nvme)".
func selectorText(selector *corev1.NodeSelector) string {
	var terms []string
	for i := range selector.NodeSelectorTerms {
		var all []string
		for _, e := range selector.NodeSelectorTerms[i].MatchFields {
			all = append(all, "named "+strings.Join(e.Values, " or "))
		}
		for _, e := range selector.NodeSelectorTerms[i].MatchExpressions {
			all = append(all, requirementText(&e))
		}
		terms = append(terms, strings.Join(all, " and "))
	}
	return strings.Join(terms, ", or ")
}

func requirementText(e *corev1.NodeSelectorRequirement) string {
	switch {
	case e.Operator == corev1.NodeSelectorOpIn && len(e.Values) == 1:
		return fmt.Sprintf("with label %s=%s", e.Key, e.Values[0])
	case e.Operator == corev1.NodeSelectorOpIn:
		return fmt.Sprintf("with label %s in (%s)", e.Key, strings.Join(e.Values, ", "))
	case e.Operator == corev1.NodeSelectorOpNotIn:
		return fmt.Sprintf("with label %s not in (%s)", e.Key, strings.Join(e.Values, ", "))
	case e.Operator == corev1.NodeSelectorOpExists:
		return "with label " + e.Key
	case e.Operator == corev1.NodeSelectorOpDoesNotExist:
		return "without label " + e.Key
	case e.Operator == corev1.NodeSelectorOpGt:
		return fmt.Sprintf("with label %s above %s", e.Key, strings.Join(e.Values, ", "))
	default:
		return fmt.Sprintf("with label %s below %s", e.Key, strings.Join(e.Values, ", "))
	}
}
