package scheduler

import (
	corev1 "k8s.io/api/core/v1"
)

// Scores are points; a node that is empty after taking the pod has wholePoints for being free. The other weights stand in about the relation in
// which Kubernetes' default profile has them.
const (
	wholePoints      = 10_000
	preferencePoints = 200    // per unit of weight of a preferred node affinity term that matches
	avoidPoints      = 30_000 // off for each PreferNoSchedule taint that isn't tolerated
	matePoints       = 5_000  // off for each pod of the same workload on the node
	zoneMatePoints   = 500    // off for each pod of the same workload that the zone has more than the emptiest zone...
	mostZonePoints   = 5_000  // ...but no more than this, so that a small zone isn't stuffed to match large ones
)

// fixedScore is the part of a node's score that follows from the Node alone.
func (s *shape) fixedScore(n *node) int64 {
	score := int64(0)
	if s.preferred != nil {
		score += preferencePoints * s.preferred.Score(n.object)
	}
	for i := range n.taints {
		if t := &n.taints[i]; t.Effect == corev1.TaintEffectPreferNoSchedule && !tolerated(s.tolerations, t) {
			score -= avoidPoints
		}
	}
	return score
}

// freeScore is the share of CPU and memory that is left once the pod is there.
func (s *shape) freeScore(n *node) int64 {
	return (freeShare(n.allocatable.cpu, n.scoredCPU+s.scoredCPU) + freeShare(n.allocatable.memory, n.scoredMem+s.scoredMemory)) / 2
}

func freeShare(has, used int64) int64 {
	if has <= 0 || used >= has {
		return 0
	}
	return (has - used) * wholePoints / has
}

// crowding is what a workload's own pods take off the score of a place.
type crowding struct {
	workload *workload // nil for a pod that nobody owns, or the first of its workload
	fewest   int       // in any zone
}

func (a *account) crowdingOf(p *pod) crowding {
	c := crowding{workload: a.workloads[p.workload]}
	if c.workload == nil || len(a.zones) < 2 {
		return c
	}
	first := true
	for zone := range a.zones {
		if n := c.workload.byZone[zone]; first || n < c.fewest {
			c.fewest, first = n, false
		}
	}
	return c
}

func (c crowding) inZone(a *account, zone string) int64 {
	if c.workload == nil || len(a.zones) < 2 {
		return 0
	}
	return min(mostZonePoints, zoneMatePoints*int64(c.workload.byZone[zone]-c.fewest))
}
