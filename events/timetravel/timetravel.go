// Package timetravel answers what the cluster was like. It guarantees:
//
//   - The state at a revision is the fold of all events up to it, the same that the live view held then, except for notes: only those are shown whose event is
//     still the last of its facet, as after a restart.
//   - A moment that lies before the first event is the empty cluster; one that lies ahead is an error.
package timetravel

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

// heldStates is how many past states are held: a person looks at few moments, but several times.
const heldStates = 4

// Past is the past of a ledger. It may be used by many goroutines.
type Past struct {
	ledger   events.Ledger
	registry *schemas.Registry

	mu   sync.Mutex
	held []*events.State // most recently used last
}

// New returns the past of ledger.
func New(ledger events.Ledger, registry *schemas.Registry) *Past {
	return &Past{ledger: ledger, registry: registry}
}

// StateAt returns the state as it was right after revision.
func (p *Past) StateAt(ctx context.Context, revision events.Revision) (*events.State, error) {
	// One at a time: folding is heavy, and whoever waits most likely wants the state that is being folded.
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, state := range p.held {
		if state.Revision() == revision {
			p.held = append(slices.Delete(p.held, i, i+1), state)
			return state, nil
		}
	}
	state, err := Fold(ctx, p.ledger, p.registry, revision)
	if err != nil {
		return nil, err
	}
	p.held = append(p.held[max(0, len(p.held)+1-heldStates):], state)
	return state, nil
}

// Fold folds the ledger up to revision; 0 gives the empty state.
func Fold(ctx context.Context, ledger events.Ledger, registry *schemas.Registry, revision events.Revision) (*events.State, error) {
	state := events.NewState(registry)
	if revision == 0 {
		return state, nil
	}
	err := ledger.Read(ctx, events.Query{To: revision, LastPerFacet: true}, func(e events.Event) bool {
		// What can't be folded is set aside here as it was when it came in: the view counts and names it.
		_, _ = state.Apply(e)
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("folding the ledger up to revision %d: %w", revision, err)
	}
	state.Advance(revision)
	return state, nil
}

// MomentError says that a moment can't be understood or lies ahead.
type MomentError struct{ Text, Reason string }

func (e *MomentError) Error() string { return fmt.Sprintf("the moment %q %s", e.Text, e.Reason) }

// Resolve returns the revision that held at a moment: a revision ("1042"), a time (RFC 3339) or an age ("-10m"). now is the time that ages count
// from. The error is a *MomentError if the moment is at fault.
func (p *Past) Resolve(ctx context.Context, moment string, now time.Time) (events.Revision, error) {
	last, _, err := p.ledger.Last(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking the ledger for its last revision: %w", err)
	}
	if revision, err := strconv.ParseUint(moment, 10, 64); err == nil {
		if revision > last {
			return 0, &MomentError{moment, fmt.Sprintf("lies ahead: the newest revision is %d", last)}
		}
		return revision, nil
	}
	at, err := ParseTime(moment, now)
	if err != nil {
		return 0, err
	}
	if at.After(now) {
		return 0, &MomentError{moment, fmt.Sprintf("lies ahead: it is %s", now.UTC().Format(time.RFC3339))}
	}
	revision, err := p.ledger.RevisionAt(ctx, at)
	if err != nil {
		return 0, fmt.Errorf("looking up the revision at %s: %w", at.UTC().Format(time.RFC3339), err)
	}
	return revision, nil
}

// ParseTime understands a time (RFC 3339) and an age before now ("-10m").
func ParseTime(text string, now time.Time) (time.Time, error) {
	if age, ok := strings.CutPrefix(text, "-"); ok {
		if d, err := time.ParseDuration(age); err == nil {
			return now.Add(-d), nil
		}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, &MomentError{text, "is no revision (1042), no time (2026-11-21T10:00:00Z) and no age (-10m)"}
	}
	return at, nil
}
