package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wakehq/wake/gateway/ledgerapi"
	"github.com/wakehq/wake/services/verify"
)

const (
	kills         = 12
	longestLife   = 5 * time.Second
	namesPerKind  = 6
	enoughChanges = 500
)

// verified is what "wake verify -o json" says.
type verified struct {
	Proofs       []ledgerapi.Proof
	Unproven     string
	Decisions    *verify.Report
	Undecided    string
	LiveRevision uint64
	LiveHash     string
}

// tryVerify runs wake verify, and returns its error as it would end a script.
func (c *cluster) tryVerify(args ...string) (v verified, err error) {
	c.t.Helper()
	out, err := c.run("", "wake", append([]string{"verify", "-o", "json"}, args...)...)
	if decodeErr := json.NewDecoder(strings.NewReader(out)).Decode(&v); decodeErr != nil {
		return v, errors.Join(err, fmt.Errorf("its output is no JSON: %w: %s", decodeErr, out))
	}
	return v, err
}

// verifyClean runs wake verify, which must find the record whole and nothing that is decided otherwise.
func (c *cluster) verifyClean(args ...string) verified {
	c.t.Helper()
	v, err := c.tryVerify(args...)
	require.NoError(c.t, err, "%s", c.verifyForPeople(args...))
	require.NotNil(c.t, v.Decisions)
	require.Zero(c.t, v.Decisions.Diverged)
	require.Empty(c.t, v.Decisions.NotVerified)
	require.Zero(c.t, v.Decisions.SetAside)
	require.NotEmpty(c.t, v.Proofs, v.Unproven)
	for _, p := range v.Proofs {
		require.Empty(c.t, p.Findings)
	}
	return v
}

// verifyForPeople is what a person is told.
func (c *cluster) verifyForPeople(args ...string) string {
	out, _ := c.run("", "wake", append([]string{"verify"}, args...)...)
	return out
}

// client is a client-go client of the cluster.
func (c *cluster) client() kubernetes.Interface {
	c.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.dir, "kubeconfig"))
	require.NoError(c.t, err)
	config.QPS, config.Burst = 1000, 1000
	client, err := kubernetes.NewForConfig(config)
	require.NoError(c.t, err)
	return client
}

// churn is a user who does random things, and doesn't mind when the cluster is away.
type churn struct {
	kubernetes.Interface
	random *rand.Rand
	done   map[string]int // of what succeeded
}

func (u *churn) name(kind string) string {
	return fmt.Sprintf("%s%d", kind, u.random.IntN(namesPerKind))
}

func (u *churn) pods(labels map[string]string) corev1.PodTemplateSpec {
	milli := int64(50 * (1 + u.random.IntN(6)))
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways,
		Containers: []corev1.Container{{Name: "main", Image: fmt.Sprintf("example.com/app:%d", u.random.IntN(100)),
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(milli, resource.DecimalSI)}}}}}}
}

// work does things until ctx ends.
func (u *churn) work(ctx context.Context) {
	steps := []struct {
		what string
		do   func(context.Context) error
	}{{"deploy", u.deploy}, {"scale", u.scale}, {"scale", u.scale}, {"update", u.update}, {"undeploy", u.undeploy}, {"run a job", u.runJob}, {"finish pods", u.finish},
		{"finish pods", u.finish}, {"remove a job", u.removeJob}, {"expose", u.expose}, {"hide", u.hide}, {"delete a pod", u.deletePod}, {"cordon", u.cordon}}
	for ctx.Err() == nil {
		step := steps[u.random.IntN(len(steps))]
		if step.do(ctx) == nil {
			u.done[step.what]++
		}
		time.Sleep(time.Duration(u.random.IntN(60)) * time.Millisecond) // as a user does; nothing is waited for
	}
}

func (u *churn) deploy(ctx context.Context) error {
	name, replicas := u.name("web"), int32(u.random.IntN(5))
	labels := map[string]string{"app": name}
	_, err := u.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: u.pods(labels)}}, metav1.CreateOptions{})
	return err
}

