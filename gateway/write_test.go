package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
)

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To(replicas), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod(name).Spec}}}
}

// Both wire formats carry the same objects.
func TestObjectsSurviveTheRoundTrip(t *testing.T) {
	c := newCluster(t)
	for _, format := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		t.Run(format, func(t *testing.T) {
			deployments := c.speaking(t, format).AppsV1().Deployments("default")
			name := "web-" + format[len(format)-4:]

			created, err := deployments.Create(t.Context(), deployment(name, 2), metav1.CreateOptions{})
			require.NoError(t, err)
			require.NotEmpty(t, created.UID)
			require.Equal(t, int64(1), created.Generation)
			require.Equal(t, appsv1.RollingUpdateDeploymentStrategyType, created.Spec.Strategy.Type, "defaults are set")

			got, err := deployments.Get(t.Context(), name, metav1.GetOptions{})
			require.NoError(t, err)
			require.Equal(t, created, got)
			list, err := deployments.List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
			require.NoError(t, err)
			require.Len(t, list.Items, 1)
			require.Equal(t, got.Spec, list.Items[0].Spec)

			got.Spec.Replicas = ptr.To[int32](5)
			updated, err := deployments.Update(t.Context(), got, metav1.UpdateOptions{})
			require.NoError(t, err)
			require.Equal(t, int64(2), updated.Generation)
			require.NoError(t, deployments.Delete(t.Context(), name, metav1.DeleteOptions{}))
			_, err = deployments.Get(t.Context(), name, metav1.GetOptions{})
			require.True(t, apierrors.IsNotFound(err), "%v", err)
		})
	}
}

