// Package pace plays recorded events at the pace at which they happened, or faster. It guarantees:
//
//   - Events come in the order in which they are given, each when its time has come: never early, and none is left out.
//   - Pauses don't add up to a drift: what takes its time with an event makes up for it in the next pause.
//   - A recording whose clock steps back goes on without a pause, and without an error.
package pace

import (
	"context"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/wakehq/wake/events"
)

// Speed is how many times faster than recorded. Max, or any Speed that isn't positive, is without pauses.
type Speed float64

// Max is as fast as it goes.
const Max Speed = 0

// ParseSpeed reads "10x", "0.5x" or "max".
func ParseSpeed(text string) (Speed, error) {
	if text == "max" {
		return Max, nil
	}
	number, err := strconv.ParseFloat(strings.TrimSuffix(text, "x"), 64)
	if err != nil || number <= 0 || math.IsInf(number, 0) || math.IsNaN(number) {
		return 0, fmt.Errorf("%q is no speed: say how many times faster than it happened, as in 1x or 1000x, or max", text)
	}
	return Speed(number), nil
}

// String gives what ParseSpeed reads.
func (s Speed) String() string {
	if s <= 0 {
		return "max"
	}
	return strconv.FormatFloat(float64(s), 'g', -1, 64) + "x"
}

// Player plays events.
type Player struct {
	Speed    Speed
	MaxPause time.Duration // pauses in the recording that are longer are cut to this, in recorded time; 0 is never
}

// Play calls show with each of the events when its time has come, counted from the first. It returns the first error: of the events, of show, or that of ctx
// when it ends.
func (p Player) Play(ctx context.Context, all iter.Seq2[events.Event, error], show func(events.Event) error) error {
	var due time.Duration // of the event, after the first, in recorded time
	var last time.Time
	began := time.Now()
	for e, err := range all {
		if err != nil {
			return err
		}
		if !last.IsZero() {
			due += p.pause(e.Stored.Sub(last))
		}
		if last.IsZero() || e.Stored.After(last) {
			last = e.Stored
		}
		if err := p.wait(ctx, began, due); err != nil {
			return err
		}
		if err := show(e); err != nil {
			return err
		}
	}
	return nil
}

func (p Player) pause(recorded time.Duration) time.Duration {
	if p.MaxPause > 0 {
		recorded = min(recorded, p.MaxPause)
	}
	return max(0, recorded)
}

// wait waits until an event is due.
func (p Player) wait(ctx context.Context, began time.Time, due time.Duration) error {
	if p.Speed <= 0 {
		return ctx.Err()
	}
	rest := time.Duration(float64(due)/float64(p.Speed)) - time.Since(began)
	if rest <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
