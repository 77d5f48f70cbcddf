package events_test

import (
	"bytes"
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
	var decoder events.Decoder
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

		subject, block, payload := []byte(events.Subject(e.Facet, e.Ref)), blockOf(&e), bytes.Clone(e.Payload)
		streamed, err := decoder.Decode(subject, block, payload)
		for _, gone := range [][]byte{subject, block, payload} {
			clear(gone) // the reader's memory is used again
		}
		if multiline(&e) || strings.TrimLeft(e.Type, " \t") == "" || strings.TrimLeft(e.UID, " \t") == "" {
			return // nothing that comes through NATS
		}
		require.NoError(t, err)
		trimmed := e // as NATS trims values
		for _, s := range []*string{&trimmed.Type, &trimmed.UID, &trimmed.Actor, &trimmed.Key, &trimmed.ID} {
			*s = strings.TrimLeft(*s, " \t")
		}
		require.Equal(t, trimmed, streamed)
	})
}

// blockOf is e's headers as NATS sends them, among others.
func blockOf(e *events.Event) []byte {
	block := []byte("NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 7\r\n")
	events.EachHeader(e, func(name, value string) { block = append(block, name+": "+value+"\r\n"...) })
	return append(block, "\r\n"...)
}

func multiline(e *events.Event) bool {
	return strings.ContainsAny(e.Type+e.UID+e.Actor+e.Key+e.ID+strings.Join(e.Changed, ""), "\r\n")
}

func TestDecoderSetsAside(t *testing.T) {
	e := events.Event{Ref: events.Ref{Resource: "pods", Name: "a"}, UID: "u", Type: "PodCreated"}
	subject, whole := []byte(events.Subject(e.Facet, e.Ref)), blockOf(&e)
	var d events.Decoder
	_, err := d.Decode(subject, whole, nil)
	require.NoError(t, err)
	for cut := range len(whole) - 1 {
		_, err := d.Decode(subject, whole[:cut], nil)
		require.Error(t, err, "%q", whole[:cut])
	}
	for subject, block := range map[string]string{
		"ledger.desired.core.pods": string(whole), "ledger.wished.core.pods._.a": string(whole), "other.desired.core.pods._.a": string(whole),
		"ledger.desired.core.pods._.a.b": string(whole), "ledger.desired.core.pods._.a": "NATS/1.0\r\nno colon\r\n\r\n", "ledger.desired.core.pods._.b": "HTTP/1.0\r\n\r\n",
	} {
		_, err := d.Decode([]byte(subject), []byte(block), nil)
		require.Error(t, err, "%s %q", subject, block)
	}
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
