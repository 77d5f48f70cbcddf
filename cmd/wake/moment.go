package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// momentForms says what a moment may look like.
const momentForms = "a revision (1042), a time (2026-11-21T10:00:00Z, 10:00, 10:00:30), or how long ago (-5m, -1h30m)"

// ago is a duration before now: -5m, and 5m where a leading dash would be taken for a flag.
var ago = regexp.MustCompile(`^-?(\d+[smh])+$`)

var clockTime = regexp.MustCompile(`^\d{1,2}:\d{2}(:\d{2})?$`)

// parseMoment turns what people write into what the API takes: a revision, or an RFC 3339 time. Times of day are today's, or
// yesterday's if they lie ahead.
func parseMoment(text string, now time.Time) (string, error) {
	switch {
	case text == "":
		return "", fmt.Errorf("an empty moment: say %s", momentForms)
	case clockTime.MatchString(text):
		layout := "15:04"
		if strings.Count(text, ":") == 2 {
			layout = "15:04:05"
		}
		clock, err := time.Parse(layout, text)
		if err != nil {
			return "", fmt.Errorf("%q is no time of day: say %s", text, momentForms)
		}
		at := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), clock.Second(), 0, now.Location())
		if at.After(now) {
			at = at.AddDate(0, 0, -1)
		}
		return at.UTC().Format(time.RFC3339), nil
	case ago.MatchString(text):
		before, err := time.ParseDuration(strings.TrimPrefix(text, "-"))
		if err != nil {
			return "", fmt.Errorf("%q is no duration: say %s", text, momentForms)
		}
		return now.Add(-before).UTC().Format(time.RFC3339Nano), nil
	}
	if _, err := strconv.ParseUint(text, 10, 64); err == nil {
		return text, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at.UTC().Format(time.RFC3339Nano), nil
	}
	return "", fmt.Errorf("%q is no moment: say %s", text, momentForms)
}

// momentArgs takes the dash from durations that are arguments of a command, so that they aren't parsed as flags.
func momentArgs(args []string) []string {
	if len(args) == 0 || args[0] != "diff" {
		return args
	}
	out := append([]string(nil), args...)
	for i, arg := range out {
		if ago.MatchString(arg) {
			out[i] = strings.TrimPrefix(arg, "-")
		}
	}
	return out
}
