package gateway

import (
	"slices"
	"sync"
	"time"

	"github.com/wakehq/wake/events"
)

const (
	// pinFor is how long the state that a list in pieces began with is held for the pieces to come.
	pinFor = 5 * time.Minute
	// maxPinned bounds how many states are held; they share what they have in common.
	maxPinned = 64
)

// pinnedStates holds states that clients read in pieces, so that all pieces show the same moment. Losing one costs time: it can be folded again.
type pinnedStates struct {
	mu   sync.Mutex
	held []pinnedState // oldest first
}

type pinnedState struct {
	state *events.State
	since time.Time
}

func (p *pinnedStates) hold(state *events.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = slices.DeleteFunc(p.held, func(s pinnedState) bool {
		return s.state.Revision() == state.Revision() || time.Since(s.since) > pinFor
	})
	p.held = append(p.held[max(0, len(p.held)+1-maxPinned):], pinnedState{state, time.Now()})
}

// get returns the state at revision, nil if it isn't held.
func (p *pinnedStates) get(revision events.Revision) *events.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.held {
		if s.state.Revision() == revision {
			return s.state
		}
	}
	return nil
}
