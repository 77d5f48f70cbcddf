package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"1042":                      "1042",
		"-5m":                       "2026-11-21T09:25:00Z",
		"1h30m":                     "2026-11-21T08:00:00Z",
		"09:00":                     "2026-11-21T09:00:00Z",
		"9:00:30":                   "2026-11-21T09:00:30Z",
		"10:00":                     "2026-11-20T10:00:00Z",
		"2026-11-21T10:00:00+01:00": "2026-11-21T09:00:00Z",
	} {
		got, err := parseMoment(text, now)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "yesterday", "-5", "25:00", "5 minutes"} {
		_, err := parseMoment(text, now)
		require.ErrorContains(t, err, "say a revision", text)
	}
}

func TestMomentArgsKeepsFlags(t *testing.T) {
	require.Equal(t, []string{"diff", "10m", "-n", "default"}, momentArgs([]string{"diff", "-10m", "-n", "default"}))
	require.Equal(t, []string{"kubectl", "logs", "--since", "-10m"}, momentArgs([]string{"kubectl", "logs", "--since", "-10m"}))
}
