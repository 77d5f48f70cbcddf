package verify

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// toucher writes a ConfigMap again that somebody changed. It costs next to nothing, so what is measured is the verification itself.
type toucher struct{}

func (toucher) Name() string                                   { return "toucher" }
func (toucher) Keys(events.Change, *events.State) []events.Ref { return nil }

func (toucher) Decide(in runner.Input) runner.Decision {
	o, _ := in.State.Get(in.Key)
	return runner.Decision{Each: []events.Proposal{events.Alter(o, o.Typed(), "ConfigMapTouched", "data")}}
}

// endless is a ledger of so many events that it makes them up as it is read: changes of 10,000 ConfigMaps, each touched a thousand events later.
type endless struct {
	events.Ledger
	length   events.Revision
	payloads [][]byte
}

const touchedAfter = 1000

func (l *endless) Last(context.Context) (events.Revision, time.Time, error) {
	return l.length, time.Time{}, nil
}

func (l *endless) Read(ctx context.Context, q events.Query, yield func(events.Event) bool) error {
	for revision := q.From; revision <= q.To && ctx.Err() == nil; revision++ {
		// Of each 2,000 revisions the first half are changes, the second half touch them.
		of, touched := revision-1, (revision-1)/touchedAfter%2 == 1
		if touched {
			of -= touchedAfter
		}
		n := int(of) % 10_000
		ref := events.Ref{Resource: "configmaps", Namespace: "default", Name: fmt.Sprint("c", n)}
		e := events.Event{Revision: revision, Facet: events.Desired, Ref: ref, UID: "u" + ref.Name, Type: "ConfigMapChanged", Payload: l.payloads[n], Actor: "user:tester",
			Schema: events.SchemaVersion, At: time.UnixMilli(int64(of))}
		if touched {
			e.Type, e.Actor, e.Key, e.Basis, e.Changed = "ConfigMapTouched", "service:toucher", ref.String(), revision-1-(revision-1)%touchedAfter, []string{"data"}
		}
		if !yield(e) {
			return nil
		}
	}
	return ctx.Err()
}

// BenchmarkLongHistory verifies a million events, half of them decided, and tells how much memory that takes at most.
func BenchmarkLongHistory(b *testing.B) {
	registry, err := newRegistry()
	require.NoError(b, err)
	ledger, state := &endless{length: 1_000_000}, events.NewState(registry)
	for n := range 10_000 {
		name := fmt.Sprint("c", n)
		config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "u"}, Data: map[string]string{"text": name}}
		ledger.payloads = append(ledger.payloads, events.Create(state, config, "ConfigMapCreated").Payload)
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak, decisions := uint64(0), 0
	for b.Loop() {
		report, err := Run(b.Context(), Config{Ledger: ledger, Registry: registry, Deciders: func() []runner.Decider { return []runner.Decider{toucher{}} },
			Progress: func(p Progress) {
				if p.Revision%(progressEvery*16) < progressEvery {
					runtime.ReadMemStats(&now)
					peak = max(peak, now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc))
				}
			}})
		require.NoError(b, err)
		require.Zero(b, report.Diverged, report.Divergences)
		decisions += report.Decisions()
	}
	b.ReportMetric(float64(decisions)/b.Elapsed().Seconds(), "decisions/s")
	b.ReportMetric(float64(decisions)*2/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(peak)/(1<<20), "MiB")
}
