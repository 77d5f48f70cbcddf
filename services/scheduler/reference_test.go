package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/wakehq/wake/events"
)

// The default weights, as points.
const (
	preferencePoints = 200
	avoidPoints      = 30_000
	matePoints       = 5_000
	zoneMatePoints   = 500
	mostZonePoints   = 5_000
)

// reference schedules as the documentation says, from the state alone, looking at every node and every pod for every pod. It shares with the
// scheduler the weights, the order among equals and the words, not the bookkeeping.
type reference struct {
	nodes   []*corev1.Node
	placed  []*corev1.Pod
	waiting []*events.Object
	failed  map[string]string
	blue    bool                      // the labels of the namespace
	why     map[string]*events.Choice // of the pods that found a place
}

func newReference(s *events.State) *reference {
	r := &reference{failed: map[string]string{}, why: map[string]*events.Choice{}}
	if o, ok := s.Get(events.Ref{Resource: "namespaces", Name: "default"}); ok {
		r.blue = o.Meta().GetLabels()["team"] == "blue"
	}
	for o := range s.All(nodes, "") {
		r.nodes = append(r.nodes, o.Typed().(*corev1.Node))
	}
	for o := range s.All(pods, "") {
		p := o.Typed().(*corev1.Pod)
		switch {
		case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
		case p.Spec.NodeName != "":
			r.placed = append(r.placed, p)
		case p.DeletionTimestamp == nil && p.Spec.SchedulerName == "default-scheduler":
			r.waiting = append(r.waiting, o)
		}
	}
	slices.SortFunc(r.waiting, func(a, b *events.Object) int {
		x, y := a.Typed().(*corev1.Pod), b.Typed().(*corev1.Pod)
		return cmp.Or(cmp.Compare(priorityOf(y), priorityOf(x)), x.CreationTimestamp.Compare(y.CreationTimestamp.Time),
			cmp.Compare(a.Facet(events.Desired).Revision, b.Facet(events.Desired).Revision))
	})
	return r
}

// decide returns, for each waiting pod, "name -> node" or "name: why not" or, if it was told only just now, "name waits", in order.
func (r *reference) decide(now time.Time) []string {
	var out []string
	for _, o := range r.waiting {
		p := o.Typed().(*corev1.Pod).DeepCopy()
		like := shapeOfText(p) + fmt.Sprint(p.Labels, p.Spec.Affinity, p.Spec.TopologySpreadConstraints)
		if !ruled(p) && !r.shunned(p) {
			like = shapeOfText(p)
		}
		var best *corev1.Node
		if _, failed := r.failed[like]; !failed {
			best = r.best(p)
		}
		if best == nil {
			if e := o.Facet(events.Observed); len(p.Status.Conditions) > 0 && now.Before(e.At.Add(tellAgainAfter)) {
				r.failed[like] += ""
				out = append(out, p.Name+" waits")
				continue
			}
			r.failed[like] = cmp.Or(r.failed[like], r.counts(p))
			out = append(out, p.Name+": "+r.failed[like])
			continue
		}
		p.Spec.NodeName = best.Name
		r.placed = append(r.placed, p)
		out = append(out, p.Name+" -> "+best.Name)
	}
	return out
}

func shapeOfText(p *corev1.Pod) string {
	d := demandOf(p)
	return shapeKey(p, &d)
}

func ruled(p *corev1.Pod) bool {
	a := p.Spec.Affinity
	return len(p.Spec.TopologySpreadConstraints) > 0 || a != nil && (a.PodAffinity != nil || a.PodAntiAffinity != nil)
}

func (r *reference) best(p *corev1.Pod) *corev1.Node {
	seed := hashText(shapeOfText(p))
	why := &events.Choice{Nodes: len(r.nodes)}
	fitting := map[string]*corev1.Node{}
	var misses []events.Miss
	near := map[string]float64{}
	for _, n := range r.nodes {
		if reason := r.refuses(p, n); reason != "" {
			why.Out = counted(why.Out, reason)
			if lacks, kinds, worst := r.lacks(p, n); reason == reasonTooManyPods || strings.HasPrefix(reason, "Insufficient") {
				misses, near[n.Name] = append(misses, events.Miss{Node: n.Name, Lacks: strings.Join(lacks, " and ")}), float64(kinds)*1e15+math.Floor(1000*worst)
			}
			continue
		}
		fitting[n.Name] = n
		why.Top = append(why.Top, r.score(p, n))
	}
	slices.SortFunc(why.Top, func(a, b events.Candidate) int {
		return cmp.Or(cmp.Compare(b.Score(), a.Score()), cmp.Compare(mix(seed^hashText(a.Node)), mix(seed^hashText(b.Node))))
	})
	slices.SortFunc(misses, func(a, b events.Miss) int {
		return cmp.Or(cmp.Compare(near[a.Node], near[b.Node]), cmp.Compare(a.Node, b.Node))
	})
	if len(why.Top) == 0 {
		return nil
	}
	best := fitting[why.Top[0].Node]
	why.Top, why.Near = why.Top[:min(3, len(why.Top))], misses[:min(2, len(misses))]
	r.why[p.Name] = why
	return best
}

