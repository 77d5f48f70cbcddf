package schemas

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

func TestInvalidObjectsAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ kind, body, want string }{
		"no image": {"po", "metadata: {name: a}\nspec: {containers: [{name: c}]}",
			`Pod "a" is invalid: spec.containers[0].image: Required value`},
		"a name that isn't DNS": {"cm", "metadata: {name: Big_Name}",
			`ConfigMap "Big_Name" is invalid: metadata.name: Invalid value: "Big_Name": a lowercase RFC 1123 subdomain must consist of`},
		"a selector that misses its template": {"deploy",
			"metadata: {name: a}\nspec: {selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: b}}, spec: {containers: [{name: c, image: i}]}}}",
			"spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`"},
		"no name": {"cm", "data: {}", `ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required`},
		"another namespace": {"cm", "metadata: {name: a, namespace: other}",
			`the namespace of the provided object does not match the namespace sent on the request`},
		"a revision": {"cm", "metadata: {name: a, resourceVersion: '7'}", `resourceVersion should not be set on objects to be created`},
		"an unknown priority class": {"po", "metadata: {name: a}\nspec: {priorityClassName: high, containers: [{name: c, image: i}]}",
			`pods "a" is forbidden: no PriorityClass with name high was found`},
		"two IP families": {"svc", "metadata: {name: a}\nspec: {ports: [{port: 80}], ipFamilies: [IPv4, IPv6], ipFamilyPolicy: RequireDualStack}",
			`this cluster is not configured for dual-stack services`},
	} {
		t.Run(name, func(t *testing.T) {
			k := kind(t, c.kind)
			obj, _, err := k.DecodeBody([]byte(c.body), "application/yaml", metav1.FieldValidationStrict)
			require.NoError(t, err)
			_, _, err = k.PrepareCreate(write("default"), obj)
			require.ErrorContains(t, err, c.want)
			var status apierrors.APIStatus
			require.ErrorAs(t, err, &status)
		})
	}
}

func TestGeneratedNames(t *testing.T) {
	obj := create(t, kind(t, "cm"), "metadata: {generateName: web-}")
	require.Equal(t, "web-x7x7x", obj.(metav1.Object).GetName())
}

func TestWarnings(t *testing.T) {
	k := kind(t, "po")
	obj, _, err := k.DecodeBody([]byte("metadata: {name: a.b}\nspec: {containers: [{name: c, image: i}]}"), "application/yaml", "")
	require.NoError(t, err)
	_, warnings, err := k.PrepareCreate(write("default"), obj)
	require.NoError(t, err)
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "metadata.name: this is used in the Pod's hostname")
}

func TestPriorities(t *testing.T) {
	k := kind(t, "po")
	obj, _, err := k.DecodeBody([]byte("metadata: {name: a}\nspec: {priorityClassName: high, containers: [{name: c, image: i}]}"), "application/yaml", "")
	require.NoError(t, err)
	w := write("default")
	w.PriorityClass = func(name string) *schedulingv1.PriorityClass {
		require.Equal(t, "high", name)
		return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: 500, PreemptionPolicy: ptr.To(corev1.PreemptNever)}
	}
	out, _, err := k.PrepareCreate(w, obj)
	require.NoError(t, err)
	require.EqualValues(t, 500, *out.(*corev1.Pod).Spec.Priority)
	require.Equal(t, corev1.PreemptNever, *out.(*corev1.Pod).Spec.PreemptionPolicy)
}

func TestUpdatesKeepTheStatusAndCountTheGeneration(t *testing.T) {
	k := kind(t, "deploy")
	old := create(t, k, webManifest).(*appsv1.Deployment)
	old.ResourceVersion, old.Status.Replicas = "9", 2
	require.EqualValues(t, 1, old.Generation)

	obj := old.DeepCopy()
	obj.ResourceVersion, obj.Spec.Replicas, obj.Status.Replicas = "", ptr.To[int32](5), 77
	out, _, err := k.PrepareUpdate(write("default"), obj, old)
	require.NoError(t, err)
	d := out.(*appsv1.Deployment)
	require.EqualValues(t, 5, *d.Spec.Replicas)
	require.EqualValues(t, 2, d.Status.Replicas)
	require.EqualValues(t, 2, d.Generation)
	require.Equal(t, "9", d.ResourceVersion)
	require.EqualValues(t, 77, obj.Status.Replicas, "what came in must not change")

	out, _, err = k.PrepareStatusUpdate(write("default"), obj, old)
	require.NoError(t, err)
	d = out.(*appsv1.Deployment)
	require.EqualValues(t, 2, *d.Spec.Replicas)
	require.EqualValues(t, 77, d.Status.Replicas)
	require.EqualValues(t, 1, d.Generation)

	obj.Spec.Selector.MatchLabels = map[string]string{"app": "other"}
	_, _, err = k.PrepareUpdate(write("default"), obj, old)
	require.ErrorContains(t, err, "field is immutable")

	obj.UID = "u2"
	_, _, err = k.PrepareUpdate(write("default"), obj, old)
	require.True(t, apierrors.IsConflict(err), "%v", err)

	_, _, err = k.PrepareSubresource(write("default"), "nonsense", obj, old)
	require.True(t, apierrors.IsNotFound(err), "%v", err)
}

