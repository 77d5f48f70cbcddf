package agent

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/wakehq/wake/events/nodewire"
)

func phaseIs(phase corev1.PodPhase) func(*corev1.PodStatus) bool {
	return func(s *corev1.PodStatus) bool { return s.Phase == phase }
}

func waitsFor(reason string) func(*corev1.PodStatus) bool {
	return func(s *corev1.PodStatus) bool {
		for _, c := range s.ContainerStatuses {
			if c.State.Waiting != nil && c.State.Waiting.Reason == reason {
				return true
			}
		}
		return false
	}
}

// restarted says that the first container has been restarted at least so many times.
func restarted(times int32) func(*corev1.PodStatus) bool {
	return func(s *corev1.PodStatus) bool {
		return len(s.ContainerStatuses) > 0 && s.ContainerStatuses[0].RestartCount >= times
	}
}

func ptr[T any](v T) *T { return &v }

// once makes a pod that does what args say and isn't restarted.
func (n *node) once(name string, args ...string) *corev1.Pod {
	p := n.pod(name, args...)
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	return p
}

// reported says whether a report of the pod has a note that contains text.
func (n *node) reported(p *corev1.Pod, text string) bool {
	return strings.Contains(strings.Join(n.feed.types(string(p.UID)), "\n"), text)
}

// TestContainers runs pods of every sort on one node, all at once.
func TestContainers(t *testing.T) {
	n := newNode(t)
	for name, test := range map[string]func(t *testing.T, n *node){
		"environment":     testEnvironment,
		"volumes":         testVolumes,
		"security":        testSecurity,
		"exit codes":      testExits,
		"termination":     testTerminationMessage,
		"crash loop":      testCrashLoop,
		"no image":        testNoImage,
		"no command":      testNoCommand,
		"host port":       testHostPort,
		"init containers": testInit,
		"probes":          testProbes,
		"hooks":           testHooks,
		"logs":            testLogs,
		"grace":           testGrace,
		"missing objects": testMissingObjects,
		"host network":    testHostNetwork,
		"node":            testNode,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := *n
			own.t = t
			test(t, &own)
		})
	}
}

func testEnvironment(t *testing.T, n *node) {
	n.feed.putObject(nodewire.ConfigMaps, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}, Data: map[string]string{"MODE": "fast"},
	})
	p := n.once("env", "env=MODE", "env=IP", "env=NAME", "env=CPU", "env=BOTH", "say=$(MODE)-$$(MODE)-$(NOPE)")
	p.Spec.Hostname = "me"
	c := &p.Spec.Containers[0]
	c.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}
	c.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m")}
	field := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	c.Env = []corev1.EnvVar{
		{Name: "IP", ValueFrom: field("status.podIP")}, {Name: "NAME", ValueFrom: field("metadata.name")},
		{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
		{Name: "BOTH", Value: "$(NAME) is $(MODE)"},
	}
	n.feed.put(p)
	s := n.until(p, "its end", phaseIs(corev1.PodSucceeded))
	require.Equal(t, "MODE=fast\nIP="+s.PodIP+"\nNAME=env\nCPU=2\nBOTH=env is fast\nfast-$(MODE)-$(NOPE)\n", n.log(p, corev1.PodLogOptions{}))
	require.Equal(t, corev1.PodQOSBurstable, s.QOSClass)
}

