package schemas

import (
	"testing"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"
	"k8s.io/kubernetes/pkg/registry/batch/job"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/event"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/node"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolume"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/replicationcontroller"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/service"
)

// Fields are read off the storage version, without a conversion. They must be what Kubernetes reads off its internal one.
func TestFieldsAreThoseOfKubernetes(t *testing.T) {
	for name, attributes := range map[string]func(runtime.Object) (labels.Set, fields.Set, error){
		"pods": pod.GetAttrs, "events": event.GetAttrs, "nodes": node.GetAttrs, "namespaces": namespace.GetAttrs, "secrets": secret.GetAttrs,
		"services": service.GetAttrs, "replicationcontrollers": replicationcontroller.GetAttrs, "replicasets": replicaset.GetAttrs,
		"jobs": job.GetAttrs, "configmaps": configmap.GetAttrs, "persistentvolumes": persistentvolume.GetAttrs,
		"persistentvolumeclaims": persistentvolumeclaim.GetAttrs,
	} {
		t.Run(name, func(t *testing.T) {
			k := kind(t, name)
			obj := create(t, k, minimal(t, k))
			internal, err := k.internal(obj)
			require.NoError(t, err)
			_, want, err := attributes(internal)
			require.NoError(t, err)
			require.Equal(t, want, k.Fields(obj))
		})
	}
}

func TestFieldSelectors(t *testing.T) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default"}, Spec: corev1.PodSpec{NodeName: "n1"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.1.0.5"}}
	finished := &batchv1.Job{Status: batchv1.JobStatus{Succeeded: 1}}
	for _, c := range []struct {
		kind, selector string
		obj            runtime.Object
		want           bool
	}{
		{"po", "spec.nodeName=n1,status.phase!=Failed", p, true},
		{"po", "spec.nodeName=", p, false},
		{"po", "spec.host=n1", p, true},
		{"po", "status.podIP=10.1.0.5,metadata.namespace=default", p, true},
		{"jobs", "status.successful=1", finished, true},
		{"jobs", "status.successful=2", finished, false},
	} {
		selector, err := kind(t, c.kind).FieldSelector(c.selector)
		require.NoError(t, err)
		require.Equal(t, c.want, selector.Matches(kind(t, c.kind).Fields(c.obj)), c.selector)
	}
	_, err := kind(t, "po").FieldSelector("spec.color=red")
	require.EqualError(t, err, `field selector "spec.color=red" for pods: field label not supported: spec.color`)
	_, err = kind(t, "cm").FieldSelector("data.a=b")
	require.ErrorContains(t, err, `"data.a" is not a known field selector: only "metadata.name", "metadata.namespace"`)
}

func TestColumns(t *testing.T) {
	for name, want := range map[string][]string{
		"po":     {"Name", "Ready", "Status", "Restarts", "Age", "IP", "Node", "Nominated Node", "Readiness Gates"},
		"deploy": {"Name", "Ready", "Up-to-date", "Available", "Age", "Containers", "Images", "Selector"},
		"limits": {"Name", "Created At"},
	} {
		table, err := kind(t, name).Table(create(t, kind(t, name), minimal(t, kind(t, name))), nil)
		require.NoError(t, err)
		var got []string
		for _, c := range table.ColumnDefinitions {
			got = append(got, c.Name)
		}
		require.Equal(t, want, got)
	}
	k := kind(t, "po")
	table, err := k.Table(create(t, k, podManifest), &metav1.TableOptions{NoHeaders: true, IncludeObject: metav1.IncludeObject})
	require.NoError(t, err)
	require.Empty(t, table.ColumnDefinitions)
	require.Equal(t, []any{"web", "0/1", "Pending"}, table.Rows[0].Cells[:3])
	require.IsType(t, &corev1.Pod{}, table.Rows[0].Object.Object)
	_, err = k.Table(create(t, k, podManifest), &metav1.TableOptions{IncludeObject: "Half"})
	require.ErrorContains(t, err, `unrecognized includeObject value: "Half"`)
}
