package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	patience     = 2 * time.Minute
	pollEvery    = 5 * time.Millisecond
	parallelism  = 16 // requests that a benchmark has under way while it prepares
	podsPerNode  = "110"
	nodesAtStart = 5_000
)

// process is a "wake up" of the benchmark's own.
type process struct {
	b      *testing.B
	dir    string
	listen string
	args   []string
	up     *exec.Cmd
	log    string
}

// program is the wake to measure: bin/wake, or what the environment's WAKE names, to compare two builds.
func program(b *testing.B) string {
	path, err := filepath.Abs(cmp.Or(os.Getenv("WAKE"), "../../bin/wake"))
	require.NoError(b, err)
	_, err = os.Stat(path)
	require.NoError(b, err, "run the benchmarks with: go tool task bench")
	return path
}

// newProcess prepares a cluster in a directory of its own; args are those of "wake up".
func newProcess(b *testing.B, args ...string) *process {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	listen := free.Addr().String()
	require.NoError(b, free.Close())
	dir, err := os.MkdirTemp("", "wake-bench-")
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, errors.Join(os.RemoveAll(dir), os.RemoveAll(dir+".trust"))) })
	return &process{b: b, dir: dir, listen: listen, args: args, log: filepath.Join(dir, "up.log")}
}

// start runs "wake up" and returns how long it took until /readyz said yes.
func (p *process) start() time.Duration {
	log, err := os.Create(p.log)
	require.NoError(p.b, err)
	p.up = exec.Command(program(p.b), append([]string{"up", "--data-dir", p.dir, "--listen", p.listen}, p.args...)...)
	p.up.Stdout, p.up.Stderr = log, log
	began := time.Now()
	require.NoError(p.b, p.up.Start())
	require.NoError(p.b, log.Close())
	p.until("the API is ready", p.ready)
	return time.Since(began)
}

func (p *process) ready() bool {
	config, err := p.config()
	if err != nil {
		return false
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return false
	}
	defer client.CloseIdleConnections()
	answer, err := client.Get(config.Host + "/readyz")
	if err != nil {
		return false
	}
	_ = answer.Body.Close() // the status says it all
	return answer.StatusCode == http.StatusOK
}

// stop ends the process cleanly; its directory stays until the benchmark ends.
func (p *process) stop() {
	require.NoError(p.b, p.up.Process.Signal(os.Interrupt))
	require.NoError(p.b, p.up.Wait())
}

func (p *process) config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(p.dir, "kubeconfig"))
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = -1, -1 // client-go's own limits would be measured
	return config, nil
}

// client speaks protobuf, as kubelets and controllers do.
func (p *process) client() *kubernetes.Clientset {
	config, err := p.config()
	require.NoError(p.b, err)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	require.NoError(p.b, err)
	return client
}

func (p *process) until(what string, holds func() bool) {
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(p.log)
			require.FailNow(p.b, "waited in vain", "for %s until %s; wake up said:\n%s", patience, what, said)
		}
	}
}

// memory is what the kernel calls field (VmRSS, VmHWM) of the process, in MiB.
func (p *process) memory(field string) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.up.Process.Pid))
	require.NoError(p.b, err)
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			require.NoError(p.b, err)
			return kib / 1024
		}
	}
	require.FailNow(p.b, "the kernel does not tell "+field)
	return 0
}

// processorTime is what the process has used so far.
func (p *process) processorTime() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.up.Process.Pid))
	require.NoError(p.b, err)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))
	ticks := 0
	for _, field := range fields[12:14] { // user and system time, in 1/100 s (proc(5))
		n, err := strconv.Atoi(field)
		require.NoError(p.b, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// inParallel does n things, some at a time.
func inParallel(b *testing.B, n int, do func(ctx context.Context, i int) error) {
	var group sync.WaitGroup
	for worker := range parallelism {
		group.Go(func() {
			for i := worker; i < n; i += parallelism {
				if err := do(b.Context(), i); err != nil {
					b.Errorf("number %d: %v", i, err)
					return
				}
			}
		})
	}
	group.Wait()
	require.False(b, b.Failed())
}

// registerNodes registers simulated nodes through the API, as KWOK and virtual kubelets do: no agent stands behind them.
func registerNodes(b *testing.B, client kubernetes.Interface, n int) {
	capacity := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods: resource.MustParse(podsPerNode)}
	inParallel(b, n, func(ctx context.Context, i int) error {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i), Labels: map[string]string{corev1.LabelHostname: fmt.Sprintf("node-%d", i)}}}
		node, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		now := metav1.Now()
		node.Status = corev1.NodeStatus{Capacity: capacity, Allocatable: capacity, Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now}}}
		_, err = client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
		return err
	})
}
