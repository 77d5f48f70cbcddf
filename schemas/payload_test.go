package schemas

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// noon is when tests take place.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func write(namespace string) *Write {
	return &Write{Namespace: namespace, Now: noon.Add(123 * time.Millisecond), NewUID: func() types.UID { return "u1" }, Suffix: func() string { return "x7x7x" }}
}

// create takes a manifest through what the gateway does with one.
func create(t testing.TB, k *Kind, manifest string) runtime.Object {
	t.Helper()
	obj, _, err := k.DecodeBody([]byte(manifest), "application/yaml", metav1.FieldValidationStrict)
	require.NoError(t, err)
	namespace := ""
	if k.Namespaced {
		namespace = "default"
	}
	out, _, err := k.PrepareCreate(write(namespace), obj)
	require.NoError(t, err)
	return out
}

// stored takes obj to the ledger and back.
func stored(t testing.TB, k *Kind, obj runtime.Object) runtime.Object {
	t.Helper()
	desired, err := k.EncodeDesired(obj)
	require.NoError(t, err)
	status, err := k.EncodeStatus(obj)
	require.NoError(t, err)
	out, err := k.Decode(desired, status)
	require.NoError(t, err)
	return out
}

const podManifest = `
metadata: {name: web, labels: {app: web}, annotations: {note: "typical"}}
spec:
  containers:
  - name: web
    image: registry.example/web:1.2
    args: [--port, "8080"]
    env: [{name: A, value: a}, {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    ports: [{containerPort: 8080, name: http}]
    resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 256Mi}}
    readinessProbe: {httpGet: {path: /ready, port: http}}
    volumeMounts: [{name: config, mountPath: /etc/web}]
  volumes: [{name: config, configMap: {name: web}}]
`

func TestAPodBeginsPending(t *testing.T) {
	k := kind(t, "pods")
	pod := create(t, k, podManifest).(*corev1.Pod)
	require.Equal(t, corev1.PodPending, pod.Status.Phase)
	require.Equal(t, corev1.PodQOSBurstable, pod.Status.QOSClass)
	require.Equal(t, "default", pod.Spec.ServiceAccountName)
	require.EqualValues(t, 0, *pod.Spec.Priority)
	require.Len(t, pod.Spec.Tolerations, 2)
	require.Equal(t, corev1.PullIfNotPresent, pod.Spec.Containers[0].ImagePullPolicy)
	require.EqualValues(t, "u1", pod.UID)
	require.True(t, pod.CreationTimestamp.Equal(&metav1.Time{Time: noon}))

	desired, err := k.EncodeDesired(pod)
	require.NoError(t, err)
	again, err := k.Decode(desired, nil)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(pod, again))
}

func TestPayloadsLeaveOutWhatIsNotTheirs(t *testing.T) {
	k := kind(t, "deploy")
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", ResourceVersion: "17"}, Status: appsv1.DeploymentStatus{Replicas: 3}}
	with, err := k.EncodeDesired(d)
	require.NoError(t, err)
	require.Equal(t, "17", d.ResourceVersion, "encoding must not change the object")
	require.EqualValues(t, 3, d.Status.Replicas, "encoding must not change the object")
	without, err := k.EncodeDesired(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}})
	require.NoError(t, err)
	require.Equal(t, without, with)

	status, err := k.EncodeStatus(d)
	require.NoError(t, err)
	obj, err := k.Decode(with, status)
	require.NoError(t, err)
	require.EqualValues(t, 3, obj.(*appsv1.Deployment).Status.Replicas)
	require.True(t, k.StatusEqual(obj, d))
	require.False(t, k.StatusEqual(obj, &appsv1.Deployment{}))

	other := &appsv1.Deployment{}
	k.SetStatus(other, d)
	require.EqualValues(t, 3, other.Status.Replicas)
}

func TestEncodingRefusesAnotherKind(t *testing.T) {
	_, err := kind(t, "deploy").EncodeDesired(&corev1.Pod{})
	require.EqualError(t, err, "encoding a Deployment: got a *v1.Pod, want a *v1.Deployment")
	_, err = kind(t, "pods").Decode([]byte{0xff}, nil)
	require.ErrorContains(t, err, "reading the desired facet of a Pod (1 bytes)")
}

func TestANamespacesPhaseFollowsItsDeletion(t *testing.T) {
	k := kind(t, "ns")
	ns := create(t, k, "metadata: {name: a}").(*corev1.Namespace)
	require.Equal(t, corev1.NamespaceActive, ns.Status.Phase)
	require.Equal(t, "a", ns.Labels[corev1.LabelMetadataName])
	d, err := k.PrepareDelete(write(""), ns, nil)
	require.NoError(t, err)
	require.True(t, d.Changed)
	require.False(t, d.Remove, "a namespace is held until it is empty")
	require.Equal(t, corev1.NamespaceTerminating, stored(t, k, d.Object).(*corev1.Namespace).Status.Phase)
}

func BenchmarkEncodeDesired(b *testing.B) {
	k := kind(b, "pods")
	pod := create(b, k, podManifest)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.EncodeDesired(pod); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	k := kind(b, "pods")
	pod := create(b, k, podManifest)
	desired, err := k.EncodeDesired(pod)
	require.NoError(b, err)
	status, err := k.EncodeStatus(pod)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Decode(desired, status); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeBody(b *testing.B) {
	k := kind(b, "pods")
	var body strings.Builder
	require.NoError(b, shared.Encode(&body, create(b, k, podManifest), "application/json", false))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := k.DecodeBody([]byte(body.String()), "application/json", metav1.FieldValidationStrict); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrepareCreate(b *testing.B) {
	k := kind(b, "pods")
	obj, _, err := k.DecodeBody([]byte(podManifest), "application/yaml", metav1.FieldValidationStrict)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := k.PrepareCreate(write("default"), obj); err != nil {
			b.Fatal(err)
		}
	}
}
