package bench

import (
	"slices"
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
	used := time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		d := createDeployment(b, client)
		done := watchPods(b, client, replicas, "spec.nodeName!=", isBound)
		before := p.processorTime()
		b.StartTimer()
		_, err := client.AppsV1().Deployments(d.Namespace).Patch(b.Context(), d.Name, types.MergePatchType, []byte(`{"spec":{"replicas":5000}}`),
			metav1.PatchOptions{}, "scale")
		require.NoError(b, err)
		bound := <-done
		b.StopTimer()
		require.Equal(b, replicas, bound)
		used += p.processorTime() - before
		requireNodesReady(b, client)
		deleteDeployment(p, client, d)
		b.StartTimer()
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s")
	b.ReportMetric(replicas*float64(b.N)/b.Elapsed().Seconds(), "pods/s")
	b.ReportMetric(float64(used.Microseconds())/replicas/float64(b.N), "cpu-µs/pod")
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
			corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("32Mi")}}}}}}
}

func isBound(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" }

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
}

// watchPods counts the pods of those selected that are as they should be, until they are n or patience ends.
func watchPods(b *testing.B, client kubernetes.Interface, n int, fields string, arrived func(*corev1.Pod) bool) <-chan int {
	watch, err := client.CoreV1().Pods(metav1.NamespaceDefault).Watch(b.Context(), metav1.ListOptions{FieldSelector: fields, TimeoutSeconds: new(int64(patience.Seconds()))})
	require.NoError(b, err)
	done := make(chan int, 1)
	go func() {
		defer watch.Stop()
		seen := map[types.UID]bool{}
		for e := range watch.ResultChan() {
			if pod, ok := e.Object.(*corev1.Pod); ok && pod.DeletionTimestamp == nil && arrived(pod) {
				seen[pod.UID] = true
			}
			if len(seen) == n {
				break
			}
		}
		done <- len(seen)
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

// deleteDeployment deletes it and its pods, which it takes no grace to end, and waits until they are gone.
func deleteDeployment(p *process, client kubernetes.Interface, d *appsv1.Deployment) {
	require.NoError(p.b, client.AppsV1().Deployments(d.Namespace).Delete(p.b.Context(), d.Name, metav1.DeleteOptions{}))
	p.until("the Deployment has gone with its ReplicaSet", func() bool {
		sets, err := client.AppsV1().ReplicaSets(d.Namespace).List(p.b.Context(), metav1.ListOptions{})
		require.NoError(p.b, err)
		return len(sets.Items) == 0
	})
	require.NoError(p.b, client.CoreV1().Pods(d.Namespace).DeleteCollection(p.b.Context(), metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{}))
	p.until("its pods have gone", func() bool {
		pods, err := client.CoreV1().Pods(d.Namespace).List(p.b.Context(), metav1.ListOptions{})
		require.NoError(p.b, err)
		return len(pods.Items) == 0
	})
}
