package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// sum is what a State's facets come to: the sum of their digests, in four numbers that overflow. The order in which they came doesn't matter, and one can be
// taken out again. That somebody could choose facets so that two States have one sum is no concern: that events are what was written is proven by their chain.
type sum [4]uint64

// digestSum is the sum of one facet.
func digestSum(e *Event, scratch []byte) (sum, []byte) {
	b := appendSubject(scratch[:0], e.Facet, e.Ref)
	b = append(b, 0)
	b = append(b, e.UID...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint64(b, e.Revision)
	b = append(b, e.Payload...)
	digest := sha256.Sum256(b)
	var out sum
	for i := range out {
		out[i] = binary.BigEndian.Uint64(digest[8*i:])
	}
	return out, b
}

func (a sum) add(b sum) sum {
	for i := range a {
		a[i] += b[i]
	}
	return a
}

func (a sum) sub(b sum) sum {
	for i := range a {
		a[i] -= b[i]
	}
	return a
}

// counted returns the facet f of o if it is part of the hash.
func (o *Object) counted(f Facet) *Event {
	if o == nil || !o.exists() || o.IsNote() {
		return nil
	}
	return o.Facet(f)
}

// Hash identifies the state: two States with equal hashes hold the same facets of the same objects at the same revisions. Notes are no part of it. The first
// call takes as long as the State is large; from then on it is kept up with every event, for about two microseconds each, and by forks made later.
func (s *State) Hash() string {
	total := s.sum.Load()
	if total == nil {
		counted := s.count()
		total = &counted
		s.sum.Store(total)
	}
	var b [32]byte
	for i, n := range total {
		binary.BigEndian.PutUint64(b[8*i:], n)
	}
	return hex.EncodeToString(b[:])
}

// count sums up all facets.
func (s *State) count() (total sum) {
	var all []*Object
	for _, t := range s.tables {
		t.live.Scan(func(_ string, o *Object) bool {
			all = append(all, o)
			return true
		})
	}
	const share = 256
	type portion struct {
		objects []*Object
		sum     sum
	}
	var portions []*portion
	for len(all) > 0 {
		n := min(share, len(all))
		portions = append(portions, &portion{objects: all[:n]})
		all = all[n:]
	}
	inParallel(portions, func(p *portion) {
		var one sum
		var scratch []byte
		for _, o := range p.objects {
			for f := range facets {
				if e := o.counted(f); e != nil {
					one, scratch = digestSum(e, scratch)
					p.sum = p.sum.add(one)
				}
			}
		}
	})
	for _, p := range portions {
		total = total.add(p.sum)
	}
	return total
}

// recount keeps the sum up, if anybody has asked for it: old has become updated, either of which may be nil.
func (s *State) recount(old, updated *Object) {
	total := s.sum.Load()
	if total == nil {
		return
	}
	next := *total
	var one sum
	for f := range facets {
		before, after := old.counted(f), updated.counted(f)
		if before == after {
			continue
		}
		if before != nil {
			one, s.scratch = digestSum(before, s.scratch)
			next = next.sub(one)
		}
		if after != nil {
			one, s.scratch = digestSum(after, s.scratch)
			next = next.add(one)
		}
	}
	s.sum.Store(&next)
}
