package simulation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/simulation"
)

// drawCluster grows a cluster of a few nodes and deployments, some of which don't fit.
func drawCluster(t *rapid.T) *events.State {
	manifests := []string{nodes(rapid.IntRange(1, 5).Draw(t, "nodes"), "2", rapid.Bool().Draw(t, "agents")), `
apiVersion: v1
kind: ConfigMap
metadata: {name: c0}
---
apiVersion: v1
kind: Service
metadata: {name: web0}
spec: {selector: {app: web0}, ports: [{port: 80}]}
`}
	for i := range rapid.IntRange(0, 3).Draw(t, "deployments") {
		manifests = append(manifests, drawDeployment(t, i))
	}
	if rapid.Bool().Draw(t, "job") {
		manifests = append(manifests, drawJob(t, "before"))
	}
	return grow(t, manifests...)
}

func drawDeployment(t *rapid.T, i int) string {
	text := deployment(fmt.Sprintf("web%d", i), rapid.IntRange(0, 6).Draw(t, "replicas"), rapid.SampledFrom([]string{"100m", "500m", "1500m"}).Draw(t, "cpu"))
	if rapid.Bool().Draw(t, "needy") {
		text = strings.Replace(text, "image: busybox,", fmt.Sprintf("image: busybox, envFrom: [{configMapRef: {name: c%d}}],", rapid.IntRange(0, 1).Draw(t, "config")), 1)
	}
	return text
}

func drawJob(t *rapid.T, name string) string {
	return fmt.Sprintf(`---
apiVersion: batch/v1
kind: Job
metadata: {name: %s}
spec:
  completions: %d
  parallelism: %d
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: busybox, resources: {requests: {cpu: 300m}}}]
`, name, rapid.IntRange(1, 4).Draw(t, "completions"), rapid.IntRange(1, 3).Draw(t, "parallelism"))
}

// drawQuestion asks several things at once, about what there is.
func drawQuestion(t *rapid.T, state *events.State) simulation.Question {
	q := simulation.Question{For: time.Duration(rapid.IntRange(1, 1000).Draw(t, "seconds")) * time.Second}
	some := func(kind events.GroupResource, label string) (refs []events.Ref) {
		for o := range state.All(kind, "") {
			if rapid.IntRange(0, 2).Draw(t, label) == 0 {
				refs = append(refs, o.Ref)
			}
		}
		return refs
	}
	for _, ref := range some(events.GroupResource{Resource: "nodes"}, "node") {
		list := rapid.SampledFrom([]*[]string{&q.Kill, &q.Drain, &q.Cordon}).Draw(t, "do")
		*list = append(*list, ref.Name)
	}
	deployments := events.GroupResource{Group: "apps", Resource: "deployments"}
	for _, ref := range some(deployments, "scaled") {
		q.Scale = append(q.Scale, simulation.Scaling{Ref: ref, Replicas: int32(rapid.IntRange(0, 12).Draw(t, "to"))})
	}
	q.Delete = append(some(deployments, "deleted"), some(events.GroupResource{Resource: "configmaps"}, "deleted")...)
	for i := range rapid.IntRange(0, 2).Draw(t, "applied") {
		q.Apply = append(q.Apply, simulation.Manifest{Name: "file", Data: []byte(drawDeployment(t, 10+i))})
	}
	if rapid.Bool().Draw(t, "job") {
		q.Apply = append(q.Apply, simulation.Manifest{Name: "file", Data: []byte(drawJob(t, "after"))})
	}
	return q
}

// The same question about the same state is answered the same, to the byte, and the state is left alone.
func TestAnswersAreTheSameEveryTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := drawCluster(t)
		q := drawQuestion(t, state)
		before := state.Hash()
		var answers [2]string
		for i := range answers {
			r, err := simulation.Ask(background, state, services, services, q)
			require.NoError(t, err)
			text, err := json.Marshal(r)
			require.NoError(t, err)
			answers[i] = string(text)
		}
		require.Equal(t, answers[0], answers[1])
		require.Equal(t, before, state.Hash())
	})
}

// Nothing asked is nothing changed, and nothing happens on a cluster that has come to rest but what was under way.
func TestNothingAskedIsNothingChanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, err := simulation.Ask(background, drawCluster(t), services, services, simulation.Question{For: time.Hour})
		require.NoError(t, err)
		require.True(t, r.Nothing(), "%v", r.Steps)
		for _, w := range append(r.Pending, r.Blocked...) {
			require.True(t, w.Anyway)
		}
	})
}