func testVolumes(t *testing.T, n *node) {
	n.feed.putObject(nodewire.Secrets, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "password"}, Data: map[string][]byte{"word": []byte("sesame")},
	})
	p := n.once("volumes", "cat=/secret/word", "write=/scratch/a:b", "cat=/scratch/a", "cat=/sub/b", "cat=/info/name")
	p.Spec.Volumes = []corev1.Volume{
		{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "password"}}},
		{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
		{Name: "info", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}},
		}}}},
	}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
		{Name: "secret", MountPath: "/secret"}, {Name: "scratch", MountPath: "/scratch"}, {Name: "scratch", MountPath: "/sub", SubPath: "deep"},
		{Name: "info", MountPath: "/info"},
	}
	n.feed.put(p)
	n.until(p, "its end", phaseIs(corev1.PodSucceeded))
	log := n.log(p, corev1.PodLogOptions{})
	require.Contains(t, log, "/secret/word: sesame <nil>\n")
	require.Contains(t, log, "/scratch/a: b <nil>\n")
	require.Contains(t, log, "/sub/b:  open /sub/b: no such file or directory\n")
	require.Contains(t, log, "/info/name: volumes <nil>\n")
	n.feed.delete(p)
	n.feed.untilRemoved(t, p)
	require.NoDirExists(t, n.config.Root+"/pods/"+string(p.UID))
}

func testSecurity(t *testing.T, n *node) {
	p := n.once("security", "id", "write=/file:x")
	p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr(int64(1234)), RunAsGroup: ptr(int64(55)), SupplementalGroups: []int64{77}}
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr(true), AllowPrivilegeEscalation: ptr(false)}
	n.feed.put(p)
	n.until(p, "its end", phaseIs(corev1.PodFailed))
	require.ElementsMatch(t, []string{"1234 55 [55 77] <nil>", "open /file: read-only file system"},
		strings.Split(strings.TrimSpace(n.log(p, corev1.PodLogOptions{})), "\n"), "in either order: Docker reads the two streams apart")

	root := n.once("root", "id")
	root.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr(true)}
	n.feed.put(root)
	s := n.until(root, "the refusal", waitsFor("CreateContainerConfigError"))
	require.Contains(t, s.ContainerStatuses[0].State.Waiting.Message, "container has runAsNonRoot and image will run as root")
}

func testExits(t *testing.T, n *node) {
	p := n.once("exits", "exit=3")
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
		Name: "hungry", Image: guestImage, Args: []string{"grow"},
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")}},
	})
	n.feed.put(p)
	s := n.until(p, "its end", phaseIs(corev1.PodFailed))
	first := s.ContainerStatuses[0].State.Terminated
	require.Equal(t, int32(3), first.ExitCode)
	require.Equal(t, "Error", first.Reason)
	require.False(t, first.StartedAt.IsZero())
	require.Equal(t, "OOMKilled", s.ContainerStatuses[1].State.Terminated.Reason)
}

func testTerminationMessage(t *testing.T, n *node) {
	p := n.once("message", "write=/dev/termination-log:goodbye", "exit=1")
	fallback := *p.Spec.Containers[0].DeepCopy()
	fallback.Name, fallback.Args, fallback.TerminationMessagePolicy = "fallback", []string{"say=last words", "exit=1"}, corev1.TerminationMessageFallbackToLogsOnError
	p.Spec.Containers = append(p.Spec.Containers, fallback)
	n.feed.put(p)
	s := n.until(p, "its end", phaseIs(corev1.PodFailed))
	require.Equal(t, "goodbye", s.ContainerStatuses[0].State.Terminated.Message)
	require.Equal(t, "last words\n", s.ContainerStatuses[1].State.Terminated.Message)
}

func testCrashLoop(t *testing.T, n *node) {
	p := n.pod("crash", "say=bang", "exit=1")
	n.feed.put(p)
	s := n.until(p, "the back-off", waitsFor("CrashLoopBackOff"))
	require.Equal(t, corev1.PodRunning, s.Phase)
	require.Equal(t, int32(1), s.ContainerStatuses[0].RestartCount)
	require.Equal(t, int32(1), s.ContainerStatuses[0].LastTerminationState.Terminated.ExitCode)
	require.Contains(t, s.ContainerStatuses[0].State.Waiting.Message, "back-off 10s restarting failed container=main pod=crash_default")
	require.Equal(t, "bang\n", n.log(p, corev1.PodLogOptions{Previous: true}))
	n.feed.delete(p)
	n.feed.untilRemoved(t, p)
}

