package timetravel

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/wakehq/wake/events"
)

// Forms says what a moment may look like.
const Forms = `a revision (1042), an event ("event 1042", "before event 1042"), a time (2026-11-21T10:00:00Z, "2026-11-21 10:00", 10:00, 10:00:05) ` +
	`or an age (-10m, -1h30m, -2d)`

// MomentError says that a moment can't be understood, lies ahead or lies before the ledger's first event.
type MomentError struct {
	Text, Reason string
	Early        bool // it lies before the first event
}

func (e *MomentError) Error() string { return fmt.Sprintf("the moment %q %s", e.Text, e.Reason) }

func misunderstood(text string) error {
	return &MomentError{Text: text, Reason: "is none that can be understood: say " + Forms}
}

// Moment is a point of the past as people name it: a revision, a time, or an age, which moves with the clock.
type Moment struct {
	text     string
	kind     momentKind
	revision events.Revision
	time     time.Time
	age      time.Duration
}

type momentKind uint8

const (
	byRevision momentKind = iota
	byTime
	byAge
)

var (
	eventForm = regexp.MustCompile(`^(?:(before|after)\s+)?(?:(?:event|revision)\s+)?(\d+)$`)
	ageForm   = regexp.MustCompile(`^-?((?:\d+(?:\.\d+)?(?:ms|[wdhms]))+)$`)
	agePart   = regexp.MustCompile(`(\d+(?:\.\d+)?)(ms|[wdhms])`)
	clockForm = regexp.MustCompile(`^\d{1,2}:\d{2}(:\d{2})?$`)
)

var ageUnits = map[string]time.Duration{"w": 7 * 24 * time.Hour, "d": 24 * time.Hour, "h": time.Hour, "m": time.Minute, "s": time.Second, "ms": time.Millisecond}

// maxAge bounds ages, so that none overflows: a hundred years.
const maxAge = 100 * 365 * 24 * time.Hour

// layouts are the times that are understood, those without a zone as now's.
var layouts = []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"}

// ParseMoment understands a moment. now is the time, in the zone of whoever wrote the text. A time of day is today's, or yesterday's if today's lies
// ahead. The error is a *MomentError.
func ParseMoment(text string, now time.Time) (Moment, error) {
	trimmed := strings.TrimSpace(text)
	if match := eventForm.FindStringSubmatch(strings.ToLower(trimmed)); match != nil {
		return parseRevision(text, match[1], match[2])
	}
	if match := ageForm.FindStringSubmatch(trimmed); match != nil {
		return parseAge(text, match[1])
	}
	if clockForm.MatchString(trimmed) {
		return parseClock(text, trimmed, now)
	}
	for _, layout := range layouts {
		if at, err := time.ParseInLocation(layout, trimmed, now.Location()); err == nil {
			return Moment{text: text, kind: byTime, time: at}, nil
		}
	}
	return Moment{}, misunderstood(text)
}

func parseRevision(text, relation, digits string) (Moment, error) {
	revision, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return Moment{}, &MomentError{Text: text, Reason: "is no revision: the number is too large"}
	}
	if relation == "before" {
		if revision == 0 {
			return Moment{}, &MomentError{Text: text, Reason: "is none: the first event is event 1"}
		}
		revision--
	}
	return Moment{text: text, kind: byRevision, revision: revision}, nil
}

func parseAge(text, parts string) (Moment, error) {
	age := time.Duration(0)
	for _, part := range agePart.FindAllStringSubmatch(parts, -1) {
		number, err := strconv.ParseFloat(part[1], 64)
		if err != nil || number*float64(ageUnits[part[2]]) > float64(maxAge) {
			return Moment{}, &MomentError{Text: text, Reason: "is too long ago"}
		}
		if age += time.Duration(number * float64(ageUnits[part[2]])); age > maxAge {
			return Moment{}, &MomentError{Text: text, Reason: "is too long ago"}
		}
	}
	return Moment{text: text, kind: byAge, age: age}, nil
}

func parseClock(text, clock string, now time.Time) (Moment, error) {
	layout := "15:04"
	if strings.Count(clock, ":") == 2 {
		layout = "15:04:05"
	}
	of, err := time.Parse(layout, clock)
	if err != nil {
		return Moment{}, misunderstood(text)
	}
	at := time.Date(now.Year(), now.Month(), now.Day(), of.Hour(), of.Minute(), of.Second(), 0, now.Location())
	if at.After(now) {
		at = at.AddDate(0, 0, -1)
	}
	return Moment{text: text, kind: byTime, time: at}, nil
}

// Revision returns the revision that the moment names, if it names one.
func (m Moment) Revision() (events.Revision, bool) { return m.revision, m.kind == byRevision }

