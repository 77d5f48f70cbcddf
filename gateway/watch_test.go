package gateway_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/wakehq/wake/events"
)

// next returns a watch's next event as "ADDED web".
func next(t *testing.T, w watch.Interface) (string, runtime.Object) {
	t.Helper()
	select {
	case e, ok := <-w.ResultChan():
		require.True(t, ok, "the watch ended")
		if status, failed := e.Object.(*metav1.Status); failed {
			return string(e.Type) + " " + string(status.Reason), e.Object
		}
		m, err := meta.Accessor(e.Object)
		require.NoError(t, err)
		return string(e.Type) + " " + m.GetName(), e.Object
	case <-t.Context().Done():
		t.Fatal("no event")
		return "", nil
	}
}

func requireNext(t *testing.T, w watch.Interface, want string) runtime.Object {
	t.Helper()
	got, obj := next(t, w)
	require.Equal(t, want, got)
	return obj
}

func TestWatchTellsWhatHappens(t *testing.T) {
	c := newCluster(t)
	for _, format := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		t.Run(format, func(t *testing.T) {
			maps := c.speaking(t, format).CoreV1().ConfigMaps("default")
			name := "map-" + format[len(format)-4:]
			created, err := maps.Create(t.Context(), configMap(name, "1"), metav1.CreateOptions{})
			require.NoError(t, err)

			w, err := maps.Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
			require.NoError(t, err)
			defer w.Stop()
			require.Equal(t, created, requireNext(t, w, "ADDED "+name))
			changed := created.DeepCopy()
			changed.Data["key"] = "2"
			changed, err = maps.Update(t.Context(), changed, metav1.UpdateOptions{})
			require.NoError(t, err)
			require.Equal(t, changed, requireNext(t, w, "MODIFIED "+name))
			require.NoError(t, maps.Delete(t.Context(), name, metav1.DeleteOptions{}))
			gone := requireNext(t, w, "DELETED "+name).(*corev1.ConfigMap)
			require.Equal(t, fmt.Sprint(c.last(t).Revision), gone.ResourceVersion)
			require.Equal(t, "2", gone.Data["key"])
		})
	}
}

func TestWatchResumes(t *testing.T) {
	c := newCluster(t)
	maps := c.client.CoreV1().ConfigMaps("default")
	first, err := maps.Create(t.Context(), configMap("first", "x"), metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = maps.Create(t.Context(), configMap("second", "x"), metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, maps.Delete(t.Context(), "first", metav1.DeleteOptions{}))

	w, err := maps.Watch(t.Context(), metav1.ListOptions{ResourceVersion: first.ResourceVersion})
	require.NoError(t, err)
	defer w.Stop()
	requireNext(t, w, "ADDED second")
	requireNext(t, w, "DELETED first")
}

// What the view no longer holds can't be watched from: the client must list again.
func TestWatchFromTooLongAgoIsGone(t *testing.T) {
	c := newCluster(t)
	start := c.createPod(t, "web")
	o, ok := c.view.State().Get(events.Ref{Resource: "pods", Namespace: "default", Name: "web"})
	require.True(t, ok)
	expect := o.Expect(events.Observed)
	for range events.HeldChanges + 1 {
		p := events.Observe(o, o.Typed(), "PodStatusChanged")
		p.Expect, p.Schema, p.Actor = expect, events.SchemaVersion, "test"
		var err error
		expect, err = c.ledger.Append(t.Context(), p)
		require.NoError(t, err)
	}
	_, err := c.view.WaitFor(t.Context(), expect)
	require.NoError(t, err)
	_, err = c.client.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: start.ResourceVersion})
	require.True(t, apierrors.IsResourceExpired(err), "%v", err)
}

func TestSelectorsMakeObjectsComeAndGo(t *testing.T) {
	c := newCluster(t)
	pods := c.client.CoreV1().Pods("default")
	c.createPod(t, "web")
	front, err := pods.Watch(t.Context(), metav1.ListOptions{LabelSelector: "tier=front"})
	require.NoError(t, err)
	defer front.Stop()
	onNode, err := pods.Watch(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=n1"})
	require.NoError(t, err)
	defer onNode.Stop()

	label := func(value string) {
		_, err := pods.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"labels":{"tier":`+value+`}}}`), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	label(`"front"`)
	requireNext(t, front, "ADDED web")
	label(`"back"`)
	requireNext(t, front, "DELETED web")
	label(`"front"`)
	requireNext(t, front, "ADDED web")
	c.bind(t, "web", "n1")
	requireNext(t, front, "MODIFIED web")
	require.Equal(t, "n1", requireNext(t, onNode, "ADDED web").(*corev1.Pod).Spec.NodeName)

	list, err := pods.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=n1,status.phase=Pending", LabelSelector: "tier in (front)"})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
}

func TestWatchListEndsWithABookmark(t *testing.T) {
	c := newCluster(t)
	c.createPod(t, "a")
	c.createPod(t, "b")
	w, err := c.client.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{AllowWatchBookmarks: true, SendInitialEvents: ptr.To(true),
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
	require.NoError(t, err)
	defer w.Stop()
	requireNext(t, w, "ADDED a")
	requireNext(t, w, "ADDED b")
	bookmark := requireNext(t, w, "BOOKMARK ").(*corev1.Pod)
	require.Equal(t, "true", bookmark.Annotations[metav1.InitialEventsAnnotationKey])
	require.Equal(t, fmt.Sprint(c.view.State().Revision()), bookmark.ResourceVersion)
	c.createPod(t, "c")
	requireNext(t, w, "ADDED c")

	_, err = c.client.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{SendInitialEvents: ptr.To(true)})
	require.Error(t, err)
}

func TestInformersFollow(t *testing.T) {
	c := newCluster(t)
	c.createPod(t, "before")
	factory := informers.NewSharedInformerFactory(c.client, 0)
	informer := factory.Core().V1().Pods().Informer()
	added := make(chan string, 10)
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) { added <- obj.(*corev1.Pod).Name }})
	require.NoError(t, err)
	factory.Start(t.Context().Done())
	require.True(t, cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced))
	require.Equal(t, "before", <-added)
	c.createPod(t, "after")
	require.Equal(t, "after", <-added)
}

func TestWatchAsTable(t *testing.T) {
	c := newCluster(t)
	c.createPod(t, "a")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.config.Host+"/api/v1/namespaces/default/pods?watch=1", nil)
	require.NoError(t, err)
	request.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	response, err := c.http.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	read := func() (string, metav1.Table) {
		var e struct {
			Type   string
			Object metav1.Table
		}
		require.True(t, lines.Scan())
		require.NoError(t, json.Unmarshal(lines.Bytes(), &e))
		return e.Type, e.Object
	}
	kind, table := read()
	require.Equal(t, "ADDED", kind)
	require.Equal(t, "Name", table.ColumnDefinitions[0].Name)
	require.Equal(t, "a", table.Rows[0].Cells[0])
	c.createPod(t, "b")
	kind, table = read()
	require.Equal(t, "ADDED", kind)
	require.Empty(t, table.ColumnDefinitions, "columns are sent once")
	require.Equal(t, "b", table.Rows[0].Cells[0])
}

func TestWatchEndsWhenTold(t *testing.T) {
	c := newCluster(t)
	w, err := c.client.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{TimeoutSeconds: ptr.To[int64](1)})
	require.NoError(t, err)
	_, open := <-w.ResultChan()
	require.False(t, open)
}
