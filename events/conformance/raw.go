package conformance

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
)

// rawAll reads raw, and checks what every raw reader must hold to.
func rawAll(t *testing.T, l events.Ledger, from, to events.Revision) []events.Raw {
	t.Helper()
	var out []events.Raw
	require.NoError(t, l.(events.RawReader).ReadRaw(deadline(t), from, to, func(r events.Raw) bool {
		out = append(out, r)
		return true
	}))
	for i, r := range out {
		require.Equal(t, max(from, 1)+events.Revision(i), r.Revision)
		require.True(t, i == 0 || !r.Stored.Before(out[i-1].Stored))
	}
	return out
}

func needsRaw(t *testing.T, l events.Ledger) events.RawReader {
	raw, ok := l.(events.RawReader)
	if !ok {
		t.Skip("this ledger does not hand out stored events")
	}
	return raw
}

func bounds(t *testing.T, raw events.RawReader) [2]events.Revision {
	t.Helper()
	first, last, err := raw.Bounds(deadline(t))
	require.NoError(t, err)
	return [2]events.Revision{first, last}
}

func rawReading(t *testing.T, l events.Ledger) {
	raw := needsRaw(t, l)
	require.Equal(t, [2]events.Revision{}, bounds(t, raw))
	require.Empty(t, rawAll(t, l, 0, 0))
	var a events.Revision
	for i := range 20 {
		p := pod("a", "1", a)
		p.Actor, p.Changed = "user:jane doe", []string{"spec.a", fmt.Sprint("spec.b", i)}
		p.Note = &events.Note{Reason: "Told", Message: "größer\nthan <before>"}
		a = append1(t, l, p)
	}
	_, err := l.Append(deadline(t), pod("b", "1", 0), pod("c", "1", 0))
	require.NoError(t, err)
	if writer, ok := l.(RawWriter); ok {
		require.NoError(t, writer.Raw("ledger.nonsense", map[string]string{"b": "2", "a": "1", "Content-Type": "x"}, []byte("foreign")))
	} else {
		append1(t, l, pod("d", "1", 0))
	}
	require.Equal(t, [2]events.Revision{1, 23}, bounds(t, raw))
	all := rawAll(t, l, 0, 0)
	require.Len(t, all, 23)
	for _, e := range read(t, l, events.Query{}) {
		again := events.RawOf(&e)
		require.Equal(t, again.Digest(), all[e.Revision-1].Digest(), "event %d", e.Revision)
	}
	if all[22].Subject == "ledger.nonsense" {
		require.Equal(t, []events.HeaderField{{Name: "Content-Type", Value: "x"}, {Name: "a", Value: "1"}, {Name: "b", Value: "2"}}, all[22].Header)
		require.Equal(t, "foreign", string(all[22].Payload))
	}
	require.Len(t, rawAll(t, l, 5, 7), 3)
	require.Len(t, rawAll(t, l, 22, 99), 2)
	require.Empty(t, rawAll(t, l, 24, 0))
	seen := 0
	require.NoError(t, raw.ReadRaw(deadline(t), 1, 0, func(events.Raw) bool { seen++; return seen < 4 }))
	require.Equal(t, 4, seen)
}

func trims(t *testing.T, l events.Ledger) {
	raw := needsRaw(t, l)
	trimmer, ok := l.(events.Trimmer)
	if !ok {
		t.Skip("this ledger can't be trimmed")
	}
	ctx := deadline(t)
	for i := range 10 {
		append1(t, l, pod(fmt.Sprint("p", i), "1", 0))
	}
	require.Error(t, trimmer.Trim(ctx, 11), "beyond the end")
	require.NoError(t, trimmer.Trim(ctx, 4))
	require.NoError(t, trimmer.Trim(ctx, 3), "trimmed before")
	require.Equal(t, [2]events.Revision{5, 10}, bounds(t, raw))
	require.ErrorIs(t, raw.ReadRaw(ctx, 4, 0, func(events.Raw) bool { return true }), events.ErrTooOld)
	require.Len(t, rawAll(t, l, 5, 0), 6)
	require.ErrorIs(t, l.Follow(ctx, events.Start{After: 3}, func(events.Batch) error { return nil }), events.ErrTooOld)
	require.Len(t, followUntil(t, l, events.Start{After: 4}, whenLoaded), 6)
	_, err := l.Append(ctx, pod("p1", "1", 2))
	require.ErrorIs(t, err, events.ErrConflict, "what was trimmed is guarded by 0")
	require.Equal(t, events.Revision(11), append1(t, l, pod("p1", "1", 0)))
	_, err = l.Append(ctx, pod("p7", "1", 0))
	require.ErrorIs(t, err, events.ErrConflict)
	require.NoError(t, trimmer.Trim(ctx, 11))
	require.Equal(t, [2]events.Revision{12, 11}, bounds(t, raw))
	require.Empty(t, rawAll(t, l, 12, 0))
	require.Equal(t, events.Revision(12), append1(t, l, pod("p7", "1", 0)))
}
