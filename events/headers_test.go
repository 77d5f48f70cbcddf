package events_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
)

func headersOf(e *events.Event) map[string]string {
	h := map[string]string{}
	events.EachHeader(e, func(name, value string) { h[name] = value })
	return h
}

func decode(e *events.Event, h map[string]string) (events.Event, error) {
	return events.Decode(events.Subject(e.Facet, e.Ref), func(name string) string { return h[name] }, e.Payload)
}

func TestHeadersRoundTrip(t *testing.T) {
	text := rapid.StringN(0, 20, 60)
	rapid.Check(t, func(t *rapid.T) {
		e := events.Event{
			Facet: facets.Draw(t, "facet"), Ref: refs.Draw(t, "ref"), UID: rapid.StringN(1, 10, 40).Draw(t, "uid"), Type: rapid.StringN(1, 10, 40).Draw(t, "type"),
			Tombstone: rapid.Bool().Draw(t, "tombstone"), Payload: rapid.SliceOf(rapid.Byte()).Draw(t, "payload"), Actor: text.Draw(t, "actor"), Key: text.Draw(t, "key"),
			Cause: rapid.Uint64().Draw(t, "cause"), Correlation: rapid.Uint64().Draw(t, "correlation"), Basis: rapid.Uint64().Draw(t, "basis"),
			Schema: events.SchemaVersion, ID: text.Draw(t, "id"),
			Changed: rapid.SliceOfN(rapid.StringMatching(`[a-z.\[\]]{1,20}`), 0, 10).Draw(t, "changed"),
		}
		if at := rapid.Int64Range(0, 1e14).Draw(t, "at"); at > 0 {
			e.At = time.UnixMilli(at).UTC()
		}
		if len(e.Changed) == 0 {
			e.Changed = nil
		}
		if rapid.Bool().Draw(t, "noted") {
			e.Note = &events.Note{Reason: text.Draw(t, "reason"), Message: text.Draw(t, "message"), Warning: rapid.Bool().Draw(t, "warning")}
		}
		got, err := decode(&e, headersOf(&e))
		require.NoError(t, err)
		require.Equal(t, e, got)
	})
}

func TestDecodeSetsAside(t *testing.T) {
	e := events.Event{Ref: events.Ref{Resource: "pods", Name: "a"}, UID: "u", Type: "PodCreated"}
	for _, c := range []struct{ header, value, reason string }{
		{events.HeaderSchema, "2", "newer"},
		{events.HeaderSchema, "", "not written by wake"},
		{events.HeaderType, "", "not written by wake"},
		{events.HeaderUID, "", "not written by wake"},
		{events.HeaderCause, "-1", events.HeaderCause},
		{events.HeaderAt, "soon", events.HeaderAt},
		{events.HeaderNote, "{", "JSON"},
	} {
		h := headersOf(&e)
		h[c.header] = c.value
		_, err := decode(&e, h)
		require.ErrorContains(t, err, c.reason, "%s: %s", c.header, c.value)
	}
}

func TestManyChangedPathsAreCut(t *testing.T) {
	e := events.Event{Ref: events.Ref{Resource: "pods", Name: "a"}, UID: "u", Type: "PodChanged", Changed: strings.Split(strings.Repeat("spec.template.spec,", 200), ",")[:200]}
	got, err := decode(&e, headersOf(&e))
	require.NoError(t, err)
	require.Less(t, len(got.Changed), 100)
	require.Equal(t, "spec.template.spec", got.Changed[0])
	require.Equal(t, "…", got.Changed[len(got.Changed)-1])

	e.Changed = []string{strings.Repeat("x", 3000)}
	got, err = decode(&e, headersOf(&e))
	require.NoError(t, err)
	require.Equal(t, []string{"…"}, got.Changed)
}