func TestEventsNameWhoDidWhat(t *testing.T) {
	c := newCluster(t)
	deployments := c.client.AppsV1().Deployments("default")
	created, err := deployments.Create(t.Context(), deployment("web", 2), metav1.CreateOptions{})
	require.NoError(t, err)
	e := c.last(t)
	require.Equal(t, "DeploymentCreated", e.Type)
	require.Equal(t, "user:ada", e.Actor)
	require.Equal(t, e.Revision-1, e.Basis)
	require.Zero(t, e.Cause)
	require.Zero(t, e.Correlation)
	require.Equal(t, fmt.Sprint(e.Revision), created.ResourceVersion)

	created.Spec.Replicas = ptr.To[int32](3)
	created.Labels = map[string]string{"example.com/team": "a"}
	_, err = deployments.Update(t.Context(), created, metav1.UpdateOptions{})
	require.NoError(t, err)
	e = c.last(t)
	require.Equal(t, "DeploymentChanged", e.Type)
	require.Equal(t, []string{"metadata.labels", "spec.replicas"}, e.Changed)

	scale, err := deployments.GetScale(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	scale.Spec.Replicas = 7
	_, err = deployments.UpdateScale(t.Context(), "web", scale, metav1.UpdateOptions{})
	require.NoError(t, err)
	e = c.last(t)
	require.Equal(t, "DeploymentScaled", e.Type)
	require.Equal(t, []string{"spec.replicas"}, e.Changed)

	require.NoError(t, deployments.Delete(t.Context(), "web", metav1.DeleteOptions{}))
	e = c.last(t)
	require.Equal(t, "DeploymentDeleted", e.Type)
	require.True(t, e.Tombstone)
}

func TestConflictsAreByFacet(t *testing.T) {
	c := newCluster(t)
	pods := c.client.CoreV1().Pods("default")
	seen := c.createPod(t, "web")
	c.bind(t, "web", "n1")

	// Whoever saw the pod before it was placed may still report its status and change its labels.
	status := seen.DeepCopy()
	status.Status.Phase = corev1.PodRunning
	_, err := pods.UpdateStatus(t.Context(), status, metav1.UpdateOptions{})
	require.NoError(t, err)
	relabelled := seen.DeepCopy()
	relabelled.Labels["tier"] = "front"
	updated, err := pods.Update(t.Context(), relabelled, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Equal(t, "n1", updated.Spec.NodeName)
	require.Equal(t, corev1.PodRunning, updated.Status.Phase)

	// But not a second time: each facet has moved on.
	status.Status.Phase = corev1.PodFailed
	_, err = pods.UpdateStatus(t.Context(), status, metav1.UpdateOptions{})
	require.True(t, apierrors.IsConflict(err), "%v", err)
	relabelled.Labels["tier"] = "back"
	_, err = pods.Update(t.Context(), relabelled, metav1.UpdateOptions{})
	require.True(t, apierrors.IsConflict(err), "%v", err)
	require.ErrorContains(t, err, `Operation cannot be fulfilled on pods "web": the object has been modified; please apply your changes to the latest version and try again`)

	// Without a resourceVersion the last writer wins.
	relabelled.ResourceVersion = ""
	_, err = pods.Update(t.Context(), relabelled, metav1.UpdateOptions{})
	require.NoError(t, err)
}

// Neither others who write the same object nor a ledger that refuses, repeats and dawdles lose a patch.
func TestConcurrentPatchesAllLand(t *testing.T) {
	c := newClusterOn(t, memory.New(memory.Faults{Conflict: 0.1, Duplicate: 0.2, Delay: 0.2, Stall: 0.2, MaxDelay: 5 * time.Millisecond}))
	maps := c.client.CoreV1().ConfigMaps("default")
	_, err := maps.Create(t.Context(), configMap("shared", "x"), metav1.CreateOptions{})
	require.NoError(t, err)
	const writers = 8
	var group sync.WaitGroup
	failures := make([]error, writers)
	for i := range writers {
		group.Go(func() {
			patch := fmt.Sprintf(`{"data":{"writer-%d":"was here"}}`, i)
			_, failures[i] = maps.Patch(t.Context(), "shared", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		})
	}
	group.Wait()
	for _, err := range failures {
		require.NoError(t, err)
	}
	got, err := maps.Get(t.Context(), "shared", metav1.GetOptions{})
	require.NoError(t, err)
	require.Len(t, got.Data, writers+1)
}

func TestWhatChangesNothingIsNoEvent(t *testing.T) {
	c := newCluster(t)
	deployments := c.client.AppsV1().Deployments("default")
	created, err := deployments.Create(t.Context(), deployment("web", 2), metav1.CreateOptions{})
	require.NoError(t, err)
	before := c.last(t).Revision

	same, err := deployments.Update(t.Context(), created.DeepCopy(), metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Equal(t, created, same)
	_, err = deployments.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	_, err = deployments.UpdateStatus(t.Context(), created, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Equal(t, before, c.last(t).Revision)
}

func TestDryRunWritesNothing(t *testing.T) {
	c := newCluster(t)
	c.createPod(t, "kept")
	before := c.last(t).Revision
	pods := c.client.CoreV1().Pods("default")
	dry := []string{metav1.DryRunAll}

	created, err := pods.Create(t.Context(), pod("dry"), metav1.CreateOptions{DryRun: dry})
	require.NoError(t, err)
	require.NotEmpty(t, created.UID)
	patched, err := pods.Patch(t.Context(), "kept", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{DryRun: dry})
	require.NoError(t, err)
	require.Equal(t, "b", patched.Labels["a"])
	require.NoError(t, pods.Delete(t.Context(), "kept", metav1.DeleteOptions{DryRun: dry}))
	require.Equal(t, before, c.last(t).Revision)

	_, err = pods.Create(t.Context(), pod("x"), metav1.CreateOptions{DryRun: []string{"Some"}})
	require.True(t, apierrors.IsInvalid(err), "%v", err)
}

func TestFieldValidation(t *testing.T) {
	c := newCluster(t)
	body := func(name string) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"` + name + `"},"spec":{"containers":[{"name":"c","image":"i","imagine":1}]}}`
	}
	const path, unknown = "/api/v1/namespaces/default/pods", `unknown field "spec.containers[0].imagine"`

	code, _, answer := c.do(t, http.MethodPost, path+"?fieldValidation=Strict", body("strict"))
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, answer, "strict decoding error: unknown field")
	code, header, _ := c.do(t, http.MethodPost, path, body("warn"))
	require.Equal(t, http.StatusCreated, code)
	require.Equal(t, `299 - "unknown field \"spec.containers[0].imagine\""`, header.Get("Warning"))
	code, header, _ = c.do(t, http.MethodPost, path+"?fieldValidation=Ignore", body("ignore"))
	require.Equal(t, http.StatusCreated, code)
	require.Empty(t, header.Get("Warning"))
	code, _, answer = c.do(t, http.MethodPatch, path+"/warn?fieldValidation=Strict", `{"spec":{"containers":[{"name":"c","imagine":1}]}}`,
		"Content-Type", string(types.StrategicMergePatchType))
	require.Equal(t, http.StatusUnprocessableEntity, code)
	require.Contains(t, answer, strings.ReplaceAll(unknown, `"`, `\"`))
}

func TestBadRequests(t *testing.T) {
	c := newCluster(t)
	c.createPod(t, "web")
	valid := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"}}`
	big := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"k":"` + strings.Repeat("x", 3<<20) + `"}}`
	for _, test := range []struct {
		name, method, path, body string
		code                     int
		reason                   metav1.StatusReason
		message                  string
	}{
		{"no such resource", "GET", "/api/v1/namespaces/default/nothings", "", 404, "NotFound", "the server could not find the requested resource"},
		{"no such group", "GET", "/apis/example.com/v1/things", "", 404, "NotFound", "the server could not find the requested resource"},
		{"empty version", "GET", "/apis/apps//", "", 404, "NotFound", "could not find"},
		{"empty resource", "GET", "/api/v1//pods", "", 404, "NotFound", "could not find"},
		{"too deep", "GET", "/api/v1/namespaces/default/pods/web/log/more", "", 404, "NotFound", "could not find"},
		{"cluster-scoped in a namespace", "GET", "/api/v1/namespaces/default/nodes/n1", "", 404, "NotFound", "could not find"},
		{"namespaced without one", "GET", "/api/v1/pods/web", "", 404, "NotFound", "could not find"},
		{"bad selector", "GET", "/api/v1/pods?labelSelector=a%3D%3D%3D", "", 400, "BadRequest", "unable to parse label selector"},
		{"bad field", "GET", "/api/v1/pods?fieldSelector=spec.colour%3Dred", "", 400, "BadRequest", "field label not supported: spec.colour"},
		{"no such object", "GET", "/api/v1/namespaces/default/pods/none", "", 404, "NotFound", `pods "none" not found`},
		{"no such namespace", "POST", "/api/v1/namespaces/none/configmaps", valid, 404, "NotFound", `namespaces "none" not found`},
		{"malformed", "POST", "/api/v1/namespaces/default/configmaps", `{"apiVersion`, 400, "BadRequest", "unrecognized"},
		{"empty", "POST", "/api/v1/namespaces/default/configmaps", "", 400, "BadRequest", "unexpected end of JSON input"},
		{"another kind", "POST", "/api/v1/namespaces/default/pods", valid, 400, "BadRequest", "cannot be handled as a Pod"},
		{"another version", "POST", "/apis/apps/v1/namespaces/default/deployments", `{"apiVersion":"apps/v2","kind":"Deployment"}`, 400, "BadRequest",
			"does not match the expected API version"},
		{"another namespace", "POST", "/api/v1/namespaces/default/configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","namespace":"x"}}`,
			400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request"},
		{"another name", "PUT", "/api/v1/namespaces/default/pods/web", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"other"}}`, 400, "BadRequest",
			"the name of the object (other) does not match the name on the URL (web)"},
		{"not DNS", "POST", "/api/v1/namespaces/default/configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"A_B"}}`, 422, "Invalid",
			"a lowercase RFC 1123 subdomain"},
		{"too large", "POST", "/api/v1/namespaces/default/configmaps", big, 413, "RequestEntityTooLarge", "limit is 3145728"},
		{"the past", "DELETE", "/api/v1/namespaces/default/pods/web?at=3", "", 405, "MethodNotAllowed", "is the past, which can only be read"},
		{"the future", "GET", "/api/v1/pods?at=100000", "", 400, "BadRequest", "lies ahead"},
		{"exec", "POST", "/api/v1/namespaces/default/pods/web/exec", "", 501, "NotImplemented", "exec of pods is not implemented"},
		{"no such subresource", "GET", "/api/v1/namespaces/default/configmaps/web/log", "", 404, "NotFound", "could not find"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := c.last(t).Revision
			code, _, answer := c.do(t, test.method, test.path, test.body, "Content-Type", "application/json")
			require.Equal(t, test.code, code, answer)
			require.Contains(t, answer, `"kind":"Status"`)
			require.Contains(t, answer, `"reason":"`+string(test.reason)+`"`)
			require.Contains(t, strings.ReplaceAll(answer, `\"`, `"`), test.message)
			require.Equal(t, before, c.last(t).Revision, "what is refused changes nothing")
		})
	}
}

