package agent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/wakehq/wake/events/nodewire"
)

// These tests run pods on the machine's Docker Engine. They don't skip: a node agent that isn't tested on Docker isn't tested.

const guestImage = "wake.test/guest:1"

func TestMain(m *testing.M) {
	if err := buildGuest(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// buildGuest builds the test image from scratch, without a registry.
func buildGuest() error {
	if out, err := exec.Command("docker", "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		return fmt.Errorf("these tests need a running Docker Engine (start dockerd as root): %w: %s", err, out)
	}
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "guest"), "./testdata/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the guest: %w: %s", err, out)
	}
	layer := exec.Command("sh", "-c", `mkdir tmp && chmod 1777 tmp && tar -c guest tmp | docker import --change 'ENTRYPOINT ["/guest"]' - `+guestImage)
	layer.Dir = dir
	if out, err := layer.CombinedOutput(); err != nil {
		return fmt.Errorf("importing the guest: %w: %s", err, out)
	}
	return nil
}

// patience bounds every wait for what happens sooner or later: Docker may be busy with others.
const patience = 2 * time.Minute

// eventually waits in the test's own goroutine, so that what it asks may fail the test.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for begun := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		require.Less(t, time.Since(begun), patience, what)
	}
}

// node is an agent under test with the cluster that it believes in.
type node struct {
	t      *testing.T
	feed   *fakeFeed
	config Config
	stop   func()
	uids   int
}

// newNode starts an agent, and removes all that it leaves behind when the test ends.
func newNode(t *testing.T, settings ...func(*Config)) *node {
	t.Helper()
	cluster := fmt.Sprintf("t%d", time.Now().UnixNano())
	n := &node{t: t, feed: newFakeFeed("n1"), config: Config{NodeName: "n1", Cluster: cluster, Root: t.TempDir()}}
	n.config.Feed = n.feed
	for _, set := range settings {
		set(&n.config)
	}
	if testing.Verbose() {
		n.config.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	t.Cleanup(func() {
		n.stop()
		_, err := Purge(context.Background(), n.config)
		require.NoError(t, err)
	})
	n.start()
	return n
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	require.NoError(t, err, "docker %v: %s", args, out)
	return string(out)
}

// start starts the agent; the cluster is where it was.
func (n *node) start() {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a, err := New(ctx, n.config)
	require.NoError(n.t, err)
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	n.stop = func() {
		cancel()
		require.NoError(n.t, <-done)
		n.stop = func() {}
	}
}

// pod makes a pod of one container that does what args say.
func (n *node) pod(name string, args ...string) *corev1.Pod {
	n.uids++
	grace := int64(5)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(fmt.Sprintf("%s-%d", name, n.uids)), Generation: 1},
		Spec: corev1.PodSpec{
			NodeName: "n1", RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{Name: "main", Image: guestImage, Args: args, ImagePullPolicy: corev1.PullIfNotPresent}},
		},
	}
}

// until waits until the pod's reported status is as wanted.
func (n *node) until(p *corev1.Pod, what string, is func(*corev1.PodStatus) bool) *corev1.PodStatus {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := n.feed.until(ctx, string(p.UID), is)
	require.NoError(n.t, err, "waiting for %s of pod %s; last status %+v\nfacts %v", what, p.Name, s, n.feed.types(string(p.UID)))
	return s
}

