package schemas

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
)

var shared = func() *Registry {
	r, err := NewRegistry()
	if err != nil {
		panic(err)
	}
	return r
}()

// kind returns the row that a person means by name.
func kind(t testing.TB, name string) *Kind {
	t.Helper()
	k, ok := shared.Lookup(name)
	require.True(t, ok, "no kind is called %q", name)
	return k
}

func TestLookup(t *testing.T) {
	for name, want := range map[string]string{
		"po": "pods", "Pod": "pods", "deploy": "deployments.apps", "deployments.apps": "deployments.apps", "deployment.v1.apps": "deployments.apps",
		"ev": "events", "events.events.k8s.io": "events.events.k8s.io", "hpa": "horizontalpodautoscalers.autoscaling", "endpoints": "endpoints",
	} {
		require.Equal(t, want, kind(t, name).String(), name)
	}
	for _, name := range []string{"", "pod.apps", "nonsense", "."} {
		_, ok := shared.Lookup(name)
		require.False(t, ok, name)
	}
	require.Equal(t, "v2", kind(t, "hpa").GroupVersion.Version)
	require.Equal(t, "v1", kind(t, "hpa.v1.autoscaling").GroupVersion.Version)
}

func TestStorageVersions(t *testing.T) {
	require.Same(t, kind(t, "ev"), kind(t, "events.events.k8s.io").Storage)
	require.Same(t, kind(t, "hpa"), kind(t, "hpa.v1.autoscaling").Storage)
	for _, k := range shared.All() {
		stored, ok := shared.ByStorage(k.Storage.GroupVersion.Group, k.Storage.Resource)
		require.True(t, ok)
		require.Same(t, k.Storage, stored)
	}
	typed, ok := shared.ByType(&corev1.Event{})
	require.True(t, ok)
	require.Same(t, kind(t, "ev"), typed)
	_, ok = shared.ByType(&eventsv1.Event{})
	require.False(t, ok, "a version in which nothing is stored")
	_, ok = shared.ByStorage("events.k8s.io", "events")
	require.False(t, ok, "events are filed under the core group only")
}

func TestEveryPromisedKindIsARow(t *testing.T) {
	var got []string
	for _, k := range shared.All() {
		got = append(got, k.GVK().Kind+" "+k.GroupVersion.String())
	}
	for _, want := range []string{
		"Pod v1", "Service v1", "Node v1", "Namespace v1", "ConfigMap v1", "Secret v1", "ServiceAccount v1", "Endpoints v1", "Event v1", "PersistentVolume v1",
		"PersistentVolumeClaim v1", "ReplicationController v1", "ResourceQuota v1", "LimitRange v1", "PodTemplate v1", "Deployment apps/v1", "ReplicaSet apps/v1",
		"StatefulSet apps/v1", "DaemonSet apps/v1", "ControllerRevision apps/v1", "Job batch/v1", "CronJob batch/v1", "EndpointSlice discovery.k8s.io/v1",
		"Ingress networking.k8s.io/v1", "IngressClass networking.k8s.io/v1", "NetworkPolicy networking.k8s.io/v1", "PodDisruptionBudget policy/v1",
		"Role rbac.authorization.k8s.io/v1", "RoleBinding rbac.authorization.k8s.io/v1", "ClusterRole rbac.authorization.k8s.io/v1",
		"ClusterRoleBinding rbac.authorization.k8s.io/v1", "StorageClass storage.k8s.io/v1", "VolumeAttachment storage.k8s.io/v1", "CSIDriver storage.k8s.io/v1",
		"CSINode storage.k8s.io/v1", "PriorityClass scheduling.k8s.io/v1", "Lease coordination.k8s.io/v1", "HorizontalPodAutoscaler autoscaling/v1",
		"HorizontalPodAutoscaler autoscaling/v2", "Event events.k8s.io/v1",
	} {
		require.Contains(t, got, want)
	}
}

func BenchmarkNewRegistry(b *testing.B) {
	for b.Loop() {
		if _, err := NewRegistry(); err != nil {
			b.Fatal(err)
		}
	}
}
