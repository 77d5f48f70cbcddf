package bench

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

const replicas = 5_000

// BenchmarkDeployment scales a Deployment from nothing to 5,000 replicas on 5,000 simulated nodes of a running "wake up": from the request
// that asks for it until a client's watch has shown every pod bound.
func BenchmarkDeployment(b *testing.B) {
	p := newProcess(b, "--no-agent")
	p.start()
	defer p.stop()
	client := p.client()
	registerNodes(b, client, nodesAtStart)
	for b.Loop() {
		b.StopTimer()
		d := createDeployment(b, client)
		done := watchBound(b, client, replicas)
		began := time.Now()
		b.StartTimer()
		_, err := client.AppsV1().Deployments(d.Namespace).Patch(b.Context(), d.Name, types.MergePatchType, []byte(`{"spec":{"replicas":5000}}`),
			metav1.PatchOptions{}, "scale")
		require.NoError(b, err)
		bound := <-done
		b.StopTimer()
		require.Equal(b, replicas, bound)
		b.ReportMetric(time.Since(began).Seconds(), "s")
		b.ReportMetric(replicas/time.Since(began).Seconds(), "pods/s")
		requireNodesReady(b, client)
		deleteDeployment(p, client, d)
		b.StartTimer()
	}
	b.ReportMetric(p.memory("VmRSS"), "MiB-after")
	b.ReportMetric(p.memory("VmHWM"), "MiB-peak")
}

func createDeployment(b *testing.B, client kubernetes.Interface) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	d, err := client.AppsV1().Deployments(metav1.NamespaceDefault).Create(b.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: new(int32), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: podTemplate(labels)}}, metav1.CreateOptions{})
	require.NoError(b, err)
	return d
}

func podTemplate(labels map[string]string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web",
		Image: "wake.dev/demo:1", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}}}}}}
}

// watchBound counts the pods that are bound, until they are n.
func watchBound(b *testing.B, client kubernetes.Interface, n int) <-chan int {
	watch, err := client.CoreV1().Pods(metav1.NamespaceDefault).Watch(b.Context(), metav1.ListOptions{})
	require.NoError(b, err)
	done := make(chan int, 1)
	go func() {
		defer watch.Stop()
		bound := map[types.UID]bool{}
		for e := range watch.ResultChan() {
			if pod, ok := e.Object.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
				bound[pod.UID] = true
			}
			if len(bound) == n {
				break
			}
		}
		done <- len(bound)
	}()
	return done
}

// requireNodesReady makes sure that the simulated nodes were there all the time.
func requireNodesReady(b *testing.B, client kubernetes.Interface) {
	nodes, err := client.CoreV1().Nodes().List(b.Context(), metav1.ListOptions{})
	require.NoError(b, err)
	require.Len(b, nodes.Items, nodesAtStart)
	for i := range nodes.Items {
		for _, condition := range nodes.Items[i].Status.Conditions {
			require.False(b, condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue, "%s is not ready: %s", nodes.Items[i].Name, condition.Message)
		}
	}
}

// deleteDeployment waits until its pods are gone too: no agent has to end them first.
func deleteDeployment(p *process, client kubernetes.Interface, d *appsv1.Deployment) {
	require.NoError(p.b, client.AppsV1().Deployments(d.Namespace).Delete(p.b.Context(), d.Name, metav1.DeleteOptions{}))
	p.until("the pods are going", func() bool {
		pods, err := client.CoreV1().Pods(d.Namespace).List(p.b.Context(), metav1.ListOptions{})
		require.NoError(p.b, err)
		for i := range pods.Items {
			if pods.Items[i].DeletionTimestamp == nil {
				return false
			}
		}
		return true
	})
	inParallelPods(p.b, client, d.Namespace)
}

// inParallelPods removes pods that are going, as their nodes would.
func inParallelPods(b *testing.B, client kubernetes.Interface, namespace string) {
	pods, err := client.CoreV1().Pods(namespace).List(b.Context(), metav1.ListOptions{})
	require.NoError(b, err)
	inParallel(b, len(pods.Items), func(ctx context.Context, i int) error {
		return client.CoreV1().Pods(namespace).Delete(ctx, pods.Items[i].Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	})
}
