package segment_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/segment"
)

// drawEvents draws a history of events after base; some subjects and headers are not Wake's.
func drawEvents(t *rapid.T, base events.Revision, count int) []events.Raw {
	subjects := []string{"ledger.desired.core.pods.default.a", "ledger.desired.core.pods.default.a-b", "ledger.observed.core.pods.default.a", "ledger.assigned.core.pods.default.a",
		"ledger.desired.apps.deployments.other.web", "ledger.observed.core.nodes._.n1", "ledger.nonsense", "ledger.a.b.c.d.e.f.g"}
	var out []events.Raw
	at := time.Unix(1_700_000_000, 5)
	for i := range count {
		at = at.Add(time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "later")))
		r := events.Raw{Revision: base + events.Revision(i) + 1, Stored: at.UTC(), Subject: rapid.SampledFrom(subjects).Draw(t, "subject")}
		if size := rapid.SampledFrom([]int{0, 1, 30, 3000, 70_000}).Draw(t, "size"); size > 0 {
			r.Payload = bytes.Repeat([]byte{byte(i)}, size)
			r.Payload[0] = rapid.Byte().Draw(t, "byte")
		}
		for _, name := range []string{events.HeaderType, events.HeaderUID, "x-foreign"} {
			if rapid.Bool().Draw(t, name) {
				r.Header = append(r.Header, events.HeaderField{Name: name, Value: rapid.StringN(0, 9, 20).Draw(t, "value")})
			}
		}
		r.Header = append(r.Header, events.HeaderField{Name: events.HeaderSchema, Value: "1"})
		switch rapid.IntRange(0, 9).Draw(t, "kept") {
		case 0:
			r = r.Without(nil)
		case 1:
			r = r.Without([]byte("less"))
		}
		out = append(out, r)
	}
	return out
}

// lastOf folds events to the last whole one per subject.
func lastOf(state, list []events.Raw) []events.Raw {
	last := map[string]events.Raw{}
	for _, e := range slices.Concat(state, list) {
		if e.Kept == nil || len(e.Payload) > 0 || last[e.Subject].Revision == 0 {
			last[e.Subject] = e
		}
	}
	return slices.Collect(maps.Values(last))
}

func bySubject(a, b events.Raw) int { return cmp.Compare(a.Subject, b.Subject) }

func byRevision(a, b events.Raw) int { return cmp.Compare(a.Revision, b.Revision) }

type file struct {
	header               segment.Header
	state, notes, events []events.Raw
}

func drawFile(t *rapid.T) file {
	before := drawEvents(t, 0, rapid.IntRange(0, 12).Draw(t, "before"))
	for i := range before {
		before[i].Kept = nil
	}
	f := file{state: lastOf(nil, before), header: segment.Header{Cluster: "c", Base: events.Revision(len(before)), Deciders: map[string]string{"scheduler": "x"}}}
	for i := range before {
		f.header.BaseTime = before[i].Stored
		f.header.Chain = f.header.Chain.Link(before[i].Digest())
	}
	slices.SortFunc(f.state, bySubject)
	f.notes = slices.DeleteFunc(slices.Clone(before), func(events.Raw) bool { return rapid.Bool().Draw(t, "note") })
	f.events = drawEvents(t, f.header.Base, rapid.IntRange(0, 25).Draw(t, "count"))
	for i := range f.events {
		f.events[i].Stored = f.events[i].Stored.Add(time.Hour)
	}
	return f
}

func (f *file) write(t require.TestingT) []byte {
	var out bytes.Buffer
	w, err := segment.NewWriter(&out, f.header)
	require.NoError(t, err)
	for _, r := range f.state {
		require.NoError(t, w.State(r))
	}
	for _, r := range f.notes {
		require.NoError(t, w.Note(r))
	}
	for _, r := range f.events {
		require.NoError(t, w.Event(r))
	}
	footer, err := w.Close()
	require.NoError(t, err)
	require.Equal(t, f.header.Base+events.Revision(len(f.events)), footer.Last)
	return out.Bytes()
}

