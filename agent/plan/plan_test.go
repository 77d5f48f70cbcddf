package plan

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden transcripts")

// TestTranscripts plays each testdata/*.txt: a pod's manifest up to "---", then a script. Lines that begin with "> " are what was
// decided and reported; the rest is what happens:
//
//	play            let every action succeed until nothing is left to do now
//	fail VERB TEXT  the next action of that verb fails so
//	exit NAME CODE  the running attempt of the container exits
//	oom NAME        it is killed for its memory
//	probe NAME KIND true|false
//	configmap NAME KEY=VALUE
//	delete SECONDS  the pod is to end
//	forget          the cluster doesn't have the pod any more
//	sandboxdies     the pause container is gone from under the pod
//	lose NAME       somebody removes the container's attempts from Docker
//	restart         the agent is killed and started again
//	wait DURATION   time passes, the pod being looked at whenever it asked for it
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			golden, err := os.ReadFile(name)
			require.NoError(t, err)
			manifest, script, ok := strings.Cut(string(golden), "---\n")
			require.True(t, ok, "a transcript needs a manifest and a script, with --- between them")
			var out bytes.Buffer
			fmt.Fprintf(&out, "%s---\n", manifest)
			w := newWorld(t, manifest, &out)
			for line := range strings.Lines(script) {
				if strings.HasPrefix(line, "> ") || strings.TrimSpace(line) == "" {
					continue
				}
				fmt.Fprintf(&out, "\n%s", line)
				w.do(strings.Fields(line))
			}
			if *update {
				require.NoError(t, os.WriteFile(name, out.Bytes(), 0o644))
				return
			}
			require.Empty(t, cmp.Diff(string(golden), out.String()), "run with -update if the change is meant")
		})
	}
}

// world is a node with one pod, on which actions have their effects at once.
type world struct {
	t       *testing.T
	in      Input
	start   time.Time
	out     *bytes.Buffer
	fails   map[Verb][]string
	again   time.Time
	done    bool
	actions []Action // all that were carried out
}

func newWorld(t *testing.T, manifest string, out *bytes.Buffer) *world {
	pod := &corev1.Pod{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(manifest), pod))
	return newWorldOf(t, pod, out)
}

