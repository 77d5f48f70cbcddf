package replication

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner/owned"
	"github.com/wakehq/wake/services/runner/transcript"
)

var web = events.Ref{Group: "apps", Resource: "deployments", Namespace: "default", Name: "web"}

const manifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %d
  strategy: %s
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "demo:1"}]}
`

// history is a random history of one Deployment, whose deciders run twice each.
type history struct {
	*rapid.T
	*transcript.World
	check func()
}

func begin(t *rapid.T, replicas int, strategy string) *history {
	w := transcript.NewWorld(transcript.Registry(t), slices.Concat(deciders, deciders)...)
	require.NoError(t, w.Apply(fmt.Appendf(nil, manifest, replicas, strategy)))
	return &history{T: t, World: w, check: func() {}}
}

func (h *history) deployment() *appsv1.Deployment {
	o, ok := h.State().Get(web)
	require.True(h, ok)
	return o.Typed().(*appsv1.Deployment)
}

func (h *history) pods(want func(*corev1.Pod) bool) []events.Ref { return h.Pods("default", want) }

func terminatingPod(pod *corev1.Pod) bool { return pod.DeletionTimestamp != nil }
func available(pod *corev1.Pod) bool      { return owned.Active(pod) && owned.Ready(pod) }
func unready(pod *corev1.Pod) bool        { return owned.Active(pod) && !owned.Ready(pod) }

// onPod returns an action on a random pod of those wanted.
func (h *history) onPod(want func(*corev1.Pod) bool, do func(events.Ref) error) func(*rapid.T) {
	return func(t *rapid.T) {
		if refs := h.pods(want); len(refs) > 0 {
			require.NoError(t, do(rapid.SampledFrom(refs).Draw(t, "pod")))
		}
	}
}

func (h *history) ready(ref events.Ref) error {
	if err := h.Bind(ref, "n1"); err != nil {
		return err
	}
	return h.Report(ref, corev1.PodRunning, true, 0)
}

func (h *history) patch(format string, args ...any) {
	require.NoError(h, h.Patch(web, fmt.Appendf(nil, format, args...)))
}

// actions are what any history consists of: deciders that look late, decide on what they saw, and are killed; nodes; changes of the template; time.
func (h *history) actions() map[string]func(*rapid.T) {
	seat := func(t *rapid.T) *transcript.Seat { return rapid.SampledFrom(h.Seats()).Draw(t, "seat") }
	return map[string]func(*rapid.T){
		"look":    func(t *rapid.T) { seat(t).Look() },
		"decide":  func(t *rapid.T) { require.NoError(t, seat(t).Decide()) },
		"decide2": func(t *rapid.T) { s := seat(t); s.Look(); require.NoError(t, s.Decide()) },
		"restart": func(t *rapid.T) { seat(t).Restart() },
		"settle":  func(t *rapid.T) { require.NoError(t, h.Settle()) },
		"pass": func(t *rapid.T) {
			require.NoError(t, h.Pass(time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds"))*time.Second))
		},
		"ready": h.onPod(unready, h.ready),
		"ended": h.onPod(terminatingPod, h.Vanish),
		"image": func(t *rapid.T) {
			h.patch(`spec: {template: {spec: {containers: [{name: main, image: "demo:%d"}]}}}`, rapid.IntRange(1, 4).Draw(t, "image"))
		},
		"": func(*rapid.T) { h.check() },
	}
}

// quiet lets nodes and deciders do their work until nothing is left to do.
func (h *history) quiet() {
	for range 100 {
		before := len(h.Entries())
		require.NoError(h, h.Pass(10*time.Second))
		for _, ref := range h.pods(terminatingPod) {
			require.NoError(h, h.Vanish(ref))
		}
		for _, ref := range h.pods(unready) {
			require.NoError(h, h.ready(ref))
		}
		h.check()
		if len(h.Entries()) == before {
			return
		}
	}
	h.Fatal("the cluster does not come to rest")
}

// requireComplete says that the Deployment has exactly what it asks for.
func (h *history) requireComplete() {
	d := h.deployment()
	active := h.pods(owned.Active)
	require.Len(h, active, int(*d.Spec.Replicas))
	for _, ref := range active {
		o, _ := h.State().Get(ref)
		require.Equal(h, d.Spec.Template.Spec.Containers[0].Image, o.Typed().(*corev1.Pod).Spec.Containers[0].Image)
	}
	s := d.Status
	n := *d.Spec.Replicas
	require.Equal(h, []int32{n, n, n, n, 0}, []int32{s.Replicas, s.UpdatedReplicas, s.ReadyReplicas, s.AvailableReplicas, s.UnavailableReplicas})
	require.Equal(h, d.Generation, s.ObservedGeneration)
	progressing := condition(&s, appsv1.DeploymentProgressing)
	require.NotNil(h, progressing)
	require.Equal(h, reasonAvailable, progressing.Reason)
}

func strategies(t *rapid.T) string {
	if rapid.IntRange(0, 4).Draw(t, "recreate") == 0 {
		return "{type: Recreate}"
	}
	bound := rapid.SampledFrom([]string{"0", "1", "2", "25%", "50%", "100%"})
	surge, unavailable := bound.Draw(t, "surge"), bound.Draw(t, "unavailable")
	if surge == "0" && unavailable == "0" {
		unavailable = "1"
	}
	return fmt.Sprintf("{rollingUpdate: {maxSurge: %s, maxUnavailable: %s}}", surge, unavailable)
}

// A Deployment keeps within its bounds at every single event of a rollout, whatever its deciders have seen of the others.
func TestRolloutKeepsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := begin(t, rapid.IntRange(0, 6).Draw(t, "replicas"), strategies(t))
		h.quiet()
		replicas := *h.deployment().Spec.Replicas
		surge, absent := bounds(h.deployment())
		recreate := h.deployment().Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType
		h.check = func() {
			require.LessOrEqual(t, len(h.pods(owned.Active)), int(replicas+surge), "pods")
			if !recreate {
				require.GreaterOrEqual(t, len(h.pods(available)), int(replicas-absent), "available pods")
			}
		}
		actions := h.actions()
		actions["paused"] = func(t *rapid.T) { h.patch("spec: {paused: %t}", rapid.Bool().Draw(t, "paused")) }
		t.Repeat(actions)
		h.patch("spec: {paused: false}")
		h.quiet()
		h.requireComplete()
	})
}

// Whatever happens to a Deployment and its pods, it comes to have exactly what it asks for once it is left alone.
func TestDeploymentsConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := begin(t, rapid.IntRange(0, 6).Draw(t, "replicas"), strategies(t))
		actions := h.actions()
		actions["scale"] = func(t *rapid.T) { h.patch("spec: {replicas: %d}", rapid.IntRange(0, 8).Draw(t, "replicas")) }
		actions["paused"] = func(t *rapid.T) { h.patch("spec: {paused: %t}", rapid.Bool().Draw(t, "paused")) }
		actions["min ready"] = func(t *rapid.T) { h.patch("spec: {minReadySeconds: %d}", rapid.IntRange(0, 5).Draw(t, "seconds")) }
		actions["history"] = func(t *rapid.T) { h.patch("spec: {revisionHistoryLimit: %d}", rapid.IntRange(0, 3).Draw(t, "limit")) }
		actions["delete"] = h.onPod(owned.Active, h.Delete)
		actions["kill"] = h.onPod(owned.Active, h.Vanish)
		actions["fail"] = h.onPod(owned.Active, func(ref events.Ref) error { return h.Report(ref, corev1.PodFailed, false, 1) })
		actions["unready"] = h.onPod(available, func(ref events.Ref) error { return h.Report(ref, corev1.PodRunning, false, 0) })
		actions["orphan"] = h.onPod(owned.Active, func(ref events.Ref) error { return h.Patch(ref, []byte("metadata: {ownerReferences: null}")) })
		actions["relabel"] = h.onPod(owned.Active, func(ref events.Ref) error { return h.Patch(ref, []byte("metadata: {labels: {app: aside}}")) })
		t.Repeat(actions)
		h.patch("spec: {paused: false}")
		for _, ref := range h.pods(func(pod *corev1.Pod) bool { return pod.Labels["app"] == "aside" }) {
			require.NoError(t, h.Vanish(ref))
		}
		h.quiet()
		h.requireComplete()
		require.LessOrEqual(t, h.State().Count(replicaSetKind), int(*h.deployment().Spec.RevisionHistoryLimit)+1)
	})
}

// Two deciders that decide on the same stale state never both act on it.
func TestStaleDecidersNeverDoubleCreate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		replicas := rapid.IntRange(1, 5).Draw(t, "replicas")
		h := begin(t, replicas, "{type: RollingUpdate}")
		first, second := h.Seats()[1], h.Seats()[3]
		deployer := h.Seats()[0]
		deployer.Look()
		require.NoError(t, deployer.Decide())
		first.Look()
		second.Look()
		require.NoError(t, first.Decide())
		require.Len(t, h.pods(owned.Active), replicas)
		require.NoError(t, second.Decide())
		require.Len(t, h.pods(owned.Active), replicas)
		require.Equal(t, 1, second.Lost)
	})
}