// Whatever is asked: no node ever takes more than it has, revisions follow each other, and at the end every pod is accounted for.
func TestEveryPodIsAccountedFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := drawCluster(t)
		q := drawQuestion(t, state)
		var s *simulation.Simulation
		revision := state.Revision()
		s = simulation.New(simulation.Config{State: state, Deciders: services(), Watch: func(e *events.Event, _ []events.Change) {
			require.Equal(t, revision+1, e.Revision)
			revision++
			if e.Type == scheduledType && s != nil {
				requireRoom(t, s.State())
			}
		}})
		require.NoError(t, act(s, &q))
		require.NoError(t, s.Run(background, s.Now().Add(q.For+20*time.Minute)))
		for o := range s.State().All(events.GroupResource{Resource: "pods"}, "") {
			requireAccounted(t, s.State(), o.Typed().(*corev1.Pod), q.Kill)
		}
	})
}

const scheduledType = "PodBound"

func act(s *simulation.Simulation, q *simulation.Question) error {
	for _, m := range q.Apply {
		if _, _, err := s.Apply(m, ""); err != nil {
			return err
		}
	}
	for _, scaling := range q.Scale {
		if err := s.Scale(scaling.Ref, scaling.Replicas); err != nil {
			return err
		}
	}
	for _, ref := range q.Delete {
		if err := s.Delete(ref); err != nil {
			return err
		}
	}
	for _, does := range []struct {
		nodes []string
		do    func(string) error
	}{{q.Cordon, s.Cordon}, {q.Drain, s.Drain}, {q.Kill, s.Kill}} {
		for _, node := range does.nodes {
			if err := does.do(node); err != nil {
				return err
			}
		}
	}
	return nil
}

func requireRoom(t *rapid.T, state *events.State) {
	for o := range state.All(events.GroupResource{Resource: "nodes"}, "") {
		room := o.Typed().(*corev1.Node).Status.Allocatable[corev1.ResourceCPU]
		var taken resource.Quantity
		for p := range state.Indexed(events.ByNode, o.Ref.Name) {
			if pod := p.Typed().(*corev1.Pod); pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
				taken.Add(pod.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU])
			}
		}
		require.LessOrEqual(t, taken.Cmp(room), 0, "%s has %s and is given %s", o.Ref, room.String(), taken.String())
	}
}

// mostAreUnready says that pods stay on nodes that were killed: it may be the control plane that is cut off.
func mostAreUnready(state *events.State) bool {
	ready, unready := 0, 0
	for o := range state.All(events.GroupResource{Resource: "nodes"}, "") {
		if slices.ContainsFunc(o.Typed().(*corev1.Node).Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}) {
			ready++
		} else {
			unready++
		}
	}
	return ready == 0 || unready > 2 && unready*100 >= 55*(ready+unready)
}

func requireAccounted(t *rapid.T, state *events.State, pod *corev1.Pod, killed []string) {
	conditions := map[corev1.PodConditionType]corev1.PodCondition{}
	for _, c := range pod.Status.Conditions {
		conditions[c.Type] = c
	}
	dead := false
	for _, node := range killed {
		dead = dead || pod.Spec.NodeName == node
	}
	switch {
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
	case dead && mostAreUnready(state):
	case dead:
		require.NotNil(t, pod.DeletionTimestamp, "%s is on %s, which was killed, and isn't evicted", pod.Name, pod.Spec.NodeName)
	case pod.DeletionTimestamp != nil:
		require.Fail(t, "a pod on a node that lives never ends", pod.Name)
	case pod.Spec.NodeName == "":
		require.NotEmpty(t, conditions[corev1.PodScheduled].Message, "%s waits and doesn't say why", pod.Name)
	case pod.Status.Phase == corev1.PodPending:
		require.Equal(t, "CreateContainerConfigError", pod.Status.ContainerStatuses[0].State.Waiting.Reason, pod.Name)
	default:
		require.Equal(t, corev1.PodRunning, pod.Status.Phase)
		require.Equal(t, corev1.ConditionTrue, conditions[corev1.PodReady].Status, pod.Name)
		_, exists := state.Get(events.Ref{Resource: "nodes", Name: pod.Spec.NodeName})
		require.True(t, exists)
	}
}
