package scheduler

import "math"

const (
	// mostSeats bounds what all rankings together remember: about 130 bytes each.
	mostSeats = 320_000
	// leastRankings are kept however many nodes there are.
	leastRankings = 8
	// mostIdleShapes bounds the shapes that no waiting pod has.
	mostIdleShapes = 256
)

// tidy forgets memos that cost more room than they save time. It changes no decision.
func (a *account) tidy() {
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
			a.drop(s)
			delete(a.shapes, key)
		}
	}
	a.shapesKept = len(a.shapes)
}

// remember keeps a new ranking, in place of the one unused for longest if there are too many.
func (a *account) remember(s *shape, r *ranking) {
	if s.ranking == nil {
		if a.rankings >= max(leastRankings, mostSeats/max(1, len(a.nodes))) {
			a.dropOldest()
		}
		a.rankings++
	}
	s.ranking = r
}

func (a *account) dropOldest() {
	var oldest *shape
	least := uint64(math.MaxUint64)
	for _, s := range a.shapes {
		if s.ranking != nil && s.used < least {
			oldest, least = s, s.used
		}
	}
	a.drop(oldest)
}

func (a *account) drop(s *shape) {
	if s != nil && s.ranking != nil {
		s.ranking = nil
		a.rankings--
	}
}
