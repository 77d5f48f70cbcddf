package scheduler

const (
	// mostSeats bounds what all rankings together remember: some 70 bytes each.
	mostSeats = 1_000_000
	// leastRankings may be kept however many nodes there are.
	leastRankings = 8
	// divisionsPerRanking bounds the divisions, of which a seat takes 4 bytes.
	divisionsPerRanking = 8
	// mostGivenBehind is how many pods may be placed per node before a ranking is built anew: seeing that nothing changed costs little.
	mostGivenBehind = 16
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
	if s.asked < 2 || a.unmemoised {
		return nil
	}
	key := rankingKey{shape: s}
	if w != nil && w.longWalks {
		key.mates = w
	}
	r := a.rankings[key]
	if r == nil || !a.canFollow(r.seen) {
		if r == nil && !a.roomForRanking() {
			return nil
		}
		a.drop(key)
		r = a.newRanking(s, key.mates)
		a.rankings[key] = r
	}
	r.catchUp(a)
	r.used = a.decision
	return r
}

// roomForRanking makes room if it can, at the cost of rankings that this decision and the last had no use for.
func (a *account) roomForRanking() bool {
	most := a.mostRankings()
	if len(a.rankings) >= most && a.swept != a.decision {
		a.swept = a.decision
		for key, r := range a.rankings {
			if r.used+1 < a.decision {
				a.drop(key)
			}
		}
	}
	return len(a.rankings) < most
}

func (a *account) mostRankings() int { return max(leastRankings, mostSeats/max(1, len(a.nodes))) }

// roomForDivision is false while there are too many; those that were not needed lately are forgotten at the end of a decision.
func (a *account) roomForDivision() bool { return a.divisions < divisionsPerRanking*a.mostRankings() }

// drop forgets a ranking.
func (a *account) drop(key rankingKey) {
	if r := a.rankings[key]; r != nil {
		a.divisions -= len(r.divisions)
		delete(a.rankings, key)
	}
}

// tidyDivisions makes room if there is none.
func (a *account) tidyDivisions() {
	if a.roomForDivision() {
		return
	}
	for _, r := range a.rankings {
		for key, d := range r.divisions {
			if d.used < a.decision {
				delete(r.divisions, key)
				a.divisions--
			}
		}
	}
}

// tidy forgets memos that cost more room than they save time. It changes no decision.
func (a *account) tidy() {
	a.tidyDivisions()
	a.decision++
	a.changed.trim(max(1024, 4*len(a.nodes)))
	a.given.trim(max(1024, 2*mostGivenBehind*len(a.nodes)))
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
			a.drop(key)
		}
	}
	a.shapesKept = len(a.shapes)
}