func counted(counts map[string]int, reason string) map[string]int {
	if counts == nil {
		counts = map[string]int{}
	}
	counts[reason]++
	return counts
}

// lacks tells what a node has too little of, how many kinds, and the worst in shares of what is asked for.
func (r *reference) lacks(p *corev1.Pod, n *corev1.Node) (lacks []string, kinds int, worst float64) {
	if on := len(r.on(n)); on+1 > int(n.Status.Allocatable.Pods().Value()) {
		lacks, kinds, worst = append(lacks, "room for another pod"), 1, float64(on+1)-float64(n.Status.Allocatable.Pods().Value())
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, "example.com/gpu"} {
		need := resource.PodRequests(p, resource.PodResourcesOptions{})[name]
		lack := need.DeepCopy()
		for _, other := range r.on(n) {
			lack.Add(resource.PodRequests(other, resource.PodResourcesOptions{})[name])
		}
		if lack.Sub(n.Status.Allocatable[name]); !need.IsZero() && lack.Sign() > 0 {
			lacks, kinds = append(lacks, fmt.Sprintf("%s of %s", lack.String(), name)), kinds+1
			worst = max(worst, float64(lack.MilliValue())/float64(need.MilliValue()))
		}
	}
	return lacks, kinds, worst
}

func (r *reference) counts(p *corev1.Pod) string {
	byReason := map[string]int{}
	for _, n := range r.nodes {
		byReason[r.refuses(p, n)]++
	}
	var list counts
	for reason, nodes := range byReason {
		list.add(reason, nodes)
	}
	return fmt.Sprintf("0/%d nodes are available: ", len(r.nodes)) + list.words()
}

func (r *reference) on(n *corev1.Node) []*corev1.Pod {
	return slices.DeleteFunc(slices.Clone(r.placed), func(p *corev1.Pod) bool { return p.Spec.NodeName != n.Name })
}

func (r *reference) refuses(p *corev1.Pod, n *corev1.Node) string {
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(p).Match(n); err != nil || !ok {
		return reasonAffinity
	}
	if n.Spec.Unschedulable {
		return reasonUnschedulable
	}
	for _, taint := range n.Spec.Taints {
		if taint.Effect == corev1.TaintEffectNoSchedule && !tolerates(p, taint) {
			return fmt.Sprintf("node(s) had untolerated taint {%s: %s}", taint.Key, taint.Value)
		}
	}
	for _, other := range r.on(n) {
		for _, a := range p.Spec.Containers[0].Ports {
			for _, b := range other.Spec.Containers[0].Ports {
				if a.HostPort > 0 && a.HostPort == b.HostPort {
					return reasonPorts
				}
			}
		}
	}
	if len(r.on(n))+1 > int(n.Status.Allocatable.Pods().Value()) {
		return reasonTooManyPods
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, "example.com/gpu"} {
		need := resource.PodRequests(p, resource.PodResourcesOptions{})[name]
		sum := need.DeepCopy()
		for _, other := range r.on(n) {
			sum.Add(resource.PodRequests(other, resource.PodResourcesOptions{})[name])
		}
		if has := n.Status.Allocatable[name]; !need.IsZero() && sum.Cmp(has) > 0 {
			return "Insufficient " + string(name)
		}
	}
	return r.company(p, n)
}

func tolerates(p *corev1.Pod, taint corev1.Taint) bool {
	return slices.ContainsFunc(p.Spec.Tolerations, func(t corev1.Toleration) bool { return t.Key == taint.Key && t.Operator == corev1.TolerationOpExists })
}

func selects(selector *metav1.LabelSelector, p *corev1.Pod) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(p.Labels))
}

// means says whether a term of affinity selects a pod.
func (r *reference) means(t *corev1.PodAffinityTerm, p *corev1.Pod) bool {
	return (t.NamespaceSelector == nil || r.blue) && selects(t.LabelSelector, p)
}