func (u *churn) scale(ctx context.Context) error {
	name := u.name("web")
	s, err := u.AppsV1().Deployments("default").GetScale(ctx, name, metav1.GetOptions{})
	if err == nil {
		s.Spec.Replicas = int32(u.random.IntN(8))
		_, err = u.AppsV1().Deployments("default").UpdateScale(ctx, name, s, metav1.UpdateOptions{})
	}
	return err
}

func (u *churn) update(ctx context.Context) error {
	d, err := u.AppsV1().Deployments("default").Get(ctx, u.name("web"), metav1.GetOptions{})
	if err == nil {
		d.Spec.Template = u.pods(d.Spec.Template.Labels)
		_, err = u.AppsV1().Deployments("default").Update(ctx, d, metav1.UpdateOptions{})
	}
	return err
}

func (u *churn) propagation() metav1.DeleteOptions {
	policies := []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan}
	return metav1.DeleteOptions{PropagationPolicy: &policies[u.random.IntN(len(policies))]}
}

func (u *churn) undeploy(ctx context.Context) error {
	return u.AppsV1().Deployments("default").Delete(ctx, u.name("web"), u.propagation())
}

func (u *churn) runJob(ctx context.Context) error {
	parallel, completions := int32(1+u.random.IntN(3)), int32(1+u.random.IntN(5))
	pods := u.pods(nil)
	pods.Spec.RestartPolicy = corev1.RestartPolicyNever
	_, err := u.BatchV1().Jobs("default").Create(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: u.name("job")},
		Spec: batchv1.JobSpec{Parallelism: &parallel, Completions: &completions, Template: pods}}, metav1.CreateOptions{})
	return err
}

// finish lets the containers of a Job's pods exit, now and then with an error.
func (u *churn) finish(ctx context.Context) error {
	list, err := u.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "job-name=" + u.name("job")})
	if err != nil {
		return err
	}
	for i := range list.Items {
		pod := &list.Items[i]
		if pod.Status.Phase != corev1.PodRunning {
			continue
		}
		pod.Status.Phase = corev1.PodSucceeded
		if u.random.IntN(4) == 0 {
			pod.Status.Phase = corev1.PodFailed
		}
		if _, err = u.CoreV1().Pods("default").UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func (u *churn) removeJob(ctx context.Context) error {
	return u.BatchV1().Jobs("default").Delete(ctx, u.name("job"), u.propagation())
}

func (u *churn) expose(ctx context.Context) error {
	kinds := []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort}
	_, err := u.CoreV1().Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: u.name("front")},
		Spec: corev1.ServiceSpec{Type: kinds[u.random.IntN(len(kinds))], Selector: map[string]string{"app": u.name("web")}, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	return err
}

func (u *churn) hide(ctx context.Context) error {
	return u.CoreV1().Services("default").Delete(ctx, u.name("front"), metav1.DeleteOptions{})
}

func (u *churn) deletePod(ctx context.Context) error {
	list, err := u.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) == 0 {
		return errors.Join(err, errors.New("there is none"))
	}
	return u.CoreV1().Pods("default").Delete(ctx, list.Items[u.random.IntN(len(list.Items))].Name, metav1.DeleteOptions{})
}

func (u *churn) cordon(ctx context.Context) error {
	node, err := u.CoreV1().Nodes().Get(ctx, fmt.Sprintf("s%d", 1+u.random.IntN(3)), metav1.GetOptions{})
	if err == nil {
		node.Spec.Unschedulable = u.random.IntN(3) == 0
		_, err = u.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{})
	}
	return err
}

