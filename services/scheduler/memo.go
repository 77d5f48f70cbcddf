package scheduler

const (
	// mostSeats bounds what all rankings together remember: some 70 bytes each.
	mostSeats = 1_000_000
	// leastRankings may be kept however many nodes there are.
	leastRankings = 8
	// mostIdleShapes bounds the shapes that no waiting pod has.
	mostIdleShapes = 256
	// longWalk is how many nodes may be looked at for one pod before its workload gets a ranking of its own.
	longWalk = 256
)

// rankingKey says what a ranking is of.
type rankingKey struct {
	shape *shape
	mates *workload
}

// rankingFor returns the ranking to look for a pod's place in, up to date. Nil: there is none, and all nodes must be scanned, because the shape
// has not been asked for before, or there is no room for another ranking.
func (a *account) rankingFor(s *shape, w *workload) *ranking {
	s.asked++
	if s.asked < 2 {
		return nil
	}
	key := rankingKey{shape: s}
	if w != nil && w.longWalks {
		key.mates = w
	}
	r := a.rankings[key]
	if r == nil || r.seen < a.changed.begin || a.changed.end()-r.seen > uint64(len(a.nodes)) {
		if r == nil && !a.roomForRanking() {
			return nil
		}
		r = a.newRanking(s, key.mates)
		a.rankings[key] = r
	}
	r.catchUp(a)
	r.used = a.decision
	return r
}

// roomForRanking makes room if it can, at the cost of rankings that this decision and the last had no use for.
func (a *account) roomForRanking() bool {
	most := max(leastRankings, mostSeats/max(1, len(a.nodes)))
	if len(a.rankings) >= most && a.swept != a.decision {
		a.swept = a.decision
		for key, r := range a.rankings {
			if r.used+1 < a.decision {
				delete(a.rankings, key)
			}
		}
	}
	return len(a.rankings) < most
}

// tidy forgets memos that cost more room than they save time. It changes no decision.
func (a *account) tidy() {
	a.decision++
	a.changed.trim(max(1024, 4*len(a.nodes)))
	if len(a.shapes) <= a.shapesKept+mostIdleShapes {
		return
	}
	inUse := make(map[*shape]bool, len(a.shapes))
	a.waiting.Scan(func(p *pod) bool {
		inUse[p.shape] = true
		return true
	})
	for key, s := range a.shapes {
		if !inUse[s] {
			delete(a.shapes, key)
		}
	}
	for key := range a.rankings {
		if !inUse[key.shape] {
			delete(a.rankings, key)
		}
	}
	a.shapesKept = len(a.shapes)
}
