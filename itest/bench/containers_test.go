package bench

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

const (
	podsToRun = 30
	// startsAtOnce is how many containers a node's agent starts at a time.
	startsAtOnce = 8
	pauseImage   = "wake/pause:1"
	appImage     = "wake.dev/demo:1"
)

// BenchmarkContainers scales a Deployment of one-container pods from none to 30 on this machine's Docker Engine, until a client's watch has shown all
// of them ready, and tells how that compares with "docker run -d" of the same 60 containers, as many at a time, just before and just after.
func BenchmarkContainers(b *testing.B) {
	out, err := exec.Command("../../deploy/demo/build.sh").CombinedOutput()
	require.NoError(b, err, string(out))
	p := newProcess(b, "--node-name", "bench")
	p.start()
	b.Cleanup(p.purge)
	client := p.client()
	p.until("the node is ready", func() bool {
		node, err := client.CoreV1().Nodes().Get(b.Context(), "bench", metav1.GetOptions{})
		return err == nil && slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
	})
	var own, raw time.Duration
	for b.Loop() {
		before := runRaw(b)
		took := p.runPods(client)
		after := runRaw(b)
		own += took
		raw += (before + after) / 2
	}
	b.ReportMetric(raw.Seconds()/float64(b.N), "raw-s")
	b.ReportMetric(own.Seconds()/float64(b.N), "s")
	b.ReportMetric(own.Seconds()/raw.Seconds(), "of-raw")
	b.ReportMetric(0, "ns/op")
}

// runPods returns how long the pods took, and removes them.
func (p *process) runPods(client kubernetes.Interface) time.Duration {
	d := createDeployment(p.b, client)
	defer deleteDeployment(p, client, d)
	done := watchPods(p.b, client, podsToRun, "", isReady)
	began := time.Now()
	_, err := client.AppsV1().Deployments(d.Namespace).Patch(p.b.Context(), d.Name, types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, podsToRun),
		metav1.PatchOptions{}, "scale")
	require.NoError(p.b, err)
	require.Equal(p.b, podsToRun, <-done)
	return time.Since(began)
}

// runRaw runs what those pods come to by hand, and returns how long it took.
func runRaw(b *testing.B) time.Duration {
	type container struct{ name, image string }
	containers := make(chan container, 2*podsToRun)
	var all []string
	for i := range 2 * podsToRun {
		all = append(all, fmt.Sprintf("wake-bench-%d-%d", time.Now().UnixNano(), i))
		containers <- container{all[i], []string{pauseImage, appImage}[i%2]}
	}
	close(containers)
	began := time.Now()
	var group sync.WaitGroup
	for range startsAtOnce {
		group.Go(func() {
			for c := range containers {
				if out, err := exec.CommandContext(b.Context(), "docker", "run", "-d", "--name", c.name, c.image).CombinedOutput(); err != nil {
					b.Errorf("docker run: %v: %s", err, out)
				}
			}
		})
	}
	group.Wait()
	took := time.Since(began)
	out, err := exec.CommandContext(context.WithoutCancel(b.Context()), "docker", append([]string{"rm", "-f"}, all...)...).CombinedOutput()
	require.NoError(b, err, string(out))
	return took
}

// purge stops the cluster and removes its containers.
func (p *process) purge() {
	p.stop()
	out, err := exec.Command(program(p.b), "down", "--purge", "--data-dir", filepath.Clean(p.dir)).CombinedOutput()
	require.NoError(p.b, err, string(out))
}
