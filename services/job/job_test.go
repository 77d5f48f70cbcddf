package job

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner/owned"
	"github.com/wakehq/wake/services/runner/transcript"
)

func TestTranscripts(t *testing.T) {
	transcript.Test(t, transcript.Registry(t), "testdata/*.txt", New)
}

var pi = events.Ref{Group: "batch", Resource: "jobs", Namespace: "default", Name: "pi"}

const manifest = `
apiVersion: batch/v1
kind: Job
metadata: {name: pi}
spec:
  completions: %d
  parallelism: %d
  backoffLimit: %d
  completionMode: %s
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: demo}]}
`

// history is a random history of one Job, whose decider runs twice.
type history struct {
	*rapid.T
	*transcript.World
	succeeded, failed map[events.Ref]bool // what nodes have reported, and pods that clients have deleted
	interrupted       bool                // pods may be asked to end, perhaps in the moment in which they end by themselves
}

func (h *history) job() *batchv1.Job {
	o, ok := h.State().Get(pi)
	require.True(h, ok)
	return o.Typed().(*batchv1.Job)
}

func (h *history) pods(want func(*corev1.Pod) bool) []events.Ref { return h.Pods("default", want) }

func (h *history) onPod(want func(*corev1.Pod) bool, do func(events.Ref)) func(*rapid.T) {
	return func(t *rapid.T) {
		if refs := h.pods(want); len(refs) > 0 {
			do(rapid.SampledFrom(refs).Draw(t, "pod"))
		}
	}
}

func ending(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil && len(pod.Finalizers) == 0
}

func (h *history) finish(ref events.Ref, phase corev1.PodPhase) {
	require.NoError(h, h.Bind(ref, "n1"))
	require.NoError(h, h.Report(ref, phase, false, 0))
	if phase == corev1.PodSucceeded {
		h.succeeded[ref] = true
	} else {
		h.failed[ref] = true
	}
}

// check holds at every event: never too many pods, and nothing counted that didn't happen.
func (h *history) check() {
	job := h.job()
	require.LessOrEqual(h, len(h.pods(owned.Active)), int(*job.Spec.Parallelism), "active pods")
	require.LessOrEqual(h, int(job.Status.Succeeded), len(h.succeeded))
	require.LessOrEqual(h, int(job.Status.Failed), len(h.failed))
	require.LessOrEqual(h, job.Status.Succeeded, *job.Spec.Completions)
}

// A Job never runs more pods than it may, counts none twice and, unless it was asked to end, each once, whenever its decider dies; and it completes
// with exactly its completions.
func TestJobsCompleteExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		completions := rapid.IntRange(0, 5).Draw(t, "completions")
		mode := rapid.SampledFrom([]string{"NonIndexed", "Indexed"}).Draw(t, "mode")
		h := &history{T: t, World: transcript.NewWorld(transcript.Registry(t), New, New), succeeded: map[events.Ref]bool{}, failed: map[events.Ref]bool{},
			interrupted: rapid.Bool().Draw(t, "interrupted")}
		require.NoError(t, h.Apply(fmt.Appendf(nil, manifest, completions, rapid.IntRange(1, 4).Draw(t, "parallelism"), 1000, mode)))
		seat := func(t *rapid.T) *transcript.Seat { return rapid.SampledFrom(h.Seats()).Draw(t, "seat") }
		t.Repeat(map[string]func(*rapid.T){
			"look":    func(t *rapid.T) { seat(t).Look() },
			"decide":  func(t *rapid.T) { require.NoError(t, seat(t).Decide()) },
			"restart": func(t *rapid.T) { seat(t).Restart() },
			"settle":  func(t *rapid.T) { require.NoError(t, h.Settle()) },
			"pass": func(t *rapid.T) {
				require.NoError(t, h.Pass(time.Duration(rapid.IntRange(1, 600).Draw(t, "seconds"))*time.Second))
			},
			"succeed": h.onPod(owned.Active, func(ref events.Ref) { h.finish(ref, corev1.PodSucceeded) }),
			"fail":    h.onPod(owned.Active, func(ref events.Ref) { h.finish(ref, corev1.PodFailed) }),
			"delete": h.onPod(func(pod *corev1.Pod) bool { return pod.DeletionTimestamp == nil }, func(ref events.Ref) {
				o, _ := h.State().Get(ref)
				if owned.Active(o.Typed().(*corev1.Pod)) {
					if !h.interrupted {
						return
					}
					h.failed[ref] = true
				}
				require.NoError(h, h.Delete(ref))
			}),
			"ended": h.onPod(ending, func(ref events.Ref) { require.NoError(h, h.Vanish(ref)) }),
			"suspended": func(t *rapid.T) {
				if h.interrupted && !finished(&h.job().Status) {
					require.NoError(t, h.Patch(pi, fmt.Appendf(nil, "spec: {suspend: %t}", rapid.Bool().Draw(t, "suspended"))))
				}
			},
			"": func(*rapid.T) { h.check() },
		})
		require.NoError(t, h.Patch(pi, []byte("spec: {suspend: false}")))
		for range 100 {
			require.NoError(t, h.Pass(10*time.Minute))
			for _, ref := range h.pods(ending) {
				require.NoError(t, h.Vanish(ref))
			}
			for _, ref := range h.pods(owned.Active) {
				h.finish(ref, corev1.PodSucceeded)
			}
			h.check()
			if finished(&h.job().Status) {
				break
			}
		}
		s := h.job().Status
		require.True(t, holds(&s, batchv1.JobComplete))
		require.EqualValues(t, completions, s.Succeeded)
		if mode == "NonIndexed" && !h.interrupted {
			require.Len(t, h.succeeded, completions)
			require.Len(t, h.failed, int(s.Failed))
		}
		require.Empty(t, h.pods(func(pod *corev1.Pod) bool { return len(pod.Finalizers) > 0 }))
	})
}

func TestIndexesReadAndWriteThemselves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := indexes(rapid.SliceOfN(rapid.Bool(), 0, 20).Draw(t, "set"))
		require.Equal(t, set, parseIndexes(set.String(), len(set)))
	})
	require.Equal(t, "0,1,3-5", indexes{true, true, false, true, true, true, false}.String())
}
