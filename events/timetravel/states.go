package timetravel

import (
	"context"
	"slices"
	"sync"

	"github.com/wakehq/wake/events"
)

const (
	// maxHeld bounds the past states that are held, in bytes as load counts them; the newest is held however large it is. What states share counts for each.
	maxHeld = 256 << 20
	// maxFolds bounds how many states are folded at a time: each is heavy on memory and uses all processors.
	maxFolds = 2
)

// folder makes the state at a revision, from a fork of a slightly older state if there is one, and says how large it is, in bytes.
type folder func(ctx context.Context, fork *events.State, revision events.Revision) (*events.State, int, error)

// states holds past states: a person looks at few moments, but several times. Use newStates.
type states struct {
	mu      sync.Mutex
	kept    []kept // most recently used last
	size    int    // of kept, bytes
	limit   int    // of size
	flights map[events.Revision]*flight
	slots   chan struct{}
}

type kept struct {
	state *events.State
	size  int
}

// flight is a fold in progress that several may wait for.
type flight struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiting int // who leave last end the fold
	state   *events.State
	err     error
}

func newStates() *states {
	return &states{limit: maxHeld, flights: map[events.Revision]*flight{}, slots: make(chan struct{}, maxFolds)}
}

// held returns the state at revision if it is held, else nil.
func (s *states) held(revision events.Revision) *events.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(revision)
}

func (s *states) find(revision events.Revision) *events.State {
	for i, k := range s.kept {
		if k.state.Revision() == revision {
			s.kept = append(slices.Delete(s.kept, i, i+1), k)
			return k.state
		}
	}
	return nil
}

// get returns the state at revision, folding it unless it is held or somebody else is at it.
func (s *states) get(ctx context.Context, revision events.Revision, fold folder) (*events.State, error) {
	s.mu.Lock()
	if state := s.find(revision); state != nil {
		s.mu.Unlock()
		return state, nil
	}
	f, ok := s.flights[revision]
	if !ok {
		folding, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{done: make(chan struct{}), cancel: cancel}
		s.flights[revision] = f
		go s.fly(folding, f, revision, fold)
	}
	f.waiting++
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.state, f.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		f.cancel()
		if s.flights[revision] == f {
			delete(s.flights, revision) // who comes now begins anew
		}
	}
	return nil, context.Cause(ctx)
}

// fly folds and lets all know.
func (s *states) fly(ctx context.Context, f *flight, revision events.Revision, fold folder) {
	defer f.cancel()
	size := 0
	select {
	case s.slots <- struct{}{}:
		fork, base := s.fork(revision)
		f.state, size, f.err = fold(ctx, fork, revision)
		size += base
		<-s.slots
	case <-ctx.Done():
		f.err = ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flights[revision] == f {
		delete(s.flights, revision)
	}
	if f.err == nil {
		s.keep(kept{f.state, size})
	}
	close(f.done)
}

// fork returns a fork of the nearest state before revision, and its size, if one is held that is near.
func (s *states) fork(revision events.Revision) (*events.State, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	best := -1
	for i, k := range s.kept {
		if at := k.state.Revision(); at > 0 && at < revision && revision-at <= near && (best < 0 || at > s.kept[best].state.Revision()) {
			best = i
		}
	}
	if best < 0 {
		return nil, 0
	}
	return s.kept[best].state.Fork(), s.kept[best].size
}

// keep holds a state, and lets go of those that were used longest ago.
func (s *states) keep(k kept) {
	if s.find(k.state.Revision()) != nil {
		return
	}
	s.kept, s.size = append(s.kept, k), s.size+k.size
	for s.size > s.limit && len(s.kept) > 1 {
		s.size -= s.kept[0].size
		s.kept = slices.Delete(s.kept, 0, 1)
	}
}
