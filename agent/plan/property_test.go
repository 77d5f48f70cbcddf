package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
)

// drawPod draws a pod of up to three init containers and three containers.
func drawPod(t *rapid.T) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	pod.Spec.RestartPolicy = rapid.SampledFrom([]corev1.RestartPolicy{
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever,
	}).Draw(t, "restartPolicy")
	probe := func(label string) *corev1.Probe {
		if !rapid.Bool().Draw(t, label) {
			return nil
		}
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)}}}
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "inits") {
		c := corev1.Container{Name: fmt.Sprintf("i%d", i), Image: "x"}
		if rapid.Bool().Draw(t, "sidecar") {
			always := corev1.ContainerRestartPolicyAlways
			c.RestartPolicy, c.StartupProbe = &always, probe("startup")
		}
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "containers") {
		c := corev1.Container{Name: fmt.Sprintf("c%d", i), Image: "x", StartupProbe: probe("startup"), ReadinessProbe: probe("readiness"), LivenessProbe: probe("liveness")}
		if rapid.Bool().Draw(t, "postStart") {
			c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}}}
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	return pod
}

// TestAnyHistory holds the package's guarantees over random histories of exits, failures, verdicts, lost containers and restarts of
// the agent.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorldOf(t, drawPod(rt), nil)
		watch := &watcher{w: w, attempts: map[string]int{}}
		step := func(words ...string) {
			w.do(words)
			watch.check(rt)
		}
		step("play")
		for range rapid.IntRange(0, 30).Draw(rt, "steps") {
			var running []string
			for _, c := range w.in.Seen.Containers {
				if c.State == Running {
					running = append(running, c.Name)
				}
			}
			choices := []string{"wait", "restart", "sandboxdies", "fail"}
			if len(running) > 0 {
				choices = append(choices, "exit", "exit", "probe", "probe", "oom", "lose")
			}
			name := func() string { return rapid.SampledFrom(running).Draw(rt, "container") }
			switch what := rapid.SampledFrom(choices).Draw(rt, "step"); what {
			case "wait":
				step("wait", rapid.SampledFrom([]string{"1s", "10s", "5m", "20m"}).Draw(rt, "time"))
			case "fail":
				verb := rapid.SampledFrom([]Verb{CreateSandbox, StartSandbox, PullImage, CreateContainer, StartContainer, RunPostStart}).Draw(rt, "verb")
				step("fail", string(verb), "broken")
			case "exit":
				step("exit", name(), rapid.SampledFrom([]string{"0", "1"}).Draw(rt, "code"))
			case "probe":
				kind := rapid.SampledFrom([]ProbeKind{Startup, Liveness, Readiness}).Draw(rt, "kind")
				step("probe", name(), string(kind), rapid.SampledFrom([]string{"true", "true", "false"}).Draw(rt, "verdict"))
			case "oom", "lose":
				step(what, name())
			case "sandboxdies":
				if w.in.Seen.Sandbox != nil && w.in.Seen.Sandbox.State == Running {
					step(what)
				}
			default:
				step(what)
			}
		}
		w.fails = map[Verb][]string{}
		step("delete", "1")
		w.wait(time.Hour)
		require.True(rt, w.done, "a pod that is being deleted must end")
		require.Empty(rt, w.in.Seen.Containers)
		require.Nil(rt, w.in.Seen.Sandbox)
	})
}

// watcher checks what must hold after every step.
type watcher struct {
	w        *world
	attempts map[string]int // the highest attempt that was ever created, from 1
	acted    int            // how many actions were checked
	terminal corev1.PodPhase
}

func (c *watcher) check(t *rapid.T) {
	w := c.w
	again := Decide(w.in)
	require.Empty(t, cmp.Diff(again, Decide(w.in)), "the same input gave two decisions")
	live := map[string]int{}
	for _, seen := range w.in.Seen.Containers {
		if !seen.over() {
			live[seen.Name]++
		}
	}
	for name, n := range live {
		require.LessOrEqual(t, n, 1, "attempts of %s that are alive", name)
	}
	for _, a := range w.actions[c.acted:] {
		switch a.Verb {
		case CreateContainer:
			require.Nil(t, c.terminalNow(), "a pod that has run its course starts a container")
			if len(w.fails[CreateContainer]) == 0 {
				require.GreaterOrEqual(t, a.Attempt+1, c.attempts[a.Container], "attempt of %s", a.Container)
			}
			c.attempts[a.Container] = max(c.attempts[a.Container], a.Attempt+1)
		case StopContainer:
			require.NotEmpty(t, a.Reason, "a container is stopped without a reason")
		}
	}
	c.acted = len(w.actions)
	status := w.in.Last
	if c.terminal != "" {
		require.Equal(t, c.terminal, status.Phase, "a terminal phase must stay")
	}
	if terminalPhase(status.Phase) {
		c.terminal = status.Phase
	}
	for _, s := range slices.Concat(status.InitContainerStatuses, status.ContainerStatuses) {
		states := 0
		for _, set := range []bool{s.State.Running != nil, s.State.Waiting != nil, s.State.Terminated != nil} {
			if set {
				states++
			}
		}
		require.Equal(t, 1, states, "states of %s", s.Name)
		if s.Ready && s.State.Running == nil {
			require.Equal(t, int32(0), s.State.Terminated.ExitCode, "%s is ready without running", s.Name)
		}
	}
	if ready := condition(status.Conditions, corev1.PodReady); ready.Status == corev1.ConditionTrue {
		for _, s := range status.ContainerStatuses {
			require.NotNil(t, s.State.Running, "the pod is ready while %s doesn't run", s.Name)
		}
	}
}

// terminalNow is the terminal phase that was reached before this step; nil if none.
func (c *watcher) terminalNow() any {
	if c.terminal == "" {
		return nil
	}
	return c.terminal
}