func testNoImage(t *testing.T, n *node) {
	never := n.pod("never")
	never.Spec.Containers[0].Image, never.Spec.Containers[0].ImagePullPolicy = "wake.test/nosuch:1", corev1.PullNever
	n.feed.put(never)
	bad := n.pod("bad")
	bad.Spec.Containers[0].Image = "Not A Name"
	n.feed.put(bad)
	pull := n.pod("pull")
	pull.Spec.Containers[0].Image = "127.0.0.1:1/nosuch:1" // nobody listens there
	n.feed.put(pull)
	n.until(never, "the refusal", waitsFor("ErrImageNeverPull"))
	n.until(bad, "the refusal", waitsFor("InvalidImageName"))
	n.until(pull, "the failure", func(*corev1.PodStatus) bool { return n.reported(pull, "Error: ErrImagePull") }) // it is shown for a moment only
	n.until(pull, "the back-off", waitsFor("ImagePullBackOff"))
	require.True(t, n.reported(pull, "Failed to pull image"))
}

func testNoCommand(t *testing.T, n *node) {
	p := n.once("nocommand")
	p.Spec.Containers[0].Command = []string{"/nosuch"}
	n.feed.put(p)
	s := n.until(p, "its end", phaseIs(corev1.PodFailed))
	end := s.ContainerStatuses[0].State.Terminated
	require.Equal(t, "StartError", end.Reason)
	require.Equal(t, int32(128), end.ExitCode)
	require.Contains(t, end.Message, "/nosuch")
}

func testHostPort(t *testing.T, n *node) {
	taken, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(t, err)
	port := taken.Addr().(*net.TCPAddr).Port
	p := n.pod("hostport", "serve=:8080", "forever")
	p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080, HostPort: int32(port)}}
	n.feed.put(p)
	s := n.until(p, "the refusal", func(s *corev1.PodStatus) bool {
		for _, c := range s.Conditions {
			if c.Type == corev1.PodReadyToStartContainers && c.Reason != "" {
				return n.reported(p, "address already in use")
			}
		}
		return false
	})
	require.Equal(t, corev1.PodPending, s.Phase)
	require.NoError(t, taken.Close())
	n.until(p, "readiness once the port is free", isReady)
	eventually(t, "it listens, which without a probe it does after it is ready", func() bool {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		return err == nil && conn.Close() == nil
	})
}

func testInit(t *testing.T, n *node) {
	p := n.once("init", "await=/work/beside", "cat=/work/made")
	p.Spec.Volumes = []corev1.Volume{{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	mount := []corev1.VolumeMount{{Name: "work", MountPath: "/work"}}
	p.Spec.Containers[0].VolumeMounts = mount
	p.Spec.InitContainers = []corev1.Container{
		{Name: "make", Image: guestImage, Args: []string{"write=/work/made:it"}, VolumeMounts: mount},
		{Name: "beside", Image: guestImage, Args: []string{"write=/work/beside:1", "forever"}, VolumeMounts: mount, RestartPolicy: ptr(corev1.ContainerRestartPolicyAlways)},
	}
	n.feed.put(p)
	s := n.until(p, "its end", phaseIs(corev1.PodSucceeded))
	require.Equal(t, "/work/made: it <nil>\n", n.log(p, corev1.PodLogOptions{}))
	require.Equal(t, "Completed", s.InitContainerStatuses[0].State.Terminated.Reason)
	require.Equal(t, "terminated\n", n.log(p, corev1.PodLogOptions{Container: "beside"}))
}

func testProbes(t *testing.T, n *node) {
	get := func(path string) corev1.Probe {
		return corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("http")}},
			PeriodSeconds: 1, FailureThreshold: 1, TimeoutSeconds: 30,
		}
	}
	p := n.pod("probes", "serve=:8080", "write=/alive:1", "await=/work/go", "write=/ready:1", "forever")
	p.Spec.Volumes = []corev1.Volume{{Name: "work", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: t.TempDir()}}}}
	c := &p.Spec.Containers[0]
	c.VolumeMounts = []corev1.VolumeMount{{Name: "work", MountPath: "/work"}}
	c.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	c.ReadinessProbe, c.LivenessProbe = ptr(get("/ready")), ptr(get("/alive"))
	c.LivenessProbe.FailureThreshold = 2
	n.feed.put(p)
	n.until(p, "start", func(s *corev1.PodStatus) bool {
		return s.Phase == corev1.PodRunning && !isReady(s) && n.reported(p, "Readiness probe failed")
	})
	require.NoError(t, os.WriteFile(p.Spec.Volumes[0].HostPath.Path+"/go", nil, 0o644))
	n.until(p, "readiness", isReady)

	dead := n.pod("dead", "forever")
	dead.Spec.Containers[0].LivenessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/guest", "say=sick", "exit=1"}}},
		PeriodSeconds: 1, FailureThreshold: 1, TimeoutSeconds: 30,
	}
	n.feed.put(dead)
	n.until(dead, "the restart", restarted(1))
	require.True(t, n.reported(dead, "Unhealthy/Liveness probe failed: sick"), n.feed.types(string(dead.UID)))
	require.True(t, n.reported(dead, "Container main failed liveness probe, will be restarted"))
}

