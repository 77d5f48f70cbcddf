package scheduler

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The reasons for which other pods rule a node out, in Kubernetes' words.
const (
	reasonTogether      = "node(s) didn't match pod affinity rules"
	reasonApart         = "node(s) didn't match pod anti-affinity rules"
	reasonApartOthers   = "node(s) didn't satisfy existing pods anti-affinity rules"
	reasonSpread        = "node(s) didn't match pod topology spread constraints"
	reasonSpreadNoLabel = "node(s) didn't match pod topology spread constraints (missing required label)"
)

// rules are what a pod says about where other pods are. Most pods say nothing: nil.
type rules struct {
	key      string // equal for pods that say the same
	together []*term
	apart    []*term
	spread   []*spread
	softly   []softRule
	wrong    string // why they can't be read
}

type softRule struct {
	term   *term
	weight int64
	apart  bool
}

// rulesOf compiles what a pod says about other pods.
func (a *account) rulesOf(p *corev1.Pod) *rules {
	affinity := p.Spec.Affinity
	if len(p.Spec.TopologySpreadConstraints) == 0 && (affinity == nil || affinity.PodAffinity == nil && affinity.PodAntiAffinity == nil) {
		return nil
	}
	r := &rules{}
	key := appendText(nil, 'n', p.Namespace)
	if affinity != nil && affinity.PodAffinity != nil {
		key = appendMessage(key, 'a', affinity.PodAffinity)
		a.addTogether(r, p, affinity.PodAffinity)
	}
	if affinity != nil && affinity.PodAntiAffinity != nil {
		key = appendMessage(key, 'b', affinity.PodAntiAffinity)
		a.addApart(r, p, affinity.PodAntiAffinity)
	}
	for i := range p.Spec.TopologySpreadConstraints {
		key = appendMessage(key, 'c', &p.Spec.TopologySpreadConstraints[i])
	}
	a.addSpread(r, p)
	r.terms(func(t *term) { key = appendText(key, 't', t.key) }) // label keys mean something else on each pod
	r.key = string(key)
	return r
}

// addTogether reads pod affinity. As in Kubernetes, one pod must satisfy all required terms to count for any of them.
func (a *account) addTogether(r *rules, p *corev1.Pod, affinity *corev1.PodAffinity) {
	required := affinity.RequiredDuringSchedulingIgnoredDuringExecution
	all := make([]selector, len(required))
	for i := range required {
		all[i] = r.selector(p, &required[i])
	}
	for i := range required {
		r.together = append(r.together, a.use(newTerm(required[i].TopologyKey, false, all...)))
	}
	a.addSoft(r, p, affinity.PreferredDuringSchedulingIgnoredDuringExecution, false)
}

func (a *account) addApart(r *rules, p *corev1.Pod, affinity *corev1.PodAntiAffinity) {
	required := affinity.RequiredDuringSchedulingIgnoredDuringExecution
	for i := range required {
		r.apart = append(r.apart, a.use(newTerm(required[i].TopologyKey, false, r.selector(p, &required[i]))))
	}
	a.addSoft(r, p, affinity.PreferredDuringSchedulingIgnoredDuringExecution, true)
}

func (a *account) addSoft(r *rules, p *corev1.Pod, preferred []corev1.WeightedPodAffinityTerm, apart bool) {
	for i := range preferred {
		t := &preferred[i].PodAffinityTerm
		r.softly = append(r.softly, softRule{term: a.use(newTerm(t.TopologyKey, false, r.selector(p, t))), weight: int64(preferred[i].Weight), apart: apart})
	}
}

func (r *rules) selector(p *corev1.Pod, t *corev1.PodAffinityTerm) selector {
	s, err := affinitySelector(p, t)
	if err != nil {
		r.wrong = "the pod's affinity can't be read: " + err.Error()
	}
	return s
}

// terms calls yield with every term that the rules speak of.
func (r *rules) terms(yield func(*term)) {
	for _, t := range slices.Concat(r.together, r.apart) {
		yield(t)
	}
	for _, s := range r.softly {
		yield(s.term)
	}
	for _, s := range r.spread {
		yield(s.term)
	}
}

// company is how the pods already placed bear on one that waits.
type company struct {
	points *points
	pod    *pod
	first  bool    // nobody is there yet whom the pod must be with, but it is one of them itself
	others []*term // whose holders refuse the pod's company
}

func (p *pod) company(a *account) company {
	c := company{points: a.points, pod: p}
	for _, t := range p.in {
		if len(t.holding) > 0 {
			c.others = append(c.others, t)
		}
	}
	if p.rules == nil {
		return c
	}
	for _, s := range p.rules.spread {
		s.prepare(a)
	}
	if len(p.rules.together) > 0 {
		c.first = true
		for _, t := range p.rules.together {
			c.first = c.first && t.total == 0 && slices.Contains(p.in, t)
		}
	}
	return c
}

// any says that other pods bear on the pod at all.
func (c *company) any() bool { return c.pod.rules != nil || len(c.others) > 0 }

// hard says that other pods may rule nodes out.
func (c *company) hard() bool {
	r := c.pod.rules
	return len(c.others) > 0 || r != nil && (len(r.together) > 0 || len(r.apart) > 0 || slices.ContainsFunc(r.spread, func(s *spread) bool { return s.hard }))
}

// refuses says why the pods already placed rule a node out; "" if they don't. With a topology, only the rules about domains of that label count.
func (c *company) refuses(n *node, topology string) string {
	speaks := func(t *term) bool { return topology == "" || t.topology == topology }
	if r := c.pod.rules; r != nil {
		for _, s := range r.spread {
			if reason := s.refuses(c.pod, n); reason != "" && speaks(s.term) {
				return reason
			}
		}
		for _, t := range r.together {
			if domain, ok := t.domain(n); speaks(t) && (!ok || t.matching[domain] == 0 && !c.first) {
				return reasonTogether
			}
		}
		for _, t := range r.apart {
			if domain, ok := t.domain(n); speaks(t) && ok && t.matching[domain] > 0 {
				return reasonApart
			}
		}
	}
	for _, t := range c.others {
		if domain, ok := t.domain(n); speaks(t) && ok && t.holding[domain] > 0 {
			return reasonApartOthers
		}
	}
	return ""
}

// off is what preferences about other pods take off a node's score; never less than 0.
func (c *company) off(n *node) int64 {
	r := c.pod.rules
	if r == nil {
		return 0
	}
	off := int64(0)
	for _, s := range r.softly {
		domain, ok := s.term.domain(n)
		if met := ok && s.term.matching[domain] > 0; met == s.apart {
			off += c.points.soft * s.weight
		}
	}
	for _, s := range r.spread {
		off += s.off(n, c.points)
	}
	return off
}

// alike is equal for pods on which other pods bear in the same way.
func (c *company) alike() string {
	if !c.any() {
		return ""
	}
	keys := make([]string, 0, len(c.pod.in)+1)
	for _, t := range c.pod.in {
		keys = append(keys, t.key)
	}
	if c.pod.rules != nil {
		keys = append(keys, c.pod.rules.key)
	}
	return strings.Join(keys, "\x00")
}