func isReady(s *corev1.PodStatus) bool {
	for _, c := range s.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (n *node) log(p *corev1.Pod, options corev1.PodLogOptions) string {
	n.t.Helper()
	if options.Container == "" {
		options.Container = "main"
	}
	var out bytes.Buffer
	err := n.feed.logs(n.t.Context(), nodewire.LogRequest{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Options: options}, &out)
	require.NoError(n.t, err)
	return out.String()
}

func TestPodRuns(t *testing.T) {
	n := newNode(t)
	p := n.pod("web", "say=hello", "serve=:8080", "forever")
	begun := time.Now()
	n.feed.put(p)
	s := n.until(p, "readiness", isReady)
	t.Logf("ready after %s; facts %v", time.Since(begun), n.feed.types(string(p.UID)))
	require.Equal(t, corev1.PodRunning, s.Phase)
	require.NotEmpty(t, s.PodIP)
	eventually(t, "Docker writes logs down a moment later", func() bool { return n.log(p, corev1.PodLogOptions{}) == "hello\n" })
	n.feed.delete(p)
	begun = time.Now()
	n.feed.untilRemoved(t, p)
	t.Logf("removed after %s; facts %v", time.Since(begun), n.feed.types(string(p.UID)))
	require.Empty(t, docker(t, "ps", "-aq", "--filter", "label=io.wake.pod.uid="+string(p.UID)))
}

// containers are a pod's containers and when each was started.
func (n *node) containers(p *corev1.Pod) string {
	ids := strings.Fields(docker(n.t, "ps", "-aq", "--no-trunc", "--filter", "label=io.wake.pod.uid="+string(p.UID)))
	return docker(n.t, append([]string{"inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.State.Status}}"}, ids...)...)
}

func TestAgentRestartKeepsContainers(t *testing.T) {
	n := newNode(t)
	p := n.pod("stays", "serve=:8080", "write=/ok:1", "forever")
	p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ok", Port: intstr.FromInt32(8080)}}, PeriodSeconds: 1,
		TimeoutSeconds: 30, // a failure would be told
	}
	n.feed.put(p)
	orphan := n.pod("orphan", "forever")
	n.feed.put(orphan)
	require.True(t, strings.HasPrefix(n.until(p, "readiness", isReady).PodIP, "100."))
	n.until(orphan, "readiness", isReady)
	before := n.containers(p)
	said := len(n.feed.types(string(p.UID)))

	n.stop()
	n.feed.forget(orphan)
	later := n.pod("later", "forever")
	n.feed.put(later)
	n.start()
	n.until(later, "readiness", isReady)
	require.Equal(t, before, n.containers(p), "the agent's restart must not touch a container")
	require.Len(t, n.feed.types(string(p.UID)), said, "nothing has happened to the pod: %v", n.feed.types(string(p.UID))[said:])
	eventually(t, "a pod that the cluster has forgotten must go", func() bool {
		return docker(t, "ps", "-aq", "--filter", "label=io.wake.pod.uid="+string(orphan.UID)) == ""
	})
}

func TestClusterAway(t *testing.T) {
	n := newNode(t)
	p := n.pod("works-on", "sleep=1500ms", "exit=1")
	n.feed.put(p)
	n.until(p, "readiness", isReady)
	n.feed.setAway(true)
	eventually(t, "it exits", func() bool {
		return docker(t, "ps", "-aq", "--filter", "label=io.wake.pod.uid="+string(p.UID), "--filter", "status=exited") != ""
	})
	n.feed.setAway(false)
	n.until(p, "the restart that happened meanwhile", restarted(1))
	require.True(t, n.reported(p, "ContainerExited"))
}

func TestContainerKilledFromOutside(t *testing.T) {
	n := newNode(t)
	p := n.pod("victim", "forever")
	n.feed.put(p)
	s := n.until(p, "readiness", isReady)
	id := strings.TrimPrefix(s.ContainerStatuses[0].ContainerID, "docker://")
	docker(t, "rm", "-f", id)
	s = n.until(p, "the replacement", func(s *corev1.PodStatus) bool { return isReady(s) && s.ContainerStatuses[0].RestartCount == 1 })
	pause := strings.Fields(docker(t, "ps", "-q", "--filter", "label=io.wake.pod.uid="+string(p.UID), "--filter", "ancestor=wake/pause:1"))
	require.Len(t, pause, 1)
	docker(t, "kill", pause[0])
	n.until(p, "the new sandbox", func(now *corev1.PodStatus) bool { return isReady(now) && now.ContainerStatuses[0].RestartCount == 2 })
	require.NotEmpty(t, s.PodIP)
}
