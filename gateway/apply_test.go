package gateway_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
)

var podsResource = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

func TestApply(t *testing.T) {
	c := newCluster(t)
	maps := c.client.CoreV1().ConfigMaps("default")
	apply := func(manager string, force bool, data map[string]string) (*corev1.ConfigMap, error) {
		return maps.Apply(t.Context(), applycorev1.ConfigMap("shared", "default").WithData(data), metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	created, err := apply("ada", false, map[string]string{"a": "1", "b": "1"})
	require.NoError(t, err)
	require.Equal(t, "ConfigMapCreated", c.last(t).Type)
	require.Equal(t, metav1.ManagedFieldsOperationApply, created.ManagedFields[0].Operation)

	again, err := apply("ada", false, map[string]string{"a": "1", "b": "1"})
	require.NoError(t, err)
	require.Equal(t, created.ResourceVersion, again.ResourceVersion, "applying the same again changes nothing")

	_, err = apply("bob", false, map[string]string{"a": "2"})
	require.True(t, apierrors.IsConflict(err), "%v", err)
	require.ErrorContains(t, err, `Apply failed with 1 conflict: conflict with "ada": .data.a`)
	forced, err := apply("bob", true, map[string]string{"a": "2", "c": "2"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "2", "b": "1", "c": "2"}, forced.Data)

	// What a manager no longer applies goes, unless others want it too.
	left, err := apply("bob", false, map[string]string{"a": "2"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "2", "b": "1"}, left.Data)

	code, _, answer := c.do(t, http.MethodPatch, "/api/v1/namespaces/default/configmaps/shared", `{}`, "Content-Type", string(types.ApplyYAMLPatchType))
	require.Equal(t, http.StatusUnprocessableEntity, code)
	require.Contains(t, answer, "is required for apply patch")
}

func TestPatches(t *testing.T) {
	c := newCluster(t)
	c.createPod(t, "web", func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "side", Image: "demo"})
	})
	pods := c.client.CoreV1().Pods("default")
	images := func(p *corev1.Pod) (out []string) {
		for _, container := range p.Spec.Containers {
			out = append(out, container.Name+"="+container.Image)
		}
		return out
	}
	p, err := pods.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(`{"spec":{"containers":[{"name":"side","image":"v2"}]}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"main=demo", "side=v2"}, images(p))
	require.Equal(t, []string{"spec.containers[side].image"}, c.last(t).Changed)
	p, err = pods.Patch(t.Context(), "web", types.JSONPatchType, []byte(`[{"op":"test","path":"/spec/containers/0/name","value":"main"},
		{"op":"replace","path":"/spec/containers/0/image","value":"v3"}]`), metav1.PatchOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"main=v3", "side=v2"}, images(p))
	p, err = pods.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"labels":{"app":null,"x":"y"}}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"x": "y"}, p.Labels)
	p, err = pods.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status")
	require.NoError(t, err)
	require.Equal(t, corev1.PodRunning, p.Status.Phase)
	require.Equal(t, "PodStatusChanged", c.last(t).Type)
	require.Equal(t, []string{"status.phase"}, c.last(t).Changed)

	_, err = pods.Patch(t.Context(), "web", types.JSONPatchType, []byte(`[{"op":"test","path":"/spec/containers/0/name","value":"other"}]`), metav1.PatchOptions{})
	require.True(t, apierrors.IsInvalid(err) || apierrors.ReasonForError(err) != metav1.StatusReasonInternalError, "%v", err)
	_, err = pods.Patch(t.Context(), "none", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
	require.True(t, apierrors.IsNotFound(err), "%v", err)
	_, err = pods.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"resourceVersion":"1"}}`), metav1.PatchOptions{})
	require.True(t, apierrors.IsConflict(err), "%v", err)
}