func newWorldOf(t *testing.T, pod *corev1.Pod, out *bytes.Buffer) *world {
	if pod.Spec.RestartPolicy == "" {
		pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	}
	pod.Namespace, pod.UID = "default", "uid-1"
	w := &world{t: t, out: out, fails: map[Verb][]string{}, start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	w.in = Input{
		Now: w.start, Pod: pod, Node: Node{Name: "n1", IP: "192.0.2.1", Dir: "/pods"},
		Objects: Objects{Revision: 1, ConfigMaps: map[string]*corev1.ConfigMap{}, Secrets: map[string]*corev1.Secret{}},
	}
	w.forget()
	return w
}

// forget loses what the agent has in memory.
func (w *world) forget() {
	w.in.Memory = Memory{
		Busy: map[string]Action{}, Images: map[string]Image{}, Containers: map[string]Failure{}, Hooks: map[string]Hook{}, Probes: map[ProbeKey]Verdict{},
	}
}

func (w *world) say(format string, args ...any) {
	if w.out != nil {
		fmt.Fprintf(w.out, "> %6s  %s\n", w.in.Now.Sub(w.start), fmt.Sprintf(format, args...))
	}
}

func (w *world) do(words []string) {
	switch words[0] {
	case "play":
	case "fail":
		w.fails[Verb(words[1])] = append(w.fails[Verb(words[1])], strings.Join(words[2:], " "))
		return
	case "exit", "oom":
		c := w.running(words[1])
		c.State, c.Finished, c.OOMKilled, c.ExitCode = Exited, w.in.Now, words[0] == "oom", 137
		if words[0] == "exit" {
			code, err := strconv.Atoi(words[2])
			require.NoError(w.t, err)
			c.ExitCode = int32(code)
		}
	case "probe":
		w.in.Memory.Probes[ProbeKey{w.running(words[1]).ID, ProbeKind(words[2])}] = Verdict{Success: words[3] == "true"}
	case "configmap":
		key, value, _ := strings.Cut(words[2], "=")
		w.in.Objects.ConfigMaps[words[1]] = &corev1.ConfigMap{Data: map[string]string{key: value}}
		w.in.Objects.Revision++
	case "delete":
		seconds, err := strconv.ParseInt(words[1], 10, 64)
		require.NoError(w.t, err)
		at := metav1.NewTime(w.in.Now)
		w.in.Pod.DeletionTimestamp, w.in.Pod.DeletionGracePeriodSeconds = &at, &seconds
	case "forget":
		w.in.Gone = true
	case "sandboxdies":
		w.in.Seen.Sandbox.State = Exited
	case "lose":
		w.in.Seen.Containers = slices.DeleteFunc(w.in.Seen.Containers, func(c Container) bool { return c.Name == words[1] })
	case "restart":
		w.forget()
	case "wait":
		d, err := time.ParseDuration(words[1])
		require.NoError(w.t, err)
		w.wait(d)
		return
	default:
		w.t.Fatalf("no such step: %s", words[0])
	}
	w.settle()
}

// wait lets time pass.
func (w *world) wait(d time.Duration) {
	until := w.in.Now.Add(d)
	for !w.again.IsZero() && !w.again.After(until) {
		w.in.Now = w.again
		w.settle()
	}
	w.in.Now = until
	w.settle()
}

func (w *world) running(name string) *Container {
	for i := range w.in.Seen.Containers {
		if c := &w.in.Seen.Containers[i]; c.Name == name && c.State == Running {
			return c
		}
	}
	w.t.Fatalf("no attempt of %s is running", name)
	return nil
}

// settle decides and acts until there is nothing left to do now.
func (w *world) settle() {
	for range 100 {
		d := Decide(w.in)
		before := w.in.Last
		w.in.Last = d.Status
		for _, f := range Changes(w.in.Pod, &before, &d.Status) {
			if !cmp.Equal(before, d.Status) {
				w.say("* %s", f.line())
			}
		}
		if line := summary(&d.Status); line != summary(&before) {
			w.say("= %s", line)
		}
		w.again, w.done = d.Again, d.Done
		if d.Done {
			w.say("done")
		}
		if len(d.Actions) == 0 {
			return
		}
		for _, a := range d.Actions {
			w.act(a)
		}
	}
	w.t.Fatal("the plan doesn't settle")
}

func (f Fact) line() string {
	line := f.Type
	if f.Reason != "" {
		line += fmt.Sprintf(" [%s: %s]", f.Reason, f.Message)
	}
	return line
}

// act carries an action out.
func (w *world) act(a Action) {
	w.actions = append(w.actions, a)
	w.say("- %s", a)
	for _, f := range Begun(a) {
		w.say("* %s", f.line())
	}
	var failure *Failure
	if texts := w.fails[a.Verb]; len(texts) > 0 {
		w.fails[a.Verb] = texts[1:]
		failure = w.failed(a, texts[0])
	} else {
		w.succeeded(a)
	}
	for _, f := range Ended(a, failure) {
		w.say("* %s", f.line())
	}
}

func (w *world) failed(a Action, text string) *Failure {
	m := &w.in.Memory
	var f Failure
	switch a.Verb {
	case SyncVolumes:
		f = m.Volumes.Failure.Again(w.in.Now, "FailedMount", text)
		m.Volumes.Failure = f
	case CreateSandbox, StartSandbox:
		f = m.Sandbox.Again(w.in.Now, "FailedCreatePodSandBox", text)
		m.Sandbox = f
	case PullImage:
		f = m.Images[a.Container].Failure.Again(w.in.Now, ReasonPull, text)
		m.Images[a.Container] = Image{Missing: true, Failure: f}
	case CreateContainer:
		if text == "missing" {
			f = Failure{Count: 1, At: w.in.Now, Reason: ReasonPull}
			m.Images[a.Container] = Image{Missing: true}
		} else {
			f = m.Containers[a.Container].Again(w.in.Now, ReasonCreate, text)
			m.Containers[a.Container] = f
		}
	case StartContainer:
		w.byID(a.ID).Error = text
		f = Failure{Message: text}
	case RunPostStart:
		m.Hooks[a.ID] = HookFailed
		f = Failure{Message: text}
	}
	return &f
}

func (w *world) byID(id string) *Container {
	i := slices.IndexFunc(w.in.Seen.Containers, func(c Container) bool { return c.ID == id })
	require.GreaterOrEqual(w.t, i, 0, "no container %s", id)
	return &w.in.Seen.Containers[i]
}

func (w *world) succeeded(a Action) {
	seen, m := &w.in.Seen, &w.in.Memory
	switch a.Verb {
	case SyncVolumes:
		m.Volumes = Volumes{Revision: a.Revision}
	case RemoveVolumes:
		m.Volumes = Volumes{Removed: true}
	case CreateSandbox:
		seen.Sandbox = &Sandbox{ID: fmt.Sprintf("pause%d", a.Attempt), Attempt: a.Attempt, State: Created}
	case StartSandbox:
		seen.Sandbox.State, seen.Sandbox.IPs = Running, []string{fmt.Sprintf("10.0.0.%d", seen.Sandbox.Attempt+1)}
		m.Sandbox = Failure{}
	case StopSandbox:
		seen.Sandbox.State, seen.Sandbox.IPs = Exited, nil
	case RemoveSandbox:
		seen.Sandbox = nil
	case PullImage:
		m.Images[a.Container] = Image{Pulled: a.Attempt + 1}
	case CreateContainer:
		delete(m.Containers, a.Container)
		seen.Containers = append(seen.Containers, Container{
			ID: fmt.Sprintf("%s%d", a.Container, a.Attempt), Name: a.Container, Attempt: a.Attempt, SandboxID: a.Spec.SandboxID,
			State: Created, ImageID: "sha256:1", BackOff: a.Spec.BackOff, Created: w.in.Now,
		})
	case StartContainer:
		c := w.byID(a.ID)
		c.State, c.Started = Running, w.in.Now
		if a.Hook != nil {
			m.Hooks[a.ID] = HookPending
		}
	case RunPostStart:
		m.Hooks[a.ID] = HookDone
	case StopContainer:
		c := w.byID(a.ID)
		c.State, c.Finished, c.ExitCode = Exited, w.in.Now, 143
	case RemoveContainer:
		seen.Containers = slices.DeleteFunc(seen.Containers, func(c Container) bool { return c.ID == a.ID })
	}
}

// summary is a status in one line.
func summary(s *corev1.PodStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", s.Phase)
	if s.Reason != "" {
		fmt.Fprintf(&b, "(%s)", s.Reason)
	}
	for _, c := range s.Conditions {
		if c.Status == corev1.ConditionTrue && c.Type != corev1.PodScheduled {
			fmt.Fprintf(&b, " +%s", c.Type)
		}
	}
	for _, c := range slices.Concat(s.InitContainerStatuses, s.ContainerStatuses) {
		fmt.Fprintf(&b, "; %s", c.Name)
		switch {
		case c.State.Running != nil:
			b.WriteString(" running")
		case c.State.Waiting != nil:
			fmt.Fprintf(&b, " waiting %s", c.State.Waiting.Reason)
		case c.State.Terminated != nil:
			fmt.Fprintf(&b, " terminated %s/%d", c.State.Terminated.Reason, c.State.Terminated.ExitCode)
		}
		if t := c.LastTerminationState.Terminated; t != nil {
			fmt.Fprintf(&b, " after %s/%d", t.Reason, t.ExitCode)
		}
		if c.Ready {
			b.WriteString(" ready")
		}
		if c.RestartCount > 0 {
			fmt.Fprintf(&b, " restarts=%d", c.RestartCount)
		}
	}
	return b.String()
}
