package schemas

import (
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

func TestPatches(t *testing.T) {
	k := kind(t, "deploy")
	d := create(t, k, webManifest)
	for name, c := range map[string]struct {
		patchType  types.PatchType
		patch      string
		containers int
	}{
		"json":      {types.JSONPatchType, `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"web:2"}]`, 1},
		"merge":     {types.MergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:2"}]}}}}`, 1},
		"strategic": {types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:2"},{"name":"side","image":"side:1"}]}}}}`, 2},
	} {
		t.Run(name, func(t *testing.T) {
			out, warnings, err := k.ApplyPatch(c.patchType, d, []byte(c.patch), metav1.FieldValidationStrict)
			require.NoError(t, err)
			require.Empty(t, warnings)
			containers := out.(*appsv1.Deployment).Spec.Template.Spec.Containers
			require.Len(t, containers, c.containers)
			i := 0
			for containers[i].Name != "web" {
				i++
			}
			require.Equal(t, "web:2", containers[i].Image)
			require.NotEmpty(t, containers[i].ImagePullPolicy, "defaults are set")
			require.Equal(t, "web:1", d.(*appsv1.Deployment).Spec.Template.Spec.Containers[0].Image, "the original must not change")
		})
	}
}

func TestBadPatches(t *testing.T) {
	k := kind(t, "deploy")
	d := create(t, k, webManifest)
	for name, c := range map[string]struct {
		patchType types.PatchType
		patch     string
		code      int32
		want      string
	}{
		"not JSON":       {types.MergePatchType, `{`, 400, "error decoding patch"},
		"failing test":   {types.JSONPatchType, `[{"op":"test","path":"/spec/replicas","value":9}]`, 422, "testing value /spec/replicas failed"},
		"missing path":   {types.JSONPatchType, `[{"op":"remove","path":"/spec/nonsense"}]`, 422, "nonsense"},
		"unknown field":  {types.MergePatchType, `{"spec":{"replica":1}}`, 422, `strict decoding error: unknown field "spec.replica"`},
		"duplicate":      {types.StrategicMergePatchType, `{"spec":{"replicas":1,"replicas":2}}`, 422, `duplicate field "spec.replicas"`},
		"wrong type":     {types.MergePatchType, `{"spec":{"replicas":"two"}}`, 422, "cannot unmarshal string"},
		"another kind":   {types.MergePatchType, `{"kind":"Pod"}`, 400, "a patch can't turn"},
		"no merge key":   {types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"image":"x"}]}}}}`, 400, "does not contain declared merge key: name"},
		"no such format": {"application/x-diff", `{}`, 415, "unknown format"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := k.ApplyPatch(c.patchType, d, []byte(c.patch), metav1.FieldValidationStrict)
			require.ErrorContains(t, err, c.want)
			var status apierrors.APIStatus
			require.ErrorAs(t, err, &status)
			require.Equal(t, c.code, status.Status().Code)
		})
	}
	_, warnings, err := k.ApplyPatch(types.MergePatchType, d, []byte(`{"spec":{"replica":1}}`), metav1.FieldValidationWarn)
	require.NoError(t, err)
	require.Equal(t, []string{`unknown field "spec.replica"`}, warnings)
}

func TestAScaleCanBePatched(t *testing.T) {
	k := kind(t, "deploy")
	scale, err := k.GetScale(create(t, k, webManifest))
	require.NoError(t, err)
	out, _, err := ApplyPatch(types.MergePatchType, scale, &autoscalingv1.Scale{}, []byte(`{"spec":{"replicas":4}}`), "")
	require.NoError(t, err)
	require.EqualValues(t, 4, out.(*autoscalingv1.Scale).Spec.Replicas)
}

func TestServerSideApply(t *testing.T) {
	k := kind(t, "deploy")
	apply := func(live runtime.Object, manager, patch string, force bool) (*appsv1.Deployment, error) {
		out, _, err := k.Apply(live, []byte(patch), manager, force, "", metav1.FieldValidationStrict)
		if err != nil {
			return nil, err
		}
		return out.(*appsv1.Deployment), nil
	}
	const head = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
	const scaled = head + "spec: {replicas: 9}\n"

	d, err := apply(nil, "alice", webManifest, false)
	require.NoError(t, err)
	created, _, err := k.PrepareCreate(write("default"), d)
	require.NoError(t, err)
	created.(*appsv1.Deployment).ResourceVersion = "3"

	_, err = apply(created, "bob", scaled, false)
	require.True(t, apierrors.IsConflict(err), "%v", err)
	require.EqualError(t, err, `Apply failed with 1 conflict: conflict with "alice": .spec.replicas`)

	d, err = apply(created, "bob", scaled, true)
	require.NoError(t, err)
	require.EqualValues(t, 9, *d.Spec.Replicas)
	require.Len(t, d.ManagedFields, 2)
	updated, _, err := k.PrepareUpdate(write("default"), d, created)
	require.NoError(t, err)
	require.EqualValues(t, 2, updated.(*appsv1.Deployment).Generation)

	d, err = apply(updated, "bob", head, false)
	require.NoError(t, err)
	require.EqualValues(t, 1, *d.Spec.Replicas, "a field that nobody applies any more goes back to its default")
}

func TestBadApplies(t *testing.T) {
	k := kind(t, "deploy")
	for name, c := range map[string]struct{ patch, want string }{
		"not YAML":      {"a: [b", "error decoding YAML"},
		"a key twice":   {webManifest + "  replicas: 3\n", "error strict decoding YAML"},
		"unknown field": {webManifest + "  replica: 3\n", ".spec.replica: field not declared in schema"},
		"another kind": {"apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n",
			`an apply to deployments takes apiVersion apps/v1 and kind Deployment, not apiVersion "v1" and kind "Pod"`},
		"empty": {"", `not apiVersion "" and kind ""`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := k.Apply(nil, []byte(c.patch), "alice", false, "", metav1.FieldValidationStrict)
			require.ErrorContains(t, err, c.want)
			require.True(t, apierrors.IsBadRequest(err), "%#v", err)
		})
	}
}

func TestUpdatesAreTracked(t *testing.T) {
	k := kind(t, "deploy")
	obj := create(t, k, webManifest).(*appsv1.Deployment)
	out, err := k.TrackUpdate(nil, obj, "kubectl-create", "")
	require.NoError(t, err)
	live := out.(*appsv1.Deployment)
	live.ResourceVersion = "3"
	require.Empty(t, obj.ManagedFields, "what came in must not change")

	changed := live.DeepCopy()
	changed.Spec.Paused = true
	out, err = k.TrackUpdate(live, changed, "kubectl-rollout", "")
	require.NoError(t, err)
	entries := out.(*appsv1.Deployment).ManagedFields
	require.Len(t, entries, 2)
	require.Equal(t, "kubectl-rollout", entries[1].Manager)
	require.JSONEq(t, `{"f:spec":{"f:paused":{}}}`, entries[1].FieldsV1.GetRawString())

	changed.Status.Replicas = 1
	out, err = k.TrackUpdate(live, changed, "controller", "status")
	require.NoError(t, err)
	var owners []string
	for _, e := range out.(*appsv1.Deployment).ManagedFields {
		owners = append(owners, e.Manager+"/"+e.Subresource)
	}
	require.ElementsMatch(t, []string{"kubectl-create/", "controller/status"}, owners)
}

func BenchmarkTrackUpdate(b *testing.B) {
	k := kind(b, "po")
	obj := create(b, k, podManifest)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.TrackUpdate(nil, obj, "kubectl-create", ""); err != nil {
			b.Fatal(err)
		}
	}
}
