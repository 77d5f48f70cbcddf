package conformance

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
)

// Open returns an empty ledger of the test's own, which is closed with the test.
type Open func(t *testing.T) events.Ledger

// RawWriter is a ledger whose test version takes messages that aren't events, as a foreign writer could append them.
type RawWriter interface {
	Raw(subject string, header map[string]string, payload []byte) error
}

const within = time.Minute

// Run runs the suite against ledgers that open returns.
func Run(t *testing.T, open Open) {
	for name, test := range map[string]func(*testing.T, events.Ledger){
		"guards":                      guards,
		"wire form":                   wireForm,
		"tombstone and re-creation":   tombstones,
		"refusals":                    refusals,
		"batch":                       batches,
		"batch of the largest size":   largeBatch,
		"repeated append":             repetition,
		"pipeline":                    pipelines,
		"pipeline repeated":           pipelineRepetition,
		"pipeline on one facet":       pipelineOneFacet,
		"writers racing on a facet":   racing,
		"batches racing":              racingBatches,
		"follow from nothing":         followEmpty,
		"follow the present":          followPresent,
		"follow after a revision":     followAfter,
		"follow under writers":        followUnderWriters,
		"follow whole batches":        followWholeBatches,
		"follow ends with deliver":    followDeliverFails,
		"read":                        reads,
		"read stops":                  readStops,
		"positions in time":           positions,
		"set aside":                   setAside,
		"cancelled":                   cancelled,
		"names of all sorts of bytes": oddNames,
		"read as stored":              rawReading,
		"trim":                        trims,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Restart checks that what was acknowledged outlives the ledger. reopen closes what open has returned and opens it again.
func Restart(t *testing.T, ledger events.Ledger, reopen func() events.Ledger) {
	ctx := deadline(t)
	last, err := ledger.Append(ctx, pod("a", "1", 0), pod("b", "2", 0))
	require.NoError(t, err)
	before := read(t, ledger, events.Query{})
	ledger = reopen()
	require.Equal(t, before, read(t, ledger, events.Query{}))
	_, err = ledger.Append(ctx, pod("b", "2", 0))
	require.ErrorIs(t, err, events.ErrConflict)
	next, err := ledger.Append(ctx, pod("b", "2", last))
	require.NoError(t, err)
	require.Equal(t, last+1, next)
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	return ctx
}

func podRef(name string) events.Ref {
	return events.Ref{Resource: "pods", Namespace: "default", Name: name}
}

// pod proposes a pod's desired facet.
func pod(name, uid string, expect events.Revision) events.Proposal {
	return events.Proposal{Expect: expect, Event: events.Event{Facet: events.Desired, Ref: podRef(name), UID: uid, Type: "PodChanged", Payload: []byte("pod " + name)}}
}

func append1(t *testing.T, l events.Ledger, p events.Proposal) events.Revision {
	t.Helper()
	revision, err := l.Append(deadline(t), p)
	require.NoError(t, err)
	return revision
}

func read(t *testing.T, l events.Ledger, q events.Query) []events.Event {
	t.Helper()
	var out []events.Event
	require.NoError(t, l.Read(deadline(t), q, func(e events.Event) bool {
		out = append(out, e)
		return true
	}))
	for i := 1; i < len(out); i++ {
		require.Less(t, out[i-1].Revision, out[i].Revision, "events in ascending order")
	}
	return out
}

// names gives "facet/name@revision" for each event.
func names(list []events.Event) []string {
	out := []string{}
	for _, e := range list {
		out = append(out, fmt.Sprintf("%s/%s@%d", e.Facet, e.Ref.Name, e.Revision))
	}
	return out
}

var errEnough = errors.New("the test has seen enough")

// followUntil follows until enough holds for what was delivered, and checks what every Follow must hold to.
func followUntil(t *testing.T, l events.Ledger, start events.Start, enough func([]events.Event, events.Batch) bool) []events.Event {
	t.Helper()
	var all []events.Event
	var revision events.Revision
	loaded := false
	err := l.Follow(deadline(t), start, func(b events.Batch) error {
		if b.Revision < revision {
			return fmt.Errorf("revision steps back from %d to %d", revision, b.Revision)
		}
		if loaded && !b.Loaded {
			return errors.New("loaded and then not loaded any more")
		}
		revision, loaded = b.Revision, b.Loaded
		for _, e := range b.Events {
			if len(all) > 0 && e.Revision <= all[len(all)-1].Revision {
				return fmt.Errorf("event %d after event %d", e.Revision, all[len(all)-1].Revision)
			}
			if e.Revision > b.Revision || e.Revision <= start.After {
				return fmt.Errorf("event %d in a batch up to %d after %d", e.Revision, b.Revision, start.After)
			}
			all = append(all, e)
		}
		if enough(all, b) {
			return errEnough
		}
		return nil
	})
	require.ErrorIs(t, err, errEnough)
	return all
}

func whenLoaded(_ []events.Event, b events.Batch) bool { return b.Loaded }
