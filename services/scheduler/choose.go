package scheduler

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
)

// mostTold bounds the candidates that are told with a placement.
const mostTold = 3

// search looks for the best nodes for one pod, and counts why the others are none.
type search struct {
	account *account
	shape   *shape
	crowd   crowding
	company *company // nil when no other pod bears on this one
	top     [mostTold]rank
	found   int // in top
	wanted  int // in top: less than it holds only when fewer nodes will do
	steps   int
	out     counts
	near    nearest
}

// counts are numbers of nodes by reason; few reasons.
type counts []reasonCount

type reasonCount struct {
	reason string
	nodes  int
}

func (c *counts) add(reason string, nodes int) {
	if nodes == 0 {
		return
	}
	for i := range *c {
		if (*c)[i].reason == reason {
			(*c)[i].nodes += nodes
			return
		}
	}
	*c = append(*c, reasonCount{reason: reason, nodes: nodes})
}

func (c counts) sum() int {
	sum := 0
	for i := range c {
		sum += c[i].nodes
	}
	return sum
}

func (a *account) newSearch(p *pod, c *company) *search {
	s := &search{account: a, shape: p.shape, crowd: a.crowdingOf(p), wanted: mostTold, near: nearest{most: mostMisses}}
	if c.any() {
		s.company = c
	}
	return s
}

// choose finds the best nodes for a pod. In a ranking it walks down only until nothing further down can be better: what is taken off later
// never adds to a score. What it finds and counts follows from what the account holds, whichever way it takes.
func (a *account) choose(p *pod, c *company) *search {
	s := a.newSearch(p, c)
	if !p.shape.isPinned {
		if r := a.rankingFor(p.shape, s.crowd.workload); r != nil {
			s.useRanking(r)
			return s
		}
	}
	s.scan()
	return s
}

// best returns the chosen node, or nil.
func (s *search) best() *node {
	if s.found == 0 {
		return nil
	}
	return s.top[0].node
}

// scan looks at every node, or at those that the pod names.
func (s *search) scan() {
	if !s.shape.isPinned {
		for _, n := range s.account.nodes {
			s.look(n)
		}
		return
	}
	looked := 0
	for _, name := range s.shape.pinned {
		if n := s.account.byName[name]; n != nil && n.object != nil {
			s.look(n)
			looked++
		}
	}
	s.out.add(reasonAffinity, s.account.existing-looked)
}

// look considers a node of which nothing is known yet.
func (s *search) look(n *node) {
	if n == nil || n.object == nil {
		return
	}
	if reason := s.refuse(n); reason != "" {
		s.out.add(reason, 1)
		return
	}
	place := s.shape.rankOf(n, s.shape.fixedScore(n), s.crowd.workload)
	place.score -= s.crowd.inZone(n.zone)
	if s.company != nil {
		place.score -= s.company.off(n)
	}
	s.take(place)
}

// refuse says why a node will not do, and remembers it if all it takes is room.
func (s *search) refuse(n *node) string {
	if reason := s.shape.ruledOut(n); reason != "" {
		return reason
	}
	if l := s.shape.full(n); l != lackNothing {
		if l != lackPorts {
			s.near.add(miss{distance: s.shape.distance(n), node: n})
		}
		return s.shape.reason(l)
	}
	if s.company != nil {
		return s.company.refuses(n, "")
	}
	return ""
}

func (s *search) useRanking(r *ranking) {
	r.countOut(&s.out)
	r.nearest(&s.near)
	fit := r.room
	if s.company != nil && s.company.hard() && fit > 0 {
		fit -= s.account.countRefused(r, s.company, &s.out)
	}
	if s.wanted = min(mostTold, fit); s.wanted > 0 {
		s.walk(r)
	}
}

// walk goes down a ranking, zone by zone. Nodes that were given pods since they were ranked stand too high, never too low: they are judged by what
// they are now, and put right afterwards.
func (s *search) walk(r *ranking) {
	mates := s.crowd
	if r.mates != nil {
		mates.workload = nil // they are in the scores already
	}
	var stale []*node
	for i := range r.zones {
		zone := &r.zones[i]
		off := s.crowd.inZone(zone.zone)
		first := true
		zone.best.Scan(func(bound rank) bool {
			n := bound.node
			if first && s.company != nil && zone.zone != "" && s.company.refuses(n, corev1.LabelTopologyZone) != "" {
				return false // and so it does every node of the zone
			}
			first = false
			place := bound
			if at := &r.seats[n.id]; at.given != n.given {
				stale = append(stale, n)
				place = s.shape.rankOf(n, at.fixed, r.mates)
			}
			if bound.score -= off; s.enough(bound) {
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

// enough says that neither a place nor any that is worse is one of the best: because all that will do are found, or three better ones.
func (s *search) enough(place rank) bool {
	return s.found == s.wanted && (s.wanted < mostTold || s.top[s.found-1].before(place))
}

// consider takes a place if it is one of the best so far.
func (s *search) consider(place rank, mates crowding) {
	s.steps++
	if s.enough(place) {
		return
	}
	if s.company != nil {
		if s.company.refuses(place.node, "") != "" {
			return
		}
		place.score -= s.company.off(place.node)
	}
	place.score -= mates.onNode(place.node)
	s.take(place)
}

func (s *search) take(place rank) {
	i := s.found
	for i > 0 && place.before(s.top[i-1]) {
		i--
	}
	if i == s.wanted {
		return
	}
	s.found = min(s.found+1, s.wanted)
	copy(s.top[i+1:s.found], s.top[i:])
	s.top[i] = place
}

// choice tells what the search came to. It is asked before the pod is counted against the chosen node.
func (s *search) choice() *events.Choice {
	c := &events.Choice{Nodes: s.account.existing, Near: s.near.tell(s.shape)}
	if len(s.out) > 0 {
		c.Out = make(map[string]int, len(s.out))
		for i := range s.out {
			c.Out[s.out[i].reason] = s.out[i].nodes
		}
	}
	if s.found > 0 {
		c.Top = make([]events.Candidate, s.found)
		for i := range c.Top {
			c.Top[i] = s.candidate(s.top[i].node)
		}
	}
	return c
}
