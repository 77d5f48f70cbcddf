package gateway_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func TestARunningPodIsDeletedByItsNode(t *testing.T) {
	c := newCluster(t)
	pods := c.client.CoreV1().Pods("default")
	c.createPod(t, "waiting")
	require.NoError(t, pods.Delete(t.Context(), "waiting", metav1.DeleteOptions{}))
	require.Equal(t, "PodDeleted", c.last(t).Type, "a pod on no node goes at once")

	c.createPod(t, "running")
	c.bind(t, "running", "n1")
	require.NoError(t, pods.Delete(t.Context(), "running", metav1.DeleteOptions{}))
	require.Equal(t, "PodDeletionRequested", c.last(t).Type)
	p, err := pods.Get(t.Context(), "running", metav1.GetOptions{})
	require.NoError(t, err)
	require.NotNil(t, p.DeletionTimestamp)
	require.Equal(t, int64(30), *p.DeletionGracePeriodSeconds)
	require.Equal(t, "n1", p.Spec.NodeName)
	before := c.last(t).Revision
	require.NoError(t, pods.Delete(t.Context(), "running", metav1.DeleteOptions{}))
	require.Equal(t, before, c.last(t).Revision, "asking again changes nothing")
	_, err = pods.Create(t.Context(), pod("running"), metav1.CreateOptions{})
	require.ErrorContains(t, err, "object is being deleted")

	require.NoError(t, pods.Delete(t.Context(), "running", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}))
	_, err = pods.Get(t.Context(), "running", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), "%v", err)
}

func TestFinalizersHoldAnObject(t *testing.T) {
	c := newCluster(t)
	maps := c.client.CoreV1().ConfigMaps("default")
	m := configMap("held", "x")
	m.Finalizers = []string{"example.com/hold"}
	_, err := maps.Create(t.Context(), m, metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, maps.Delete(t.Context(), "held", metav1.DeleteOptions{}))
	held, err := maps.Get(t.Context(), "held", metav1.GetOptions{})
	require.NoError(t, err)
	require.NotNil(t, held.DeletionTimestamp)

	_, err = maps.Patch(t.Context(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	e := c.last(t)
	require.Equal(t, "ConfigMapDeleted", e.Type)
	require.True(t, e.Tombstone)
	_, err = maps.Get(t.Context(), "held", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), "%v", err)
}

func TestPropagationIsAskedForByFinalizers(t *testing.T) {
	c := newCluster(t)
	deployments := c.client.AppsV1().Deployments("default")
	for policy, finalizer := range map[metav1.DeletionPropagation]string{
		metav1.DeletePropagationForeground: metav1.FinalizerDeleteDependents, metav1.DeletePropagationOrphan: metav1.FinalizerOrphanDependents} {
		_, err := deployments.Create(t.Context(), deployment("web", 1), metav1.CreateOptions{})
		require.NoError(t, err)
		require.NoError(t, deployments.Delete(t.Context(), "web", metav1.DeleteOptions{PropagationPolicy: &policy}))
		held, err := deployments.Get(t.Context(), "web", metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, []string{finalizer}, held.Finalizers)
		require.NoError(t, deployments.Delete(t.Context(), "web", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}))
		_, err = deployments.Get(t.Context(), "web", metav1.GetOptions{})
		require.True(t, apierrors.IsNotFound(err), "%v", err)
	}
	err := deployments.Delete(t.Context(), "web", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletionPropagation("Sideways"))})
	require.True(t, apierrors.IsInvalid(err), "%v", err)
}

func TestDeletionPreconditions(t *testing.T) {
	c := newCluster(t)
	pods := c.client.CoreV1().Pods("default")
	p := c.createPod(t, "web")
	err := pods.Delete(t.Context(), "web", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(types.UID("other"))}})
	require.True(t, apierrors.IsConflict(err), "%v", err)
	require.ErrorContains(t, err, "the UID in the precondition (other) does not match the UID in record ("+string(p.UID)+")")
	err = pods.Delete(t.Context(), "web", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: ptr.To("1")}})
	require.True(t, apierrors.IsConflict(err), "%v", err)
	require.NoError(t, pods.Delete(t.Context(), "web", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID, ResourceVersion: &p.ResourceVersion}}))
}

func TestDeleteCollection(t *testing.T) {
	c := newCluster(t)
	for _, name := range []string{"a", "b"} {
		c.createPod(t, name)
	}
	c.createPod(t, "kept", func(p *corev1.Pod) { p.Labels["app"] = "other" })
	pods := c.client.CoreV1().Pods("default")
	require.NoError(t, pods.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app=web"}))
	list, err := pods.List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	require.Equal(t, "kept", list.Items[0].Name)
}

func TestANamespaceOnItsWayOutTakesNothingIn(t *testing.T) {
	c := newCluster(t)
	namespaces := c.client.CoreV1().Namespaces()
	_, err := namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, namespaces.Delete(t.Context(), "team", metav1.DeleteOptions{}))
	going, err := namespaces.Get(t.Context(), "team", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, corev1.NamespaceTerminating, going.Status.Phase)
	_, err = c.client.CoreV1().ConfigMaps("team").Create(t.Context(), configMap("m", "x"), metav1.CreateOptions{})
	require.True(t, apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), "%v", err)

	going.Spec.Finalizers = nil
	_, err = namespaces.Finalize(t.Context(), going, metav1.UpdateOptions{})
	require.NoError(t, err)
	_, err = namespaces.Get(t.Context(), "team", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), "%v", err)
}

func TestEvictionHeedsBudgets(t *testing.T) {
	c := newCluster(t)
	c.createPod(t, "web")
	c.bind(t, "web", "n1")
	_, err := c.client.CoreV1().Pods("default").Patch(t.Context(), "web", types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status")
	require.NoError(t, err)
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}
	_, err = c.client.PolicyV1().PodDisruptionBudgets("default").Create(t.Context(), budget, metav1.CreateOptions{})
	require.NoError(t, err)
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}}
	err = c.client.PolicyV1().Evictions("default").Evict(t.Context(), eviction)
	require.True(t, apierrors.IsTooManyRequests(err), "%v", err)
	require.NoError(t, c.client.PolicyV1().PodDisruptionBudgets("default").Delete(t.Context(), "web", metav1.DeleteOptions{}))
	require.NoError(t, c.client.PolicyV1().Evictions("default").Evict(t.Context(), eviction))
	require.Equal(t, "PodDeletionRequested", c.last(t).Type)
}

func TestDeleteOptionsOfAnyVersion(t *testing.T) {
	c := newCluster(t)
	for _, version := range []string{"v1", "meta.k8s.io/v1", "apps/v1"} {
		c.createPod(t, "web")
		code, _, answer := c.do(t, http.MethodDelete, "/api/v1/namespaces/default/pods/web", `{"kind":"DeleteOptions","apiVersion":"`+version+`"}`)
		require.Equal(t, http.StatusOK, code, answer)
	}
}
