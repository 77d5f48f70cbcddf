package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// simulatedNode is a node without a machine, as kwok has them: it reports through the API that it lives and that its pods run.
type simulatedNode struct {
	t      *testing.T
	name   string
	client kubernetes.Interface
	stop   context.CancelFunc
	done   chan struct{}
}

// simulateNode adds a node to the cluster that lives until it is killed.
func (c *cluster) simulateNode(name string) *simulatedNode {
	c.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.dir, "kubeconfig"))
	require.NoError(c.t, err)
	client, err := kubernetes.NewForConfig(config)
	require.NoError(c.t, err)
	ctx, cancel := context.WithCancel(c.t.Context())
	n := &simulatedNode{t: c.t, name: name, client: client, stop: cancel, done: make(chan struct{})}
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110")}
	node, err := client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}, metav1.CreateOptions{})
	require.NoError(c.t, err)
	node.Status = corev1.NodeStatus{Capacity: room, Allocatable: room, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Simulated",
		LastTransitionTime: metav1.Now()}}}
	_, err = client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	require.NoError(c.t, err)
	go n.live(ctx)
	c.t.Cleanup(n.kill)
	return n
}

// kill ends the node without a word, as a power cut does.
func (n *simulatedNode) kill() { n.stop(); <-n.done }

func (n *simulatedNode) live(ctx context.Context) {
	defer close(n.done)
	var renewed time.Time
	for ; ctx.Err() == nil; time.Sleep(200 * time.Millisecond) {
		if time.Since(renewed) > 10*time.Second {
			renewed = time.Now()
			n.renew(ctx)
		}
		n.runPods(ctx)
	}
}

func (n *simulatedNode) renew(ctx context.Context) {
	leases := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NowMicro()
	lease, err := leases.Get(ctx, n.name, metav1.GetOptions{})
	if err == nil {
		lease.Spec.RenewTime = &now
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	} else {
		_, err = leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: n.name}, Spec: coordinationv1.LeaseSpec{RenewTime: &now}}, metav1.CreateOptions{})
	}
	n.report(ctx, err)
}

// runPods says of the pods on the node that they run, and lets go of those that are to end.
func (n *simulatedNode) runPods(ctx context.Context) {
	list, err := n.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + n.name})
	n.report(ctx, err)
	if err != nil {
		return
	}
	for i := range list.Items {
		pod, zero, now := &list.Items[i], int64(0), metav1.Now()
		switch {
		case pod.DeletionTimestamp != nil:
			err = n.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
		case pod.Status.Phase == corev1.PodPending:
			pod.Status.Phase, pod.Status.StartTime, pod.Status.PodIP = corev1.PodRunning, &now, fmt.Sprintf("192.0.2.%d", i+1)
			pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now})
			for _, c := range pod.Spec.Containers {
				pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, Image: c.Image, Ready: true,
					State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}})
			}
			_, err = n.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		}
		n.report(ctx, err)
	}
}

// report tells of trouble, which a later turn may overcome.
func (n *simulatedNode) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		n.t.Logf("the simulated node %s: %v", n.name, err)
	}
}
