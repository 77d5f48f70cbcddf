package events_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
)

// viewOf opens a view that ends with the test. Call it within a synctest bubble.
func viewOf(t *testing.T, l events.Ledger) *events.View {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	v, err := events.OpenView(ctx, l, registry())
	require.NoError(t, err)
	return v
}

func create(t *testing.T, l events.Ledger, v *events.View, name string) events.Revision {
	t.Helper()
	revision, err := l.Append(t.Context(), events.Create(v.State(), aPod(name, "uid-"+name), "PodCreated"))
	require.NoError(t, err)
	return revision
}

func TestViewFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory.New(memory.Faults{Seed: 1, Stall: 0.5, MaxDelay: time.Second})
		v := viewOf(t, l)
		require.Zero(t, v.State().Revision())
		for i := range 20 {
			state, err := v.WaitFor(t.Context(), create(t, l, v, fmt.Sprintf("p%02d", i)))
			require.NoError(t, err)
			require.Equal(t, i+1, state.Count(pods))
			require.Equal(t, state.Revision(), v.Status().Revision)
		}
		require.Equal(t, 20, viewOf(t, l).State().Count(pods), "a later view loads the present")
	})
}

func TestViewHandsOutStatesThatStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory.New(memory.Faults{})
		v := viewOf(t, l)
		state, err := v.WaitFor(t.Context(), create(t, l, v, "a"))
		require.NoError(t, err)
		require.Same(t, state, v.State(), "nothing has changed: no need for another fork")
		hash := state.Hash()
		_, err = v.WaitFor(t.Context(), create(t, l, v, "b"))
		require.NoError(t, err)
		require.Equal(t, hash, state.Hash())
		require.Equal(t, events.Revision(1), state.Revision())
	})
}

func TestWaitForEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := viewOf(t, memory.New(memory.Faults{}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := v.WaitFor(ctx, 7)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "revision 7, the view is at 0")
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory.New(memory.Faults{})
		v := viewOf(t, l)
		for _, name := range []string{"a", "b", "c"} {
			_, err := v.WaitFor(t.Context(), create(t, l, v, name))
			require.NoError(t, err)
		}
		resumed, err := v.Watch(1)
		require.NoError(t, err)
		changes, state, err := resumed.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, []events.Revision{2, 3}, revisions(changes))
		require.Equal(t, events.Revision(3), state.Revision())

		now, err := v.Watch(0)
		require.NoError(t, err)
		ahead, err := v.Watch(4)
		require.NoError(t, err, "a client may have seen more than this view has")
		go create(t, l, v, "d")
		changes, _, err = now.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, []events.Revision{4}, revisions(changes))
		create(t, l, v, "e")
		changes, _, err = ahead.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, []events.Revision{5}, revisions(changes))

		state, cursor := v.Subscribe()
		require.Equal(t, events.Revision(5), state.Revision())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err = cursor.Next(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func revisions(changes []events.Change) []events.Revision {
	var out []events.Revision
	for _, c := range changes {
		out = append(out, c.Revision)
	}
	return out
}

func TestWatchTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory.New(memory.Faults{})
		before := viewOf(t, l)
		for _, name := range []string{"a", "b", "c"} {
			create(t, l, before, name)
		}
		v := viewOf(t, l)
		_, err := v.Watch(2)
		require.ErrorIs(t, err, events.ErrTooOld, "a view holds no change from before it began")
		_, err = v.Watch(3)
		require.NoError(t, err)

		slow, err := v.Watch(3)
		require.NoError(t, err)
		var last events.Revision
		for round := range events.HeldChanges/1000 + 1 {
			proposals := make([]events.Proposal, 1000)
			for i := range proposals {
				proposals[i] = events.Create(v.State(), aPod(fmt.Sprintf("r%d-%d", round, i), "u"), "PodCreated")
			}
			last, err = l.Append(t.Context(), proposals...)
			require.NoError(t, err)
		}
		_, err = v.WaitFor(t.Context(), last)
		require.NoError(t, err)
		_, _, err = slow.Next(t.Context())
		require.ErrorIs(t, err, events.ErrTooOld)
		_, err = v.Watch(3)
		require.ErrorIs(t, err, events.ErrTooOld)
		oldest, err := v.Watch(last - events.HeldChanges)
		require.NoError(t, err)
		changes, _, err := oldest.Next(t.Context())
		require.NoError(t, err)
		require.Len(t, changes, events.HeldChanges)
	})
}