func TestStrangersStayOut(t *testing.T) {
	c := newCluster(t)
	config := *c.config
	config.CertData, config.KeyData = nil, nil
	anonymous, err := kubernetes.NewForConfig(&config)
	require.NoError(t, err)
	_, err = anonymous.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	require.True(t, apierrors.IsUnauthorized(err), "%v", err)
	info, err := anonymous.Discovery().ServerVersion()
	require.NoError(t, err)
	require.Contains(t, info.GitVersion, "+wake-test")
}

func TestAddressesAreGivenOnce(t *testing.T) {
	c := newCluster(t)
	services := c.client.CoreV1().Services("default")
	service := func(name, address string, nodePort int32) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{ClusterIP: address, Ports: []corev1.ServicePort{{Port: 80, NodePort: nodePort}}}}
		if nodePort != 0 {
			s.Spec.Type = corev1.ServiceTypeNodePort
		}
		return s
	}
	_, err := services.Create(t.Context(), service("first", "10.96.0.7", 30080), metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = services.Create(t.Context(), service("second", "10.96.0.7", 0), metav1.CreateOptions{})
	require.ErrorContains(t, err, `Service "second" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.7"]: failed to allocate IP 10.96.0.7: provided IP is already allocated`)
	_, err = services.Create(t.Context(), service("second", "", 30080), metav1.CreateOptions{})
	require.ErrorContains(t, err, `spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated`)
	_, err = services.Create(t.Context(), service("second", "", 8080), metav1.CreateOptions{})
	require.ErrorContains(t, err, `spec.ports[0].nodePort: Invalid value: 8080: provided port is not in the valid range. The range of valid ports is 30000-32767`)
	_, err = services.Create(t.Context(), service("second", "192.168.0.7", 0), metav1.CreateOptions{})
	require.ErrorContains(t, err, "is not in the valid range. The range of valid IPs is 10.96.0.0/16")
	_, err = services.Create(t.Context(), service("second", "", 0), metav1.CreateOptions{})
	require.NoError(t, err)
}

