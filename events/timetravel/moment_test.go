package timetravel_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/events/timetravel"
	"github.com/wakehq/wake/schemas"
)

func TestMomentsAreUnderstood(t *testing.T) {
	now := time.Date(2026, 11, 21, 9, 30, 0, 0, time.FixedZone("here", 3600))
	for text, want := range map[string]struct{ word, fixed string }{
		"1042":                      {"1042", "1042"},
		"event 1042":                {"1042", "1042"},
		"After event 1042":          {"1042", "1042"},
		"before 1042":               {"1041", "1041"},
		"before event 1042":         {"1041", "1041"},
		"-10m":                      {"-10m", "2026-11-21T08:20:00Z"},
		"90m":                       {"-1h30m", "2026-11-21T07:00:00Z"},
		"-2d":                       {"-48h", "2026-11-19T08:30:00Z"},
		"-1d12h":                    {"-36h", "2026-11-19T20:30:00Z"},
		"-1.5h":                     {"-1h30m", "2026-11-21T07:00:00Z"},
		"09:00":                     {"2026-11-21T08:00:00Z", "2026-11-21T08:00:00Z"},
		"9:00:30":                   {"2026-11-21T08:00:30Z", "2026-11-21T08:00:30Z"},
		"10:00":                     {"2026-11-20T09:00:00Z", "2026-11-20T09:00:00Z"}, // yesterday's: today's lies ahead
		"2026-11-20 10:00":          {"2026-11-20T09:00:00Z", "2026-11-20T09:00:00Z"},
		"2026-11-20T10:00:05":       {"2026-11-20T09:00:05Z", "2026-11-20T09:00:05Z"},
		"2026-11-20":                {"2026-11-19T23:00:00Z", "2026-11-19T23:00:00Z"},
		"2026-11-21T10:00:00+01:00": {"2026-11-21T09:00:00Z", "2026-11-21T09:00:00Z"},
	} {
		m, err := timetravel.ParseMoment(text, now)
		require.NoError(t, err, text)
		require.Equal(t, want.word, m.String(), text)
		require.Equal(t, want.fixed, m.Fixed(now), text)
		again, err := timetravel.ParseMoment(m.String(), now)
		require.NoError(t, err, text)
		require.Equal(t, m.Fixed(now), again.Fixed(now), "%q, said in one word, is another moment", text)
	}
	for _, text := range []string{"", "yesterday", "-5", "25:00", "10:61", "before 0", "before 10:00", "-900000d", "99999999999999999999", "2026-13-01", "-m"} {
		_, err := timetravel.ParseMoment(text, now)
		var bad *timetravel.MomentError
		require.ErrorAs(t, err, &bad, text)
	}
}

func TestResolve(t *testing.T) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	ledger := memory.New(memory.Faults{})
	past := timetravel.New(ledger, registry)
	now := time.Now().Add(time.Minute)
	_, err = past.Resolve(t.Context(), "-1m", now)
	require.ErrorContains(t, err, "the ledger is empty")
	state := events.NewState(registry)
	append1(t, ledger, state, events.Create(state, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "u"}}, "PodCreated"))
	for moment, want := range map[string]events.Revision{"0": 0, "before event 1": 0, "1": 1, "-10s": 1, now.Format(time.RFC3339): 1} {
		got, err := past.Resolve(t.Context(), moment, now)
		require.NoError(t, err, moment)
		require.Equal(t, want, got, moment)
	}
	for moment, reason := range map[string]string{
		"2":                                     "lies ahead: the newest event is 1, of ",
		now.Add(time.Hour).Format(time.RFC3339): "lies ahead: it is ",
		"-1h":                                   "lies before the ledger's first event, of ",
		"1970-01-01T00:00:00Z":                  "it holds the revisions 1 to 1",
		"yesterday":                             "say a revision (1042), an event",
		"":                                      "say a revision (1042), an event",
	} {
		_, err := past.Resolve(t.Context(), moment, now)
		var bad *timetravel.MomentError
		require.ErrorAs(t, err, &bad, moment)
		require.ErrorContains(t, err, reason, moment)
	}
	stored, err := past.When(t.Context(), timetravel.Point{Revision: 1})
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), stored, time.Minute)
}