func testHooks(t *testing.T, n *node) {
	p := n.pod("hooks", "forever")
	p.Spec.TerminationGracePeriodSeconds = ptr(int64(60)) // of which the hook takes a part
	p.Spec.Volumes = []corev1.Volume{{Name: "work", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{
		Path: t.TempDir(), Type: ptr(corev1.HostPathDirectory),
	}}}}
	c := &p.Spec.Containers[0]
	c.VolumeMounts = []corev1.VolumeMount{{Name: "work", MountPath: "/work"}}
	hook := func(file string) *corev1.LifecycleHandler {
		return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/guest", "write=/work/" + file + ":1"}}}
	}
	c.Lifecycle = &corev1.Lifecycle{PostStart: hook("started"), PreStop: hook("stopping")}
	n.feed.put(p)
	n.until(p, "readiness", isReady)
	dir := p.Spec.Volumes[0].HostPath.Path
	require.FileExists(t, dir+"/started")
	require.NoFileExists(t, dir+"/stopping")
	n.feed.delete(p)
	n.feed.untilRemoved(t, p)
	require.FileExists(t, dir+"/stopping")
}

func testLogs(t *testing.T, n *node) {
	p := n.once("logs", "say=one", "say=two", "await=/work/go", "say=three")
	p.Spec.Volumes = []corev1.Volume{{Name: "work", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: t.TempDir()}}}}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "work", MountPath: "/work"}}
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "streams", Image: guestImage, Args: []string{"say=fine", "warn=oops"}})
	n.feed.put(p)
	n.until(p, "its start", phaseIs(corev1.PodRunning))
	followed, log := io.Pipe()
	defer func() { _ = followed.Close() }()
	go func() {
		options := corev1.PodLogOptions{Container: "main", Follow: true}
		_ = log.CloseWithError(n.feed.logs(t.Context(), nodewire.LogRequest{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Options: options}, log))
	}()
	begun := make([]byte, len("one\ntwo\n"))
	_, err := io.ReadFull(followed, begun)
	require.NoError(t, err)
	require.Equal(t, "one\ntwo\n", string(begun))
	require.NoError(t, os.WriteFile(p.Spec.Volumes[0].HostPath.Path+"/go", nil, 0o644))
	rest, err := io.ReadAll(followed)
	require.NoError(t, err)
	require.Equal(t, "three\n", string(rest))
	n.until(p, "its end", phaseIs(corev1.PodSucceeded))
	require.Equal(t, "three\n", n.log(p, corev1.PodLogOptions{TailLines: ptr(int64(1))}))
	require.Equal(t, "one\nt", n.log(p, corev1.PodLogOptions{LimitBytes: ptr(int64(5))}))
	require.Equal(t, "oops\n", n.log(p, corev1.PodLogOptions{Container: "streams", Stream: ptr(corev1.LogStreamStderr)}))
	require.ElementsMatch(t, []string{"fine", "oops"}, strings.Fields(n.log(p, corev1.PodLogOptions{Container: "streams"})), "in either order: Docker reads the two streams apart")
	stamped := strings.Fields(n.log(p, corev1.PodLogOptions{Timestamps: true, TailLines: ptr(int64(1))}))
	_, err = time.Parse(time.RFC3339Nano, stamped[0])
	require.NoError(t, err)
}