// flaky is a ledger that can't be followed for more than a few batches at a time.
type flaky struct {
	*memory.Ledger
	batches  int
	failures atomic.Int32
}

var errAway = errors.New("the broker is away")

func (l *flaky) Follow(ctx context.Context, start events.Start, deliver func(events.Batch) error) error {
	left := l.batches
	return l.Ledger.Follow(ctx, start, func(b events.Batch) error {
		if left--; left < 0 {
			l.failures.Add(1)
			return errAway
		}
		return deliver(b)
	})
}

func TestViewOutlivesTheLedgersAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &flaky{Ledger: memory.New(memory.Faults{}), batches: 2}
		v := viewOf(t, l)
		_, cursor := v.Subscribe()
		var seen []events.Revision
		for i := range 10 {
			revision := create(t, l, v, fmt.Sprint("p", i))
			for len(seen) < i+1 {
				changes, _, err := cursor.Next(t.Context())
				require.NoError(t, err)
				seen = append(seen, revisions(changes)...)
			}
			require.Equal(t, revision, seen[i], "no gap, nothing twice")
		}
		require.Positive(t, l.failures.Load())
	})
}

func TestViewTellsOfFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := events.OpenView(ctx, &flaky{Ledger: memory.New(memory.Faults{})}, registry())
		require.ErrorIs(t, err, errAway)

		l := &flaky{Ledger: memory.New(memory.Faults{}), batches: 1}
		v := viewOf(t, l)
		create(t, l, v, "a")
		synctest.Wait()
		require.ErrorIs(t, v.Status().Following, errAway)
		require.Zero(t, v.State().Revision(), "reads go on with what is known")
	})
}

func TestViewSetsAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory.New(memory.Faults{})
		v := viewOf(t, l)
		require.NoError(t, l.Raw("ledger.desired.core.pods.default.x", nil, nil))
		wish := events.Proposal{Event: events.Event{Ref: events.Ref{Resource: "wishes", Name: "x"}, UID: "u", Type: "Wished"}}
		_, err := l.Append(t.Context(), wish)
		require.NoError(t, err)
		state, err := v.WaitFor(t.Context(), create(t, l, v, "a"))
		require.NoError(t, err)
		require.Equal(t, 1, state.Count(pods))
		status := v.Status()
		require.Equal(t, 2, status.SetAsideCount)
		require.Equal(t, events.Revision(1), status.SetAside[0].Revision)
		require.Contains(t, status.SetAside[1].Reason, "wishes")
	})
}

// TestFaults appends under every fault until it succeeds, and counts: nothing is lost, nothing is there twice.
func TestFaults(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			l := memory.New(memory.Faults{Seed: seed, LostRequest: 0.2, LostAcknowledgement: 0.2, Duplicate: 0.2, Conflict: 0.2, Delay: 0.5, Stall: 0.5, MaxDelay: time.Second})
			v := viewOf(t, l)
			for i := range 50 {
				p := events.Create(v.State(), aPod(fmt.Sprint("p", i), "u"), "PodCreated")
				p.ID = fmt.Sprint("id-", i)
				revision, err := l.Append(t.Context(), p)
				for err != nil {
					revision, err = l.Append(t.Context(), p)
				}
				require.Equal(t, events.Revision(i+1), revision)
			}
			state, err := v.WaitFor(t.Context(), 50)
			require.NoError(t, err)
			require.Equal(t, 50, state.Count(pods))
			require.Equal(t, events.Revision(50), state.Revision())
		})
	}
}

// forgetful is a ledger that has lost its notes.
type forgetful struct{ *memory.Ledger }

var errForgotten = errors.New("a block is damaged")

func (forgetful) Notes(context.Context, events.Revision) (events.Recent, error) {
	return events.Recent{}, errForgotten
}

func TestViewOpensWithoutNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory.New(memory.Faults{})
		first := viewOf(t, l)
		create(t, l, first, "a")
		synctest.Wait()
		v := viewOf(t, forgetful{l})
		require.Equal(t, first.State().Hash(), v.State().Hash())
		require.ErrorIs(t, v.Status().Notes, errForgotten)
		require.ErrorContains(t, v.Status().Notes, "revision 1")
		require.NoError(t, v.Status().Following)
		create(t, l, first, "b")
		synctest.Wait()
		require.EqualValues(t, 2, v.State().Revision())
	})
}
