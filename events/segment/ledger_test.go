package segment_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/events/segment"
)

// recorded appends some events to a ledger and returns it and its recording from base on.
func recorded(t *testing.T, base events.Revision) (*memory.Ledger, *segment.Ledger) {
	t.Helper()
	l := memory.New(memory.Faults{})
	last := map[int]events.Revision{}
	for i := range 30 {
		p := events.Proposal{Expect: last[i%4], Event: events.Event{Ref: events.Ref{Resource: "pods", Namespace: "default", Name: fmt.Sprint(i % 4)}, UID: "u", Type: "PodChanged", Payload: []byte{byte(i)}}}
		revision, err := l.Append(t.Context(), p)
		require.NoError(t, err)
		last[i%4] = revision
	}
	require.NoError(t, l.Raw("ledger.nonsense", nil, []byte("foreign")))
	var f file
	f.header = segment.Header{Cluster: "c", Base: base}
	all := collect(t, func(yield func(events.Raw) bool) error { return l.ReadRaw(t.Context(), 1, 0, yield) })
	f.state, f.events = lastOf(nil, all[:base]), all[base:]
	sortState(f.state)
	data := f.write(t)
	r, err := segment.Open(bytes.NewReader(data), int64(len(data)), "test.wake")
	require.NoError(t, err)
	return l, segment.NewLedger(r)
}

func TestRecordingReadsAsTheLedger(t *testing.T) {
	for _, base := range []events.Revision{0, 10, 31} {
		l, recording := recorded(t, base)
		ref := events.Ref{Resource: "pods", Namespace: "default", Name: "2"}
		queries := []events.Query{{From: base + 1}, {From: base + 3, To: 20}, {From: base + 1, Ref: &ref}, {LastPerFacet: true}, {LastPerFacet: true, To: max(base, 25)},
			{LastPerFacet: true, To: max(base, 12), Ref: &ref}, {LastPerFacet: true, From: 29}}
		for _, q := range queries {
			require.Equal(t, list(t, l, q), list(t, recording, q), "%+v from %d", q, base)
		}
		for _, start := range []events.Start{{Present: true}, {After: base}, {After: 31}} {
			require.Equal(t, follow(t, l, start), follow(t, recording, start))
		}
		wantLast, wantTime, err := l.Last(t.Context())
		require.NoError(t, err)
		gotLast, gotTime, err := recording.Last(t.Context())
		require.NoError(t, err)
		require.Equal(t, wantLast, gotLast)
		require.True(t, base == 31 || wantTime.Equal(gotTime))
		first, last, err := recording.Bounds(t.Context())
		require.NoError(t, err)
		require.Equal(t, [2]events.Revision{base + 1, 31}, [2]events.Revision{first, last})
		if base > 0 {
			require.ErrorIs(t, recording.ReadRaw(t.Context(), base, 0, nil), events.ErrTooOld)
			require.ErrorIs(t, recording.Follow(t.Context(), events.Start{After: base - 1}, nil), events.ErrTooOld)
			require.ErrorIs(t, recording.Read(t.Context(), events.Query{To: base - 1, LastPerFacet: true}, nil), events.ErrTooOld)
		}
		_, err = recording.Append(t.Context(), events.Proposal{})
		require.ErrorIs(t, err, events.ErrReadOnly)
		require.ErrorIs(t, recording.AppendEach(t.Context(), make([]events.Proposal, 1))[0].Err, events.ErrReadOnly)
	}
}

func list(t *testing.T, l events.Ledger, q events.Query) []string {
	t.Helper()
	var out []string
	require.NoError(t, l.Read(t.Context(), q, func(e events.Event) bool {
		out = append(out, fmt.Sprint(e.Revision, e.Ref, string(e.Payload), e.Stored))
		return true
	}))
	return out
}

// follow returns what is delivered until the end.
func follow(t *testing.T, l events.Ledger, start events.Start) (all events.Batch) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	err := l.Follow(ctx, start, func(b events.Batch) error {
		all.Events, all.SetAside, all.Revision, all.Loaded = append(all.Events, b.Events...), append(all.SetAside, b.SetAside...), b.Revision, b.Loaded
		if b.Loaded {
			cancel()
		}
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	return all
}
