package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
)

func guards(t *testing.T, l events.Ledger) {
	ctx := deadline(t)
	_, err := l.Append(ctx, pod("a", "1", 7))
	require.ErrorIs(t, err, events.ErrConflict, "nothing is there, revision 7 was expected")
	first := append1(t, l, pod("a", "1", 0))
	require.Equal(t, events.Revision(1), first)
	_, err = l.Append(ctx, pod("a", "1", 0))
	require.ErrorIs(t, err, events.ErrConflict, "something is there, nothing was expected")
	second := append1(t, l, pod("a", "1", first))
	_, err = l.Append(ctx, pod("a", "1", first))
	require.ErrorIs(t, err, events.ErrConflict, "the guard is stale")
	_, err = l.Append(ctx, pod("a", "1", second+1))
	require.ErrorIs(t, err, events.ErrConflict, "the guard is ahead")

	status := pod("a", "1", 0)
	status.Facet = events.Observed
	append1(t, l, status) // another facet of the same object has a guard of its own
	append1(t, l, pod("a", "1", second))
	require.Equal(t, []string{"desired/a@1", "desired/a@2", "observed/a@3", "desired/a@4"}, names(read(t, l, events.Query{})))
}

func wireForm(t *testing.T, l events.Ledger) {
	want := events.Event{
		Facet: events.Desired, Ref: events.Ref{Group: "apps", Resource: "deployments", Namespace: "team-a", Name: "web"}, UID: "u-1",
		Type: "DeploymentChanged", Payload: []byte{0, 1, 2, 0xff, '\r', '\n'}, Actor: "user:jane doe", Key: "deployments.apps/team-a/web",
		Cause: 3, Correlation: 2, Basis: 9, At: time.UnixMilli(1_700_000_000_123).UTC(), Changed: []string{"spec.replicas", "metadata.labels[app]"},
		Schema: events.SchemaVersion, ID: "mine",
		Note: &events.Note{Reason: "Scaled", Message: "from 1 to 2: größer\nsecond line", Warning: true, About: &events.Ref{Resource: "pods", Name: "p"}, AboutID: "u-2"},
	}
	began := time.Now().Add(-time.Second)
	revision := append1(t, l, events.Proposal{Event: want})
	bare := append1(t, l, events.Proposal{Event: events.Event{Facet: events.Observed, Ref: events.Ref{Resource: "nodes", Name: "n1"}, UID: "n", Type: "NodeReady"}})
	got := read(t, l, events.Query{})
	require.Len(t, got, 2)
	require.Equal(t, revision, got[0].Revision)
	require.True(t, got[0].Stored.After(began) && got[0].Stored.Before(time.Now().Add(time.Second)), "stored at %s", got[0].Stored)
	want.Revision, want.Stored = got[0].Revision, got[0].Stored
	require.Equal(t, want, got[0])
	require.Equal(t, bare, got[1].Revision)
	require.NotEmpty(t, got[1].ID, "an append without ID is given one")
	require.Empty(t, got[1].Payload)
	require.True(t, got[1].At.IsZero())
}

func tombstones(t *testing.T, l events.Ledger) {
	ctx := deadline(t)
	first := append1(t, l, pod("a", "1", 0))
	end := pod("a", "1", first)
	end.Tombstone, end.Payload = true, nil
	gone := append1(t, l, end)
	_, err := l.Append(ctx, pod("a", "2", 0))
	require.ErrorIs(t, err, events.ErrConflict, "a tombstone keeps the order")
	append1(t, l, pod("a", "2", gone))
	got := read(t, l, events.Query{})
	require.Equal(t, []bool{false, true, false}, []bool{got[0].Tombstone, got[1].Tombstone, got[2].Tombstone})
	require.Equal(t, "2", got[2].UID)
}

func refusals(t *testing.T, l events.Ledger) {
	ctx := deadline(t)
	large := pod("a", "1", 0)
	large.Payload = make([]byte, events.MaxEventBytes+1)
	_, err := l.Append(ctx, large)
	require.ErrorIs(t, err, events.ErrTooLarge)
	wordy := pod("a", "1", 0)
	wordy.Note = &events.Note{Reason: "Talk", Message: string(bytes.Repeat([]byte("x"), 70<<10))}
	_, err = l.Append(ctx, wordy)
	require.ErrorIs(t, err, events.ErrTooLarge)
	_, err = l.Append(ctx, pod("b", "1", 0), large)
	require.ErrorIs(t, err, events.ErrTooLarge)
	_, err = l.Append(ctx, pod("b", "1", 0), pod("b", "1", 0))
	require.ErrorContains(t, err, "twice in one batch")
	_, err = l.Append(ctx)
	require.Error(t, err)
	_, err = l.Append(ctx, pod("", "1", 0))
	require.ErrorContains(t, err, "incomplete")
	_, err = l.Append(ctx, make([]events.Proposal, events.MaxBatch+1)...)
	require.ErrorContains(t, err, "1001 proposals")
	results := l.AppendEach(ctx, []events.Proposal{pod("a", "1", 0), large, pod("b", "", 0), pod("c", "1", 0)})
	require.NoError(t, results[0].Err)
	require.ErrorIs(t, results[1].Err, events.ErrTooLarge)
	require.ErrorContains(t, results[2].Err, "incomplete")
	require.NoError(t, results[3].Err)

	large.Payload, large.Expect = large.Payload[:events.MaxEventBytes], results[0].Revision
	append1(t, l, large)
	require.Len(t, read(t, l, events.Query{}), 3, "what is refused changes nothing")
}