func open(data []byte) (*segment.Reader, error) {
	return segment.Open(bytes.NewReader(data), int64(len(data)), "test.wake")
}

func collect(t require.TestingT, read func(yield func(events.Raw) bool) error) []events.Raw {
	var out []events.Raw
	require.NoError(t, read(func(r events.Raw) bool {
		out = append(out, r)
		return true
	}))
	return out
}

// same compares, where no payload and an empty one are one thing.
func same(t require.TestingT, want, got []events.Raw, what string) {
	require.Len(t, got, len(want), what)
	for i := range want {
		require.Equal(t, want[i].Digest(), got[i].Digest(), "%s, %d", what, i)
		require.True(t, bytes.Equal(want[i].Payload, got[i].Payload), what)
		require.Equal(t, want[i].Kept, got[i].Kept, what)
		require.Equal(t, want[i].Header, got[i].Header, what)
	}
}

func TestReadsWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFile(t)
		data := f.write(t)
		require.Equal(t, data, f.write(t), "the same again gives the same bytes")
		r, err := open(data)
		require.NoError(t, err)
		require.NoError(t, r.Verify(t.Context()))
		f.header.Format = segment.Format
		require.Equal(t, f.header, r.Header())
		same(t, f.state, collect(t, r.State), "state")
		for i := range f.notes {
			if len(f.notes[i].Payload) > 0 {
				f.notes[i] = f.notes[i].Without(nil)
			}
		}
		same(t, f.notes, collect(t, r.Notes), "notes")
		base, last := f.header.Base, r.Footer().Last
		from, to := rapid.Uint64Range(0, last+1).Draw(t, "from"), rapid.Uint64Range(1, last+1).Draw(t, "to")
		within := func(e events.Raw) bool { return e.Revision >= from && e.Revision <= to }
		same(t, filter(f.events, within), collect(t, func(yield func(events.Raw) bool) error { return r.Events(from, to, yield) }), "events")
		q := rapid.SampledFrom([]events.Query{{}, {Resource: "pods"}, {Namespace: "other"}, {Ref: &events.Ref{Resource: "pods", Namespace: "default", Name: "a"}}}).Draw(t, "query")
		q.From, q.To = from, to
		same(t, filter(f.events, func(e events.Raw) bool { return within(e) && selects(q, e) }),
			collect(t, func(yield func(events.Raw) bool) error { return r.Select(q, yield) }), "selected")
		at := max(base, min(to, last))
		want := lastOf(f.state, filter(f.events, func(e events.Raw) bool { return e.Revision <= at }))
		want = filter(want, func(e events.Raw) bool { return e.Kept == nil || len(e.Payload) > 0 })
		slices.SortFunc(want, byRevision)
		got, err := r.LastOf(nil, at)
		require.NoError(t, err)
		same(t, want, got, "last of all")
		got, err = r.LastOf(segment.Patterns(q), at)
		require.NoError(t, err)
		same(t, filter(want, func(e events.Raw) bool {
			_, _, err := events.ParseSubject(e.Subject)
			return segment.Patterns(q) == nil || err == nil && selects(q, e)
		}), got, "last of those selected")
		for _, e := range f.events {
			revision, err := r.RevisionAt(e.Stored.Add(-1))
			require.NoError(t, err)
			require.Equal(t, base+events.Revision(len(filter(f.events, func(x events.Raw) bool { return x.Stored.Before(e.Stored) }))), revision)
		}
	})
}

func filter(list []events.Raw, keep func(events.Raw) bool) []events.Raw {
	return slices.DeleteFunc(slices.Clone(list), func(e events.Raw) bool { return !keep(e) })
}

func selects(q events.Query, e events.Raw) bool {
	if q.Ref == nil && q.Resource == "" && q.Namespace == "" {
		return true
	}
	facet, ref, err := events.ParseSubject(e.Subject)
	return err == nil && q.Selects(facet, ref)
}

