package pace

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
)

// recorded gives events that were stored so long after the first.
func recorded(after ...time.Duration) iter.Seq2[events.Event, error] {
	began := time.Date(2020, time.May, 1, 0, 0, 0, 0, time.UTC)
	return func(yield func(events.Event, error) bool) {
		for i, d := range after {
			if !yield(events.Event{Revision: events.Revision(i + 1), Stored: began.Add(d)}, nil) {
				return
			}
		}
	}
}

// play returns how long after the beginning each event was shown. Showing it takes some time.
func play(t *testing.T, p Player, taking time.Duration, after ...time.Duration) (shown []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		require.NoError(t, p.Play(t.Context(), recorded(after...), func(e events.Event) error {
			require.Equal(t, events.Revision(len(shown)+1), e.Revision)
			shown = append(shown, time.Since(began))
			time.Sleep(taking)
			return nil
		}))
	})
	return shown
}

const s = time.Second

func TestEventsComeAtTheirPace(t *testing.T) {
	for _, one := range []struct {
		name     string
		player   Player
		taking   time.Duration
		recorded []time.Duration
		want     []time.Duration
	}{
		{"as recorded", Player{Speed: 1}, 0, []time.Duration{0, s, s, 10 * s}, []time.Duration{0, s, s, 10 * s}},
		{"faster", Player{Speed: 1000}, 0, []time.Duration{0, s, 3600 * s}, []time.Duration{0, time.Millisecond, 3600 * time.Millisecond}},
		{"slower", Player{Speed: 0.5}, 0, []time.Duration{0, s}, []time.Duration{0, 2 * s}},
		{"without pauses", Player{Speed: Max}, 0, []time.Duration{0, s, 3600 * s}, []time.Duration{0, 0, 0}},
		{"making up for what showing takes", Player{Speed: 1}, s, []time.Duration{0, s / 2, 10 * s}, []time.Duration{0, s, 10 * s}},
		{"long pauses cut", Player{Speed: 2, MaxPause: 4 * s}, 0, []time.Duration{0, 2 * s, 100 * s, 102 * s}, []time.Duration{0, s, 3 * s, 4 * s}},
		{"a clock that steps back", Player{Speed: 1}, 0, []time.Duration{0, 5 * s, s, 6 * s}, []time.Duration{0, 5 * s, 5 * s, 6 * s}},
		{"nothing", Player{Speed: 1}, 0, nil, nil},
	} {
		t.Run(one.name, func(t *testing.T) { require.Equal(t, one.want, play(t, one.player, one.taking, one.recorded...)) })
	}
}

func TestPlayingEndsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*s)
		defer cancel()
		shown := 0
		began := time.Now()
		err := Player{Speed: 1}.Play(ctx, recorded(0, 2*s, 4*s), func(events.Event) error { shown++; return nil })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*s, time.Since(began))
		require.Equal(t, 2, shown)

		stop := errors.New("enough")
		require.ErrorIs(t, Player{Speed: Max}.Play(t.Context(), recorded(0, s), func(events.Event) error { return stop }), stop)
		require.ErrorIs(t, Player{}.Play(t.Context(), func(yield func(events.Event, error) bool) { yield(events.Event{}, stop) }, nil), stop)
	})
}

func TestSpeeds(t *testing.T) {
	for text, want := range map[string]Speed{"1x": 1, "1000x": 1000, "2.5": 2.5, "max": Max} {
		got, err := ParseSpeed(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "x", "0x", "-1x", "fast", "NaN", "Infx"} {
		_, err := ParseSpeed(text)
		require.ErrorContains(t, err, "is no speed", text)
	}
	rapid.Check(t, func(t *rapid.T) {
		speed := Speed(rapid.Float64Range(0.001, 1e6).Draw(t, "speed"))
		again, err := ParseSpeed(speed.String())
		require.NoError(t, err)
		require.Equal(t, speed, again)
	})
}
