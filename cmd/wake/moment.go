package main

import (
	"regexp"
	"strings"
	"time"

	"github.com/wakehq/wake/events/timetravel"
)

// momentForms says what a moment may look like.
const momentForms = timetravel.Forms

// ago is a duration before now: -5m, and 5m where a leading dash would be taken for a flag.
var ago = regexp.MustCompile(`^-?(\d+(\.\d+)?(ms|[wdhms]))+$`)

// parseMoment turns what people write into what the API takes: a revision, or an RFC 3339 time. Times of day are today's, or
// yesterday's if they lie ahead.
func parseMoment(text string, now time.Time) (string, error) {
	m, err := timetravel.ParseMoment(text, now)
	if err != nil {
		return "", err
	}
	return m.Fixed(now), nil
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