func TestLeasesAreCreatedByUpdate(t *testing.T) {
	c := newCluster(t)
	code, _, answer := c.do(t, http.MethodPut, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1",
		`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"n1","namespace":"kube-node-lease"},"spec":{"holderIdentity":"n1"}}`)
	require.Equal(t, http.StatusCreated, code, answer)
	require.Equal(t, "LeaseCreated", c.last(t).Type)
}

func TestANodeRegistersWithItsStatus(t *testing.T) {
	c := newCluster(t)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Capacity: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("110")}}}
	_, err := c.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
	require.NoError(t, err)
	got, err := c.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, int64(110), got.Status.Capacity.Pods().Value())
	require.Equal(t, "NodeStatusChanged", c.last(t).Type)

	// But nobody says of their own pod that it runs.
	p := c.createPod(t, "web", func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning })
	require.Equal(t, corev1.PodPending, p.Status.Phase)
	require.Equal(t, "PodCreated", c.last(t).Type)
}

func TestNamesAreGenerated(t *testing.T) {
	c := newCluster(t)
	created := c.createPod(t, "", func(p *corev1.Pod) { p.GenerateName = "web-" })
	require.Regexp(t, `^web-[a-z0-9]{5}$`, created.Name)
	require.Equal(t, events.Ref{Resource: "pods", Namespace: "default", Name: created.Name}, c.last(t).Ref)
}