func batches(t *testing.T, l events.Ledger) {
	ctx := deadline(t)
	first := append1(t, l, pod("a", "1", 0))
	last, err := l.Append(ctx, pod("b", "1", 0), pod("a", "1", first), pod("c", "1", 0))
	require.NoError(t, err)
	require.Equal(t, events.Revision(4), last)
	for name, wrong := range map[string][]events.Proposal{
		"first":  {pod("b", "1", 0), pod("x", "1", 0), pod("y", "1", 0)},
		"middle": {pod("x", "1", 0), pod("b", "1", 1), pod("y", "1", 0)},
		"last":   {pod("x", "1", 0), pod("y", "1", 0), pod("c", "1", 5)},
	} {
		_, err := l.Append(ctx, wrong...)
		require.ErrorIs(t, err, events.ErrConflict, "the guard of the %s does not hold", name)
	}
	require.Equal(t, []string{"desired/a@1", "desired/b@2", "desired/a@3", "desired/c@4"}, names(read(t, l, events.Query{})))
	require.Equal(t, events.Revision(5), append1(t, l, pod("x", "1", 0)))
}

func largeBatch(t *testing.T, l events.Ledger) {
	proposals := make([]events.Proposal, events.MaxBatch)
	for i := range proposals {
		proposals[i] = pod(fmt.Sprint("p", i), "1", 0)
	}
	last, err := l.Append(deadline(t), proposals...)
	require.NoError(t, err)
	require.Equal(t, events.Revision(events.MaxBatch), last)
	for i, e := range read(t, l, events.Query{}) {
		require.Equal(t, proposals[i].Ref, e.Ref)
	}
	_, err = l.Append(deadline(t), proposals...)
	require.ErrorIs(t, err, events.ErrConflict)
}

func repetition(t *testing.T, l events.Ledger) {
	ctx := deadline(t)
	p := pod("a", "1", 0)
	p.ID = "once"
	first := append1(t, l, p)
	require.Equal(t, first, append1(t, l, p), "the same append again is that append")
	append1(t, l, pod("a", "1", first))
	require.Equal(t, first, append1(t, l, p), "even when others went on from there")
	other := pod("a", "1", 0)
	other.ID = "another"
	_, err := l.Append(ctx, other)
	require.ErrorIs(t, err, events.ErrConflict)

	batch := []events.Proposal{pod("b", "1", 0), pod("c", "1", 0)}
	batch[0].ID, batch[1].ID = "b", "c"
	last, err := l.Append(ctx, batch...)
	require.NoError(t, err)
	again, err := l.Append(ctx, batch...)
	require.NoError(t, err)
	require.Equal(t, last, again)
	require.Len(t, read(t, l, events.Query{}), 4)
}

func pipelines(t *testing.T, l events.Ledger) {
	ctx := deadline(t)
	taken := append1(t, l, pod("taken", "1", 0))
	const count = 3000
	proposals := make([]events.Proposal, count)
	for i := range proposals {
		proposals[i] = pod(fmt.Sprint("p", i), "1", 0)
		if i%7 == 3 {
			proposals[i] = pod("taken", "1", taken+1)
		}
	}
	results := l.AppendEach(ctx, proposals)
	require.Len(t, results, count)
	previous, accepted := taken, 0
	for i, r := range results {
		if i%7 == 3 {
			require.ErrorIs(t, r.Err, events.ErrConflict)
			continue
		}
		require.NoError(t, r.Err)
		require.Equal(t, previous+1, r.Revision, "in the order of the proposals")
		previous = r.Revision
		accepted++
	}
	require.Len(t, read(t, l, events.Query{}), 1+accepted)
	require.Empty(t, l.AppendEach(ctx, nil))
}

