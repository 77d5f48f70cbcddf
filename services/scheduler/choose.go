package scheduler

import corev1 "k8s.io/api/core/v1"

// search looks for the best node for one pod.
type search struct {
	account *account
	shape   *shape
	crowd   crowding
	company *company // nil when no other pod bears on this one
	best    rank
	steps   int
}

// choose returns the best node for a pod, or nil. In a ranking it walks down only until nothing further down can be better: what is taken off
// later never adds to a score.
func (a *account) choose(p *pod, c *company) *node {
	s := search{account: a, shape: p.shape, crowd: a.crowdingOf(p)}
	if c.any() {
		s.company = c
	}
	if p.shape.isPinned {
		for _, name := range p.shape.pinned {
			s.look(a.byName[name])
		}
		return s.best.node
	}
	if r := a.rankingFor(p.shape, s.crowd.workload); r != nil {
		s.walk(r)
		return s.best.node
	}
	for _, n := range a.nodes {
		s.look(n)
	}
	return s.best.node
}

// look considers a node of which nothing is known yet.
func (s *search) look(n *node) {
	if n == nil || n.object == nil || s.shape.ruledOut(n) != "" || s.shape.full(n) != "" {
		return
	}
	place := s.shape.rankOf(n, s.shape.fixedScore(n), s.crowd.workload)
	place.score -= s.crowd.inZone(s.account, n.zone)
	s.consider(place, nil)
}

// walk goes down a ranking, zone by zone. Nodes that were given pods since they were ranked stand too high, never too low: they are judged by what
// they are now, and put right afterwards.
func (s *search) walk(r *ranking) {
	mates := s.crowd.workload
	if r.mates != nil {
		mates = nil // they are in the scores already
	}
	var stale []*node
	for _, zone := range r.zones {
		off := s.crowd.inZone(s.account, zone.zone)
		first := true
		zone.best.Scan(func(bound rank) bool {
			n := bound.node
			if first && s.company != nil && s.company.refuses(n, corev1.LabelTopologyZone) != "" {
				return false // and so it does every node of the zone
			}
			first = false
			place := bound
			if at := &r.seats[n.id]; at.given != n.given {
				stale = append(stale, n)
				if s.shape.full(n) != "" {
					return true
				}
				place = s.shape.rankOf(n, at.fixed, r.mates)
			}
			if bound.score -= off; s.best.node != nil && s.best.before(bound) {
				return false
			}
			place.score -= off
			s.consider(place, mates)
			return true
		})
	}
	for _, n := range stale {
		r.update(&r.seats[n.id], n)
	}
	if w := s.crowd.workload; w != nil && s.steps > longWalk {
		w.longWalks = true
	}
}

// consider takes a place if it is the best so far.
func (s *search) consider(place rank, mates *workload) {
	s.steps++
	if s.best.node != nil && s.best.before(place) {
		return
	}
	if s.company != nil {
		if s.company.refuses(place.node, "") != "" {
			return
		}
		place.score -= s.company.off(place.node)
	}
	if mates != nil {
		place.score -= matePoints * int64(mates.byNode[place.node])
	}
	if s.best.node == nil || place.before(s.best) {
		s.best = place
	}
}