// matching counts the placed pods in n's domain that a term selects; all counts those in any domain.
func (r *reference) matching(t *corev1.PodAffinityTerm, n *corev1.Node) (here, all int) {
	for _, m := range r.nodes {
		domain, ok := m.Labels[t.TopologyKey]
		for _, other := range r.on(m) {
			if ok && r.means(t, other) {
				all++
				if mine, ok := n.Labels[t.TopologyKey]; ok && mine == domain {
					here++
				}
			}
		}
	}
	return here, all
}

func (r *reference) company(p *corev1.Pod, n *corev1.Node) string {
	for _, c := range p.Spec.TopologySpreadConstraints {
		if reason := r.skewed(p, n, c); reason != "" {
			return reason
		}
	}
	if a := p.Spec.Affinity; a != nil && a.PodAffinity != nil {
		t := &a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0]
		here, all := r.matching(t, n)
		if _, ok := n.Labels[t.TopologyKey]; !ok || here == 0 && (all > 0 || !r.means(t, p)) {
			return reasonTogether
		}
	}
	if a := p.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		if here, _ := r.matching(&a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0], n); here > 0 {
			return reasonApart
		}
	}
	for _, m := range r.nodes {
		for _, other := range r.on(m) {
			if a := other.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
				t := a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0]
				theirs, ok := m.Labels[t.TopologyKey]
				if mine, has := n.Labels[t.TopologyKey]; ok && has && mine == theirs && r.means(&t, p) {
					return reasonApartOthers
				}
			}
		}
	}
	return ""
}

// shunned says that some pod in some domain refuses p's company.
func (r *reference) shunned(p *corev1.Pod) bool {
	for _, n := range r.nodes {
		for _, other := range r.on(n) {
			if a := other.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
				t := a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0]
				if _, ok := n.Labels[t.TopologyKey]; ok && r.means(&t, p) {
					return true
				}
			}
		}
	}
	return false
}

func (r *reference) skewed(p *corev1.Pod, n *corev1.Node, c corev1.TopologySpreadConstraint) string {
	if _, ok := n.Labels[c.TopologyKey]; !ok {
		return reasonSpreadNoLabel
	}
	domains := map[string]int{}
	for _, m := range r.nodes {
		domain, ok := m.Labels[c.TopologyKey]
		if match, _ := nodeaffinity.GetRequiredNodeAffinity(p).Match(m); !ok || !match {
			continue
		}
		domains[domain] += 0
		for _, other := range r.on(m) {
			if selects(c.LabelSelector, other) && other.DeletionTimestamp == nil {
				domains[domain]++
			}
		}
	}
	here, least := domains[n.Labels[c.TopologyKey]], 0
	if len(domains) > 0 {
		least = slices.Min(slices.Collect(maps.Values(domains)))
	}
	if selects(c.LabelSelector, p) {
		here++
	}
	if here-least > int(c.MaxSkew) {
		return reasonSpread
	}
	return ""
}

func (r *reference) score(p *corev1.Pod, n *corev1.Node) events.Candidate {
	cpu, memory := demandOf(p).scoredCPU, demandOf(p).scoredMemory
	mates, zoneMates := int64(0), map[string]int64{}
	owner := workloadOf(p)
	for _, m := range r.nodes {
		zoneMates[m.Labels[corev1.LabelTopologyZone]] += 0
		for _, other := range r.on(m) {
			if m == n {
				cpu, memory = cpu+demandOf(other).scoredCPU, memory+demandOf(other).scoredMemory
			}
			if owner != "" && workloadOf(other) == owner {
				zoneMates[m.Labels[corev1.LabelTopologyZone]]++
				if m == n {
					mates++
				}
			}
		}
	}
	c := events.Candidate{Node: n.Name}
	c.Free = (freeShare(n.Status.Allocatable.Cpu().MilliValue(), cpu) + freeShare(n.Status.Allocatable.Memory().Value(), memory)) / 2
	lead := zoneMates[n.Labels[corev1.LabelTopologyZone]] - slices.Min(slices.Collect(maps.Values(zoneMates)))
	c.Mates, c.Zone = -matePoints*mates, -min(mostZonePoints, zoneMatePoints*lead)
	for _, taint := range n.Spec.Taints {
		if taint.Effect == corev1.TaintEffectPreferNoSchedule && !tolerates(p, taint) {
			c.Taints -= avoidPoints
		}
	}
	if a := p.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		for _, term := range a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			if e := term.Preference.MatchExpressions[0]; n.Labels[e.Key] == e.Values[0] {
				c.Prefer += preferencePoints * int64(term.Weight)
			}
		}
	}
	return c
}

// withoutNearest cuts the nearest miss off a message.
func withoutNearest(message string) string {
	head, _, _ := strings.Cut(message, " Nearest miss:")
	return strings.TrimSuffix(head, ".")
}
