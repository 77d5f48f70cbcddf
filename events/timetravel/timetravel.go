// Package timetravel answers what the cluster was like. It guarantees:
//
//   - The state at a revision is the fold of all events up to it, the same that the live view held then, except for notes: shown are those that events.ReadNotes
//     finds up to then, and of older events that are still the last of their facet, as after a restart. Where they can't be read, the state is had without.
//   - One object at a revision costs a look at that object's facets, however large the cluster was.
//   - A moment that lies ahead is an error that names the newest; so is a time before the first event. Revision 0 is the empty cluster.
//   - Several who ask for one state at once wait for one fold; those who ask for different ones don't wait for each other, but for the bound on folds
//     at a time.
package timetravel

import (
	"context"
	"fmt"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

// Past is the past of a ledger. It may be used by many goroutines.
type Past struct {
	ledger   events.Ledger
	registry *schemas.Registry
	states   *states
}

// New returns the past of ledger.
func New(ledger events.Ledger, registry *schemas.Registry) *Past {
	return &Past{ledger: ledger, registry: registry, states: newStates()}
}

// StateAt returns the state as it was right after revision. It never changes; Fork it to go on from there.
func (p *Past) StateAt(ctx context.Context, revision events.Revision) (*events.State, error) {
	return p.states.get(ctx, revision, p.fold)
}

// ObjectAt returns one object as it was right after revision: events.State.Slot of the state at that revision. Nil if there never had been anything
// under ref. A note shown as an Event is found only through StateAt.
func (p *Past) ObjectAt(ctx context.Context, ref events.Ref, revision events.Revision) (*events.Object, error) {
	if state := p.states.held(revision); state != nil {
		return state.Slot(ref), nil
	}
	state := events.NewState(p.registry)
	if revision == 0 {
		return nil, nil
	}
	err := p.ledger.Read(ctx, events.Query{Ref: &ref, To: revision, LastPerFacet: true}, func(e events.Event) bool {
		e.Note = nil
		// What can't be folded is set aside here as it was when it came in: the view counts and names it.
		_, _ = state.Apply(e)
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s as of revision %d: %w", ref, revision, err)
	}
	return state.Slot(ref), nil
}

// Fold folds the ledger up to revision; 0 gives the empty state.
func Fold(ctx context.Context, ledger events.Ledger, registry *schemas.Registry, revision events.Revision) (*events.State, error) {
	state, _, err := load(ctx, ledger, registry, revision)
	return state, err
}

// load returns the state at revision and about how much memory it takes, in bytes.
func load(ctx context.Context, ledger events.Ledger, registry *schemas.Registry, revision events.Revision) (*events.State, int, error) {
	state, size := events.NewState(registry), 0
	if revision == 0 {
		return state, size, nil
	}
	var all shelf
	err := ledger.Read(ctx, events.Query{To: revision, LastPerFacet: true}, func(e events.Event) bool {
		all.add(e)
		size += cost(&e)
		return true
	})
	if err != nil {
		return nil, 0, fmt.Errorf("folding the ledger up to revision %d: %w", revision, err)
	}
	recent, err := events.ReadNotes(ctx, ledger, revision)
	if ctx.Err() != nil {
		return nil, 0, fmt.Errorf("reading the notes up to revision %d: %w", revision, ctx.Err())
	}
	if err != nil { // they are for people: a state can be had without, as the view's can
		recent = events.Recent{}
	}
	// What can't be folded is set aside here as it was when it came in: the view counts and names it.
	_ = state.LoadLazily(all.events, recent)
	state.Advance(revision)
	return state, size + len(recent.Noted)*costOfNote, nil
}

// advance folds what happened after base up to revision into a fork of base.
func (p *Past) advance(ctx context.Context, fork *events.State, revision events.Revision) (*events.State, int, error) {
	var all shelf
	size, from := 0, fork.Revision()
	err := p.ledger.Read(ctx, events.Query{From: from + 1, To: revision}, func(e events.Event) bool {
		all.add(e)
		size += cost(&e)
		return true
	})
	if err != nil {
		return nil, 0, fmt.Errorf("folding the ledger from revision %d to %d: %w", from, revision, err)
	}
	_ = fork.LoadLazily(all.events, events.Recent{})
	fork.Advance(revision)
	return fork, size, nil
}

// shelf keeps events in blocks: a state of many would cost an allocation for each.
type shelf struct {
	events []*events.Event
	block  []events.Event
}

// shelfBlock is how many events a block has room for.
const shelfBlock = 512

func (s *shelf) add(e events.Event) {
	if len(s.block) == cap(s.block) {
		s.block = make([]events.Event, 0, shelfBlock)
	}
	s.block = append(s.block, e)
	s.events = append(s.events, &s.block[len(s.block)-1])
}

// near is how many events are rather folded onto a state that is held than the whole loaded anew.
const near = 10_000

// fold makes the state at revision, from fork if that is near.
func (p *Past) fold(ctx context.Context, fork *events.State, revision events.Revision) (*events.State, int, error) {
	if fork != nil {
		return p.advance(ctx, fork, revision)
	}
	return load(ctx, p.ledger, p.registry, revision)
}

const (
	costOfEvent = 1 << 10 // beside its payload: headers, places in trees and indexes
	costOfNote  = 2 << 10
	decoded     = 4 // an object decoded takes about so many times its payload
)

// cost is about how much memory an event's facet takes in a state, in bytes.
func cost(e *events.Event) int { return costOfEvent + decoded*len(e.Payload) }
