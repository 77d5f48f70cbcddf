package recording_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/events/recording"
	"github.com/wakehq/wake/events/seal"
	"github.com/wakehq/wake/events/segment"
	"github.com/wakehq/wake/schemas"
)

const password = "hunter2"

// record fills a ledger with config maps and secrets that come, change and go.
func record(t *testing.T, registry *schemas.Registry, count int) (beneath *memory.Ledger, unseal func(events.Ledger) events.Ledger) {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	unseal = func(sealed events.Ledger) events.Ledger {
		opened, err := seal.New(sealed, key)
		require.NoError(t, err)
		return opened
	}
	beneath = memory.New(memory.Faults{})
	above := unseal(beneath)
	state, random := events.NewState(registry), rand.New(rand.NewPCG(1, 2))
	for n := range count {
		meta := metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("o", random.IntN(5)), UID: types.UID(fmt.Sprint("uid", n))}
		var obj runtime.Object = &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"n": fmt.Sprint(n)}}
		if random.IntN(3) == 0 {
			obj = &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"n": fmt.Append([]byte(password), n)}}
		}
		ref, err := state.RefOf(obj)
		require.NoError(t, err)
		p := events.Create(state, obj, "Created")
		if o, ok := state.Get(ref); ok && random.IntN(2) == 0 {
			p = events.Remove(o, "Deleted")
		} else if ok {
			p = events.Alter(o, obj, "Changed")
			p.UID = o.UID()
		}
		proposals := []events.Proposal{p}
		events.Audit{Actor: "user:tester", At: time.Now()}.Sign(proposals)
		revision, err := above.Append(t.Context(), proposals...)
		require.NoError(t, err)
		require.NoError(t, above.Read(t.Context(), events.Query{From: revision}, func(e events.Event) bool {
			_, err = state.Apply(e)
			return err == nil
		}))
		require.NoError(t, err)
	}
	return beneath, unseal
}

// hashes returns the state's hash at every revision from base on.
func hashes(t *testing.T, registry *schemas.Registry, ledger events.Ledger, base events.Revision) (out []string) {
	t.Helper()
	state := events.NewState(registry)
	if base > 0 {
		require.NoError(t, ledger.Read(t.Context(), events.Query{To: base, LastPerFacet: true}, func(e events.Event) bool { _, err := state.Apply(e); return err == nil }))
	}
	out = append(out, state.Hash())
	require.NoError(t, ledger.Read(t.Context(), events.Query{From: base + 1}, func(e events.Event) bool {
		_, err := state.Apply(e)
		out = append(out, state.Hash())
		return err == nil
	}))
	return out
}

func write(t *testing.T, source recording.Source, o recording.Options) (*segment.Reader, []byte) {
	t.Helper()
	var out bytes.Buffer
	_, err := recording.Write(t.Context(), &out, source, o)
	require.NoError(t, err)
	r, err := segment.Open(bytes.NewReader(out.Bytes()), int64(out.Len()), "the recording")
	require.NoError(t, err)
	return r, out.Bytes()
}

func TestARecordingIsTheLedgerAgain(t *testing.T) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	const count = 60
	beneath, unseal := record(t, registry, count)
	want := hashes(t, registry, unseal(beneath), 0)
	for _, from := range []events.Revision{0, 1, 20, count, count + 1} {
		r, data := write(t, beneath, recording.Options{Cluster: "c", Deciders: map[string]string{"a": "b"}, From: from})
		require.NotContains(t, string(data), password)
		require.Equal(t, "c", r.Header().Cluster)
		base := max(from, 1) - 1
		require.Equal(t, base, r.Header().Base)
		recorded := segment.NewLedger(r)
		require.Equal(t, want[base:], hashes(t, registry, unseal(recorded), base))
		_, again := write(t, beneath, recording.Options{Cluster: "c", Deciders: map[string]string{"a": "b"}, From: from})
		require.Equal(t, data, again)
	}
	_, err = recording.Write(t.Context(), &bytes.Buffer{}, beneath, recording.Options{To: count + 1})
	require.ErrorContains(t, err, "the ledger ends at 60")
}

func TestDroppedSecretsAreGoneAndStillProven(t *testing.T) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	beneath, _ := record(t, registry, 40)
	whole, _ := write(t, beneath, recording.Options{})
	less, _ := write(t, beneath, recording.Options{DropSecrets: true})
	require.Equal(t, whole.Footer().Chain, less.Footer().Chain)
	require.NotZero(t, less.Footer().Partial)
	require.Equal(t, hashes(t, registry, seal.Shell(segment.NewLedger(whole)), 0), hashes(t, registry, seal.Shell(segment.NewLedger(less)), 0))
}

func TestPlaybackGivesEachEventWhenItMayPass(t *testing.T) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	const count, base = 40, 10
	beneath, _ := record(t, registry, count)
	r, _ := write(t, beneath, recording.Options{From: base + 1})
	gate, asked := make(chan struct{}), make(chan time.Time)
	play := func(ctx context.Context, all iter.Seq2[events.Event, error], show func(events.Event) error) error {
		for e, err := range all {
			require.NoError(t, err)
			asked <- e.Stored
			select {
			case <-gate:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := show(e); err != nil {
				return err
			}
		}
		return nil
	}
	p := recording.NewPlayback(segment.NewLedger(r), base, r.Header().BaseTime, play)
	view, err := events.OpenView(t.Context(), p, registry)
	require.NoError(t, err)
	require.EqualValues(t, base, view.State().Revision())
	for at := events.Revision(base + 1); at <= count; at++ {
		stored := <-asked
		require.Equal(t, at-1, view.State().Revision())
		last, _, err := p.Last(t.Context())
		require.NoError(t, err)
		require.Equal(t, at-1, last)
		require.NoError(t, p.Read(t.Context(), events.Query{}, func(e events.Event) bool { last = e.Revision; return true }))
		require.Equal(t, at-1, last)
		gate <- struct{}{}
		state, err := view.WaitFor(t.Context(), at)
		require.NoError(t, err)
		require.Equal(t, stored, state.Time())
	}
	_, err = p.Append(t.Context(), events.Proposal{})
	require.ErrorIs(t, err, events.ErrReadOnly)
}