func testGrace(t *testing.T, n *node) {
	p := n.pod("stubborn", "ignore", "say=here", "sleep=1h")
	p.Spec.TerminationGracePeriodSeconds = ptr(int64(1))
	n.feed.put(p)
	n.until(p, "readiness", isReady)
	eventually(t, "it ignores the request to end", func() bool { return n.log(p, corev1.PodLogOptions{}) != "" })
	begun := time.Now()
	n.feed.delete(p)
	n.feed.untilRemoved(t, p)
	require.GreaterOrEqual(t, time.Since(begun), time.Second)
	require.Less(t, time.Since(begun), 30*time.Second)
}

func testMissingObjects(t *testing.T, n *node) {
	p := n.once("missing", "env=WORD", "cat=/files/a")
	p.Spec.Volumes = []corev1.Volume{{Name: "files", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "late-files"},
	}}}}
	c := &p.Spec.Containers[0]
	c.VolumeMounts = []corev1.VolumeMount{{Name: "files", MountPath: "/files"}}
	c.Env = []corev1.EnvVar{{Name: "WORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: "late"}, Key: "word",
	}}}}
	n.feed.put(p)
	n.until(p, "the failed mount", func(*corev1.PodStatus) bool { return n.reported(p, `FailedMount`) })
	n.feed.putObject(nodewire.ConfigMaps, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "late-files"}, Data: map[string]string{"a": "1"},
	})
	s := n.until(p, "the missing secret", waitsFor("CreateContainerConfigError"))
	require.Equal(t, `secret "late" not found`, s.ContainerStatuses[0].State.Waiting.Message)
	n.feed.putObject(nodewire.Secrets, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "late"}, Data: map[string][]byte{"word": []byte("now")},
	})
	n.until(p, "its end", phaseIs(corev1.PodSucceeded))
	require.Equal(t, "WORD=now\n/files/a: 1 <nil>\n", n.log(p, corev1.PodLogOptions{}))
}

func testHostNetwork(t *testing.T, n *node) {
	p := n.pod("hostnet", "forever")
	p.Spec.HostNetwork = true
	n.feed.put(p)
	s := n.until(p, "readiness", isReady)
	require.Equal(t, s.HostIP, s.PodIP)
}

func testNode(t *testing.T, n *node) {
	var report nodewire.NodeReport
	eventually(t, "the node reports itself ready", func() bool {
		n.feed.mu.Lock()
		defer n.feed.mu.Unlock()
		if len(n.feed.nodes) > 0 {
			report = n.feed.nodes[len(n.feed.nodes)-1]
		}
		last := len(report.Status.Conditions) - 1
		return last >= 0 && report.Status.Conditions[last].Status == corev1.ConditionTrue
	})
	require.Equal(t, "n1", report.Labels[corev1.LabelHostname])
	require.NotEmpty(t, report.Labels[corev1.LabelArchStable])
	require.Positive(t, report.Status.Allocatable.Cpu().Value())
	require.Positive(t, report.Status.Allocatable.Memory().Value())
	require.Equal(t, int64(110), report.Status.Allocatable.Pods().Value())
	ready := report.Status.Conditions[len(report.Status.Conditions)-1]
	require.Equal(t, corev1.NodeReady, ready.Type)
	require.Equal(t, corev1.ConditionTrue, ready.Status)
	require.Contains(t, report.Status.NodeInfo.ContainerRuntimeVersion, "docker://")
}