func pipelineRepetition(t *testing.T, l events.Ledger) {
	ctx := deadline(t)
	proposals := []events.Proposal{pod("a", "1", 0), pod("b", "1", 0), pod("c", "1", 0)}
	for i := range proposals {
		proposals[i].ID = fmt.Sprint("id", i)
	}
	append1(t, l, proposals[1])
	results := l.AppendEach(ctx, proposals)
	require.Equal(t, []events.Result{{Revision: 2}, {Revision: 1}, {Revision: 3}}, results)
	require.Equal(t, results, l.AppendEach(ctx, proposals))
	require.Len(t, read(t, l, events.Query{}), 3)
}

func pipelineOneFacet(t *testing.T, l events.Ledger) {
	results := l.AppendEach(deadline(t), []events.Proposal{pod("a", "1", 5), pod("a", "1", 0), pod("a", "1", 0), pod("a", "1", 1), pod("a", "1", 2)})
	require.ErrorIs(t, results[0].Err, events.ErrConflict)
	require.Equal(t, events.Result{Revision: 1}, results[1])
	require.ErrorIs(t, results[2].Err, events.ErrConflict)
	require.Equal(t, events.Result{Revision: 2}, results[3])
	require.Equal(t, events.Result{Revision: 3}, results[4])
}

func racing(t *testing.T, l events.Ledger) {
	const writers, rounds = 8, 25
	var expect events.Revision
	for round := range rounds {
		won := race(writers, func(writer int) (events.Revision, error) {
			p := pod("a", "1", expect)
			p.Actor = fmt.Sprint("writer:", writer)
			if writer%2 == 0 {
				return l.Append(deadline(t), p)
			}
			r := l.AppendEach(deadline(t), []events.Proposal{p})[0]
			return r.Revision, r.Err
		}, func(err error) { assert.ErrorIs(t, err, events.ErrConflict) })
		require.Len(t, won, 1, "exactly one wins round %d", round)
		expect = won[0]
	}
	require.Len(t, read(t, l, events.Query{}), rounds)
}

// racingBatches has batches that overlap in one facet: one wins, and all of it is there.
func racingBatches(t *testing.T, l events.Ledger) {
	const writers, rounds, size = 4, 10, 20
	var expect events.Revision
	for round := range rounds {
		won := race(writers, func(writer int) (events.Revision, error) {
			proposals := make([]events.Proposal, size)
			for i := range proposals {
				proposals[i] = pod(fmt.Sprintf("r%d-w%d-%d", round, writer, i), "1", 0)
			}
			proposals[writer*3] = pod("shared", "1", expect)
			last, err := l.Append(deadline(t), proposals...)
			return last - size + 1 + events.Revision(writer)*3, err
		}, func(err error) { assert.ErrorIs(t, err, events.ErrConflict) })
		require.Len(t, won, 1)
		expect = won[0]
	}
	all := read(t, l, events.Query{})
	require.Len(t, all, rounds*size)
	for i, e := range all {
		require.Equal(t, events.Revision(i+1), e.Revision)
	}
}

// race runs writers at once and returns the revisions of those that won.
func race(writers int, write func(writer int) (events.Revision, error), lost func(error)) (won []events.Revision) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for writer := range writers {
		all.Go(func() {
			revision, err := write(writer)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				lost(err)
			} else {
				won = append(won, revision)
			}
		})
	}
	all.Wait()
	return won
}

func cancelled(t *testing.T, l events.Ledger) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Append(ctx, pod("a", "1", 0))
	require.Error(t, err)
	results := l.AppendEach(ctx, []events.Proposal{pod("b", "1", 0), pod("c", "1", 0)})
	require.True(t, slices.ContainsFunc(results, func(r events.Result) bool { return r.Err != nil }))
	require.Error(t, l.Follow(ctx, events.Start{}, func(events.Batch) error { return nil }))

	ctx, cancel = context.WithCancel(t.Context())
	var calls atomic.Int32
	err = l.Follow(ctx, events.Start{}, func(events.Batch) error {
		calls.Add(1)
		cancel()
		return nil
	})
	require.True(t, errors.Is(err, context.Canceled), "%v", err)
	require.Positive(t, calls.Load())
}

func oddNames(t *testing.T, l events.Ledger) {
	for i, name := range []string{"a.b.c", "*", ">", "ä ö\t", "=2E", "system:node:n1", "A_b", "..", "\x00\x7f\xff"} {
		ref := events.Ref{Group: "x.y", Resource: "things", Namespace: "n.s", Name: name}
		append1(t, l, events.Proposal{Event: events.Event{Ref: ref, UID: "u", Type: "ThingMade"}})
		got := read(t, l, events.Query{Ref: &ref})
		require.Len(t, got, 1)
		require.Equal(t, ref, got[0].Ref)
		require.Equal(t, events.Revision(i+1), got[0].Revision)
	}
}
