package scheduler

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// spread is one topology spread constraint of a pod (KEP-895) with the counts that it compares. Pods that say the same share it.
type spread struct {
	key        string
	term       *term
	hard       bool
	maxSkew    int
	minDomains int
	labels     []string // that a node must have to count: those of all the pod's constraints of this hardness
	required   *nodeaffinity.RequiredNodeAffinity
	tolerates  []corev1.Toleration // nil: taints don't matter
	byTaints   bool
	users      int

	built   uint64 // the account's topology when the counts were taken
	domains map[string]int
	levels  map[int]int // how many domains have how many pods
	least   int
}

// addSpread reads the topology spread constraints.
func (a *account) addSpread(r *rules, p *corev1.Pod) {
	constraints := p.Spec.TopologySpreadConstraints
	for i := range constraints {
		c := &constraints[i]
		pods, err := podSelector(p, c.LabelSelector, c.MatchLabelKeys, nil)
		if err != nil {
			r.wrong = "the pod's topology spread constraints can't be read: " + err.Error()
			continue
		}
		s := &spread{term: newTerm(c.TopologyKey, true, selector{namespaces: []string{p.Namespace}, pods: pods}), maxSkew: int(c.MaxSkew), minDomains: 1,
			hard: c.WhenUnsatisfiable == corev1.DoNotSchedule}
		if c.MinDomains != nil {
			s.minDomains = int(*c.MinDomains)
		}
		for j := range constraints {
			if constraints[j].WhenUnsatisfiable == c.WhenUnsatisfiable {
				s.labels = append(s.labels, constraints[j].TopologyKey)
			}
		}
		key := appendMessage([]byte(s.term.key), 'c', c)
		for _, label := range s.labels {
			key = appendText(key, 'l', label)
		}
		if c.NodeAffinityPolicy == nil || *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor {
			required := nodeaffinity.GetRequiredNodeAffinity(p)
			s.required = &required
			key = append(key, placementKey(p)...)
		}
		if c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor {
			s.byTaints, s.tolerates = true, p.Spec.Tolerations
			for j := range p.Spec.Tolerations {
				key = appendMessage(key, 't', &p.Spec.Tolerations[j])
			}
		}
		s.key = string(key)
		r.spread = append(r.spread, a.useSpread(s))
	}
}

// useSpread returns the constraint that says the same as s.
func (a *account) useSpread(s *spread) *spread {
	known := a.spreads[s.key]
	if known == nil {
		known = s
		known.term = a.use(s.term)
		known.term.users-- // counted below, once per pod
		known.term.spreads = append(known.term.spreads, known)
		a.spreads[s.key] = known
	}
	known.term.users++
	known.users++
	return known
}

func (a *account) dropSpread(s *spread) {
	if s.users--; s.users == 0 {
		delete(a.spreads, s.key)
		s.term.spreads = slices.DeleteFunc(s.term.spreads, func(other *spread) bool { return other == s })
	}
}

// counts says whether the pods on a node are compared.
func (s *spread) counts(n *node) bool {
	if n.object == nil {
		return false
	}
	for _, label := range s.labels {
		if _, ok := n.object.Labels[label]; !ok {
			return false
		}
	}
	if s.required != nil {
		if match, err := s.required.Match(n.object); err != nil || !match {
			return false
		}
	}
	return !s.byTaints || !slices.ContainsFunc(n.taints, func(t corev1.Taint) bool {
		return t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerated(s.tolerates, &t)
	})
}

// prepare takes the counts anew if nodes have changed since.
func (s *spread) prepare(a *account) {
	if s.built == a.topology {
		return
	}
	s.built, s.domains = a.topology, map[string]int{}
	for _, n := range a.byName {
		if s.counts(n) {
			s.domains[n.object.Labels[s.term.topology]] += s.term.byNode[n]
		}
	}
	s.levels, s.least = map[int]int{}, math.MaxInt
	for _, pods := range s.domains {
		s.levels[pods]++
		s.least = min(s.least, pods)
	}
}

// count follows a pod that came (sign 1) or went (-1).
func (s *spread) count(n *node, domain string, sign int) {
	if s.built == 0 || !s.counts(n) {
		return
	}
	before, ok := s.domains[domain]
	if !ok {
		return // a node that is new to the topology: the counts are out of date anyway
	}
	s.domains[domain] = before + sign
	tally(s.levels, before, -1)
	tally(s.levels, before+sign, 1)
	if s.least == before && s.levels[before] == 0 || before+sign < s.least {
		s.least = before + sign
	}
}

// floor is the number of pods in the emptiest domain.
func (s *spread) floor() int {
	if len(s.domains) < s.minDomains || len(s.domains) == 0 {
		return 0
	}
	return s.least
}

func (s *spread) refuses(p *pod, n *node) string {
	if !s.hard {
		return ""
	}
	domain, ok := s.term.domain(n)
	if !ok {
		return reasonSpreadNoLabel
	}
	pods := s.domains[domain]
	if slices.Contains(p.in, s.term) {
		pods++
	}
	if pods-s.floor() > s.maxSkew {
		return reasonSpread
	}
	return ""
}

// off is what a soft constraint takes off a node's score.
func (s *spread) off(n *node, p *points) int64 {
	if s.hard {
		return 0
	}
	domain, ok := s.term.domain(n)
	if !ok {
		return p.mate
	}
	return min(p.mostZoneMate, p.zoneMate*int64(max(0, s.domains[domain]-s.floor())))
}