// TestDamage flips bits and cuts files off: reading all of them fails, and names the file.
func TestDamage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFile(t)
		data := f.write(t)
		if rapid.Bool().Draw(t, "cut") {
			data = data[:rapid.IntRange(0, len(data)-1).Draw(t, "length")]
		} else {
			data[rapid.IntRange(0, len(data)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		r, err := open(data)
		if err == nil {
			err = r.Verify(t.Context())
			var damage *segment.DamageError
			require.True(t, errors.As(err, &damage), "%v", err)
		}
		require.ErrorContains(t, err, "test.wake")
	})
}

// TestEveryBit flips every bit of a small file.
func TestEveryBit(t *testing.T) {
	var f file
	for i := range 3 {
		f.events = append(f.events, events.Raw{Revision: events.Revision(i + 1), Stored: time.Unix(int64(i), 0).UTC(), Subject: fmt.Sprint("ledger.", i), Payload: []byte("x")})
	}
	data := f.write(t)
	for i := range len(data) * 8 {
		broken := bytes.Clone(data)
		broken[i/8] ^= 1 << (i % 8)
		r, err := open(broken)
		if err == nil {
			err = r.Verify(t.Context())
		}
		require.Error(t, err, "bit %d", i)
	}
}

func TestDamageIsConfined(t *testing.T) {
	f := file{header: segment.Header{Cluster: "c"}}
	for i := range 20 {
		f.events = append(f.events, events.Raw{Revision: events.Revision(i + 1), Stored: time.Unix(int64(i), 0).UTC(), Subject: "ledger.x", Payload: bytes.Repeat([]byte{byte(i)}, 100_000)})
	}
	data := f.write(t)
	whole, err := open(data)
	require.NoError(t, err)
	var broken *segment.DamageError
	for at := range data { // find a byte within the second block of events
		damaged := bytes.Clone(data)
		damaged[at] ^= 1
		r, err := open(damaged)
		if err != nil {
			continue
		}
		if err := r.Verify(t.Context()); errors.As(err, &broken) && broken.First == 4 {
			require.EqualValues(t, 6, broken.Last)
			require.Contains(t, err.Error(), "revisions 4–6")
			same(t, collect(t, func(yield func(events.Raw) bool) error { return whole.Events(7, 0, yield) }),
				collect(t, func(yield func(events.Raw) bool) error { return r.Events(7, 0, yield) }), "what lies after")
			same(t, f.events[:3], collect(t, func(yield func(events.Raw) bool) error { return r.Events(1, 3, yield) }), "what lies before")
			return
		}
	}
	t.Fatal("no byte of the second block was found")
}

// FuzzOpen looks for input that makes the reader panic.
func FuzzOpen(f *testing.F) {
	var small file
	small.events = []events.Raw{{Revision: 1, Subject: "ledger.x", Payload: []byte("x")}}
	f.Add(small.write(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := open(data)
		if err == nil {
			err = r.Verify(t.Context())
		}
		if err != nil {
			require.Contains(t, err.Error(), "test.wake")
		}
	})
}

func TestWriterRefusesDisorder(t *testing.T) {
	begin := func() *segment.Writer {
		w, err := segment.NewWriter(&bytes.Buffer{}, segment.Header{Base: 5})
		require.NoError(t, err)
		return w
	}
	raw := func(revision events.Revision, subject string) events.Raw {
		return events.Raw{Revision: revision, Subject: subject, Stored: time.Unix(0, 0)}
	}
	require.ErrorIs(t, begin().Event(raw(7, "a")), segment.ErrGap)
	w := begin()
	require.NoError(t, w.State(raw(4, "b")))
	require.Error(t, w.State(raw(3, "a")), "subjects ascend")
	require.Error(t, begin().State(raw(6, "a")), "after the base")
	w = begin()
	require.NoError(t, w.Event(raw(6, "a")))
	require.Error(t, w.State(raw(3, "a")), "events come last")
	require.Error(t, w.Note(raw(3, "a")), "events come last")
}

func sortState(state []events.Raw) { slices.SortFunc(state, bySubject) }