// Time returns the time that the moment names, if it names a time or an age.
func (m Moment) Time(now time.Time) (time.Time, bool) {
	if m.kind == byAge {
		return now.Add(-m.age), true
	}
	return m.time, m.kind == byTime
}

// String words the moment so that it means the same wherever it is parsed, in one word: "1041", "2026-11-21T10:00:00Z", "-10m0s". An age stays one.
func (m Moment) String() string {
	switch m.kind {
	case byTime:
		return m.time.UTC().Format(time.RFC3339Nano)
	case byAge:
		return "-" + shortAge(m.age)
	}
	return strconv.FormatUint(m.revision, 10)
}

// shortAge leaves out the zeros that time.Duration ends with: 10m, not 10m0s.
func shortAge(age time.Duration) string {
	text := age.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Fixed words the moment as String does, but an age as the time that it is now, to the millisecond.
func (m Moment) Fixed(now time.Time) string {
	if m.kind == byAge {
		return now.Add(-m.age).UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano)
	}
	return m.String()
}

// ParseTime understands a moment that is a time or an age, not a revision. The error is a *MomentError.
func ParseTime(text string, now time.Time) (time.Time, error) {
	m, err := ParseMoment(text, now)
	if err != nil {
		return time.Time{}, err
	}
	at, ok := m.Time(now)
	if !ok {
		return time.Time{}, &MomentError{Text: text, Reason: "is no time: say a time (2026-11-21T10:00:00Z, 10:00) or an age (-10m)"}
	}
	return at, nil
}

// Point is a moment as the ledger has it: the revision that held then, and the time. Time is zero if the moment was named by its revision: see When.
type Point struct {
	Revision events.Revision
	Time     time.Time
}

// Resolve returns the revision that held at a moment, see ParseMoment. The error is a *MomentError if the moment is at fault.
func (p *Past) Resolve(ctx context.Context, moment string, now time.Time) (events.Revision, error) {
	m, err := ParseMoment(moment, now)
	if err != nil {
		return 0, err
	}
	point, err := p.Find(ctx, m, now)
	return point.Revision, err
}

// Find returns where a moment is in the ledger. Revision 0 is before the first event: the empty cluster. The error is a *MomentError if the moment lies
// ahead, or is a time before the first event.
func (p *Past) Find(ctx context.Context, m Moment, now time.Time) (Point, error) {
	last, stored, err := p.ledger.Last(ctx)
	if err != nil {
		return Point{}, fmt.Errorf("asking the ledger for its last revision: %w", err)
	}
	if m.kind == byRevision {
		if m.revision > last {
			return Point{}, &MomentError{Text: m.text, Reason: fmt.Sprintf("lies ahead: the newest event is %d, of %s", last, clock(stored))}
		}
		return Point{Revision: m.revision}, nil
	}
	at, _ := m.Time(now)
	if at.After(now) {
		return Point{}, &MomentError{Text: m.text, Reason: "lies ahead: it is " + clock(now)}
	}
	revision, err := p.ledger.RevisionAt(ctx, at)
	if err != nil {
		return Point{}, fmt.Errorf("looking up the revision at %s: %w", clock(at), err)
	}
	if revision == 0 {
		return Point{}, p.early(ctx, m.text, last)
	}
	return Point{Revision: revision, Time: at}, nil
}

// early words the error about a time before the first event.
func (p *Past) early(ctx context.Context, text string, last events.Revision) error {
	var first events.Event
	err := p.ledger.Read(ctx, events.Query{}, func(e events.Event) bool {
		first = e
		return false
	})
	if err != nil {
		return fmt.Errorf("asking the ledger for its first event: %w", err)
	}
	if first.Revision == 0 {
		return &MomentError{Text: text, Reason: "lies before the first event: the ledger is empty", Early: true}
	}
	return &MomentError{Text: text, Early: true, Reason: fmt.Sprintf("lies before the ledger's first event, of %s; it holds the revisions %d to %d",
		clock(first.Stored), first.Revision, last)}
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// When returns the time of a point: that by which it was named, else when the event of its revision was stored.
func (p *Past) When(ctx context.Context, point Point) (time.Time, error) {
	if !point.Time.IsZero() || point.Revision == 0 {
		return point.Time, nil
	}
	at := time.Time{}
	err := p.ledger.Read(ctx, events.Query{From: point.Revision, To: point.Revision}, func(e events.Event) bool {
		at = e.Stored
		return false
	})
	if err != nil {
		return at, fmt.Errorf("looking up the time of revision %d: %w", point.Revision, err)
	}
	return at, nil
}