func TestAServiceKeepsWhatItWasGiven(t *testing.T) {
	k := kind(t, "svc")
	const manifest = "metadata: {name: web}\nspec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80}]}"
	old := create(t, k, manifest).(*corev1.Service)
	require.Empty(t, old.Spec.ClusterIP)
	require.Equal(t, []corev1.IPFamily{corev1.IPv4Protocol}, old.Spec.IPFamilies)
	require.Equal(t, corev1.IPFamilyPolicySingleStack, *old.Spec.IPFamilyPolicy)

	old.ResourceVersion = "9"
	old.Spec.ClusterIP, old.Spec.ClusterIPs, old.Spec.Ports[0].NodePort = "10.96.0.9", []string{"10.96.0.9"}, 30080
	obj, _, err := k.DecodeBody([]byte(manifest), "application/yaml", "")
	require.NoError(t, err)
	out, _, err := k.PrepareUpdate(write("default"), obj, old)
	require.NoError(t, err)
	require.Equal(t, old.Spec, out.(*corev1.Service).Spec)

	obj.(*corev1.Service).Spec.ClusterIP = "10.96.0.10"
	_, _, err = k.PrepareUpdate(write("default"), obj, old)
	require.ErrorContains(t, err, "may not change once set")

	headless := create(t, k, "metadata: {name: web}\nspec: {clusterIP: None, selector: {app: web}}").(*corev1.Service)
	require.Equal(t, []string{"None"}, headless.Spec.ClusterIPs)
	create(t, k, "metadata: {name: web}\nspec: {type: ExternalName, externalName: example.com}")
}

func TestDeletingAPod(t *testing.T) {
	k := kind(t, "po")
	pod := create(t, k, podManifest).(*corev1.Pod)
	ask := func(pod runtime.Object, options *metav1.DeleteOptions) Deletion {
		d, err := k.PrepareDelete(write("default"), pod, options)
		require.NoError(t, err)
		return d
	}
	require.True(t, ask(pod, nil).Remove, "a pod that runs nowhere goes at once")

	pod.Spec.NodeName = "n1"
	d := ask(pod, nil)
	require.False(t, d.Remove)
	require.True(t, d.Changed)
	terminating := d.Object.(*corev1.Pod)
	require.EqualValues(t, 30, *terminating.DeletionGracePeriodSeconds)
	require.Equal(t, noon.Add(30*time.Second), terminating.DeletionTimestamp.UTC())
	require.Nil(t, pod.DeletionTimestamp, "what came in must not change")
	require.False(t, k.Removable(terminating))

	require.False(t, ask(terminating, nil).Changed, "asking again changes nothing")
	require.True(t, ask(terminating, &metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}).Remove)

	pod.Status.Phase = corev1.PodSucceeded
	require.True(t, ask(pod, nil).Remove, "a pod that has ended goes at once")

	_, err := k.PrepareDelete(write("default"), pod, &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("u2")})
	require.True(t, apierrors.IsConflict(err), "%v", err)
}

func TestPropagation(t *testing.T) {
	k := kind(t, "deploy")
	d := create(t, k, webManifest).(*appsv1.Deployment)
	for policy, want := range map[metav1.DeletionPropagation][]string{
		metav1.DeletePropagationBackground: nil,
		metav1.DeletePropagationForeground: {metav1.FinalizerDeleteDependents},
		metav1.DeletePropagationOrphan:     {metav1.FinalizerOrphanDependents},
	} {
		got, err := k.PrepareDelete(write("default"), d, &metav1.DeleteOptions{PropagationPolicy: &policy})
		require.NoError(t, err)
		m := got.Object.(metav1.Object)
		require.Equal(t, want, m.GetFinalizers(), policy)
		require.Equal(t, want == nil, got.Remove)
		require.Equal(t, want != nil, m.GetDeletionTimestamp() != nil)
		require.False(t, k.Removable(got.Object))
		if want != nil {
			require.EqualValues(t, 2, m.GetGeneration())
			m.SetFinalizers(nil)
			require.True(t, k.Removable(got.Object))
		}
	}
	job := create(t, kind(t, "jobs"), minimal(t, kind(t, "jobs"))).(*batchv1.Job)
	got, err := kind(t, "jobs").PrepareDelete(write("default"), job, nil)
	require.NoError(t, err)
	require.Equal(t, []string{metav1.FinalizerOrphanDependents}, got.Object.(metav1.Object).GetFinalizers(), "jobs orphan their pods unless told otherwise")

	held := d.DeepCopy()
	held.Finalizers = []string{"example.com/mine"}
	got, err = k.PrepareDelete(write("default"), held, nil)
	require.NoError(t, err)
	require.False(t, got.Remove)
	again, err := k.PrepareDelete(write("default"), got.Object, nil)
	require.NoError(t, err)
	require.False(t, again.Changed)
	require.False(t, again.Remove)
}

func TestScale(t *testing.T) {
	k := kind(t, "deploy")
	d := create(t, k, webManifest).(*appsv1.Deployment)
	scale, err := k.GetScale(d)
	require.NoError(t, err)
	require.EqualValues(t, 2, scale.Spec.Replicas)
	require.Equal(t, "app=web", scale.Status.Selector)

	scale.Spec.Replicas = 7
	out, err := k.SetScale(d, scale)
	require.NoError(t, err)
	require.EqualValues(t, 7, *out.(*appsv1.Deployment).Spec.Replicas)
	require.EqualValues(t, 2, *d.Spec.Replicas)

	scale.Spec.Replicas = -1
	_, err = k.SetScale(d, scale)
	require.EqualError(t, err, `Scale.autoscaling "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0`)

	_, err = kind(t, "cm").GetScale(&corev1.ConfigMap{})
	require.True(t, apierrors.IsNotFound(err))
	for _, k := range shared.All() {
		_, err := k.GetScale(create(t, k, minimal(t, k)))
		require.Equal(t, k.HasScale, err == nil, k)
	}
}