// A cluster that lives through a dozen power cuts in the middle of everything is verified afterwards: nothing was lost or altered, every decision comes out as
// it was recorded, and history comes to what the cluster takes for its state, live, stopped, exported and replayed.
func TestVerifyIsCleanAfterKills(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("WAKE_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("WAKE_SEED=%d", seed)
	c := startIn(t, filepath.Join(t.TempDir(), "wake"), "--no-agent")
	for _, name := range []string{"s1", "s2", "s3"} {
		c.simulateNode(name)
	}
	user := &churn{Interface: c.client(), random: rand.New(rand.NewPCG(seed, 1)), done: map[string]int{}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); user.work(ctx) }()
	killer := rand.New(rand.NewPCG(seed, 2))
	for range kills {
		time.Sleep(time.Duration(killer.Int64N(int64(longestLife))))
		c.kill()
		c.begin()
	}
	stop()
	<-ended
	t.Logf("the user did %v", user.done)
	require.Greater(t, user.done["deploy"], 3)

	live := c.verifyClean()
	t.Logf("the running cluster:\n%s", c.verifyForPeople())
	require.Greater(t, live.Decisions.Events, enoughChanges)
	require.Greater(t, live.Decisions.Decisions(), enoughChanges)
	require.EqualValues(t, live.LiveRevision, live.Decisions.Revision)
	require.Equal(t, live.LiveHash, live.Decisions.Hash)
	c.stop()
	stopped := c.verifyClean()
	require.GreaterOrEqual(t, stopped.Decisions.Revision, live.Decisions.Revision)
	require.Empty(t, stopped.LiveHash, "a stopped cluster has no live view")
	require.EqualValues(t, stopped.Decisions.Revision, stopped.Proofs[0].Proven, "a clean stop signs")

	file := filepath.Join(t.TempDir(), "all.wake")
	c.wake("export", "-o", file)
	exported := c.verifyClean("--file", file)
	require.Equal(t, stopped.Decisions.Hash, exported.Decisions.Hash)
	hashes := c.replayHashes(file)
	require.Equal(t, hashes, c.replayHashes(file))
	require.Len(t, hashes, exported.Decisions.Events, "one hash per revision")
	require.Equal(t, exported.Decisions.Hash, hashes[exported.Decisions.Revision])
	require.Equal(t, live.LiveHash, hashes[live.LiveRevision])

	c.otherScheduler()
}

// replayHashes replays an export and returns the state's hash at each revision.
func (c *cluster) replayHashes(file string) map[uint64]string {
	c.t.Helper()
	name := filepath.Join(c.t.TempDir(), "hashes")
	c.wake("replay", file, "--hashes", name)
	f, err := os.Open(name)
	require.NoError(c.t, err)
	defer func() { _ = f.Close() }()
	hashes := map[uint64]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		revision, hash, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseUint(revision, 10, 64)
		require.NoError(c.t, err)
		hashes[n] = hash
	}
	return hashes
}

// packing is a scheduler that fills nodes up where Wake's spreads pods over them.
const packing = `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
  - schedulerName: default-scheduler
    pluginConfig:
      - name: NodeResourcesFit
        args:
          scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}, {name: memory, weight: 1}]}
`

// otherScheduler asks what another scheduler would have done: the first pod that it would have placed elsewhere is named.
func (c *cluster) otherScheduler() {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "packing.yaml")
	require.NoError(c.t, os.WriteFile(file, []byte(packing), 0o600))
	v, err := c.tryVerify("--only", "decisions", "--scheduler-config", file)
	require.ErrorContains(c.t, err, "of what was recorded")
	require.NotZero(c.t, v.Decisions.Moved)
	first := v.Decisions.FirstMoved
	require.NotNil(c.t, first)
	require.Equal(c.t, []string{"scheduler", "PodBound", "assigned.node"}, []string{first.Service, first.Recorded.Type, first.Fields[0].Path})
	require.NotEqual(c.t, first.Fields[0].Recorded, first.Fields[0].Now)
	for _, s := range v.Decisions.Services {
		require.Equal(c.t, s.Name == "scheduler", s.Diverged > 0, "%+v", s)
	}
	people := c.verifyForPeople("--only", "decisions", "--scheduler-config", file)
	c.t.Logf("another scheduler:\n%s", people)
	require.Contains(c.t, people, fmt.Sprintf("placed on another node, the first at revision %d: %s, %s", first.Revision, first.Recorded.Object, first.Fields[0]))
}
