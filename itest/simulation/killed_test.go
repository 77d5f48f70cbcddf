package simulation

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/simulation"
)

var background = context.Background()

// A node with an agent is found lost by the feed after 10 s, another by the node service after 40 s; its pods leave five minutes later.
func TestAKilledNode(t *testing.T) {
	for _, agent := range []bool{false, true} {
		state := grow(t, nodes(3, "4", agent), deployment("web", 6, "500m"))
		r := ask(t, state, simulation.Question{Kill: []string{"n3"}})
		found := 40 * time.Second
		if agent {
			found = 10 * time.Second
		}
		require.Equal(t, simulation.NodeLost, r.Steps[0].What)
		require.Equal(t, simulation.Span(found), r.Steps[0].At)
		require.Len(t, r.Evicted, 2)
		for _, e := range r.Evicted {
			require.Equal(t, simulation.Span(found+5*time.Minute), e.At)
			require.Equal(t, "n3", e.Node)
		}
		require.Len(t, r.Placed, 2)
		require.Len(t, r.Ending, 2)
		require.Empty(t, r.Short)
		require.Equal(t, simulation.Span(found+5*time.Minute+2*time.Second), *r.Converges)
	}
}

// What goes on anyway isn't laid to the question: a rollout that is under way, pods that wait, an image that can't be had.
func TestWhatGoesOnAnyway(t *testing.T) {
	registry, err := newRegistry()
	require.NoError(t, err)
	s := simulation.New(simulation.Config{State: events.NewState(registry), Deciders: services(), Start: began})
	apply := func(manifest string) {
		_, _, err := s.Apply(simulation.Manifest{Name: "a manifest", Data: []byte(manifest)}, "")
		require.NoError(t, err)
		require.NoError(t, s.Run(background, s.Now().Add(4*time.Second)))
	}
	apply(namespaces + nodes(2, "4", true) + deployment("large", 2, "5") + deployment("web", 4, "100m"))
	apply(strings.ReplaceAll(deployment("web", 4, "100m"), "busybox", "busybox:2")) // and is replaced, pod by pod, from here on
	half := s.State()
	r := ask(t, half, simulation.Question{Scale: []simulation.Scaling{{Ref: events.Ref{Group: "apps", Resource: "deployments", Namespace: "default", Name: "large"}, Replicas: 3}}})
	require.Len(t, r.Pending, 3)
	anyway := 0
	for _, w := range r.Pending {
		if w.Anyway {
			anyway++
		}
	}
	require.Equal(t, 2, anyway)
	for _, step := range r.Steps {
		require.Equal(t, simulation.PodNoNode, step.What, step.Text)
	}
}

// Pods that lack a ConfigMap wait for it, and start when it comes.
func TestPodsWaitForWhatTheyLack(t *testing.T) {
	needy := strings.Replace(deployment("web", 2, "100m"), "image: busybox,", "image: busybox, envFrom: [{configMapRef: {name: settings}}],", 1)
	state := grow(t, nodes(1, "4", true), needy)
	for o := range state.All(events.GroupResource{Resource: "pods"}, "") {
		require.Equal(t, `configmap "settings" not found`, o.Typed().(*corev1.Pod).Status.ContainerStatuses[0].State.Waiting.Message)
	}
	r := ask(t, state, simulation.Question{Apply: []simulation.Manifest{{Name: "file", Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n")}}})
	require.Empty(t, r.Blocked)
	require.Equal(t, simulation.PodReady, r.Steps[0].What)
	require.Len(t, r.Steps[0].Objects, 2)
}

// An image that can't be had now can't be had then.
func TestABrokenImageStaysBroken(t *testing.T) {
	s := simulation.New(simulation.Config{State: grow(t, nodes(2, "4", true), deployment("web", 1, "100m")), Deciders: services()})
	for o := range s.State().All(events.GroupResource{Resource: "pods"}, "") {
		pod := o.Typed().(*corev1.Pod).DeepCopy()
		pod.Status.Phase = corev1.PodPending
		pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"}}
		require.NoError(t, s.Do("node:n1", events.Observe(o, pod, "ImagePullBackedOff")))
	}
	scale := []simulation.Scaling{{Ref: events.Ref{Group: "apps", Resource: "deployments", Namespace: "default", Name: "web"}, Replicas: 2}}
	r := ask(t, s.State(), simulation.Question{Scale: scale})
	require.Len(t, r.Blocked, 2)
	for _, w := range r.Blocked {
		require.Equal(t, "ImagePullBackOff: no such image", w.Why)
	}
}

// single is a scheduler that knows only one node.
type single string

func (single) Name() string                                       { return "scheduler" }
func (single) Keys(c events.Change, _ *events.State) []events.Ref { return []events.Ref{c.Ref()} }
func (s single) Decide(in runner.Input) (d runner.Decision) {
	if o, ok := in.State.Get(in.Key); ok && in.Key.Resource == "pods" && o.Typed().(*corev1.Pod).Spec.NodeName == "" {
		d.Each = append(d.Each, events.Place(o, events.Placement{Node: string(s)}, scheduledType))
	}
	return d
}

// A question about the scheduler tells which pods the present one would place elsewhere.
func TestAnotherScheduler(t *testing.T) {
	state := grow(t, nodes(2, "4", true))
	changed := func() []runner.Decider { return append(services()[1:], single("n2")) }
	r, err := simulation.Ask(background, state, services, changed, simulation.Question{Scheduler: "the scheduler were single",
		Apply: []simulation.Manifest{{Name: "file", Data: []byte(deployment("web", 4, "100m"))}}})
	require.NoError(t, err)
	require.Len(t, r.Placed, 4)
	require.Len(t, r.Elsewhere, 2)
	for _, e := range r.Elsewhere {
		require.Equal(t, "n1", e.Present)
		require.Equal(t, "n2", e.Node)
	}
}

// Applying again what is there changes nothing, and what isn't in the manifest any more goes.
func TestApplyMergesAsKubectlDoes(t *testing.T) {
	const manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, labels: {a: b}}\ndata: {x: \"1\", y: \"2\"}\n"
	state := grow(t, manifest)
	apply := func(text string) *simulation.Report {
		return ask(t, state, simulation.Question{Apply: []simulation.Manifest{{Name: "file", Data: []byte(text)}}})
	}
	s := simulation.New(simulation.Config{State: state, Deciders: services()})
	_, _, err := s.Apply(simulation.Manifest{Name: "file", Data: []byte(manifest)}, "")
	require.NoError(t, err)
	state = s.State()
	require.True(t, apply(manifest).Nothing())
	require.Equal(t, map[string]int{"ConfigMapChanged": 1}, apply(strings.Replace(manifest, `, y: "2"`, "", 1)).Events)
	_, _, err = s.Apply(simulation.Manifest{Name: "file", Data: []byte(strings.Replace(manifest, `, y: "2"`, "", 1))}, "")
	require.NoError(t, err)
	o, _ := s.State().Get(events.Ref{Resource: "configmaps", Namespace: "default", Name: "settings"})
	require.Equal(t, map[string]string{"x": "1"}, o.Typed().(*corev1.ConfigMap).Data)
}
