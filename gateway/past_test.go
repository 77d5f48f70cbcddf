package gateway_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/timetravel"
	"github.com/wakehq/wake/gateway"
	"github.com/wakehq/wake/gateway/ledgerapi"
)

// ask returns the events that the ledger's API answers with.
func (c *cluster) ask(t *testing.T, query string) []ledgerapi.Event {
	t.Helper()
	code, _, answer := c.do(t, http.MethodGet, ledgerapi.Prefix+query, "")
	require.Equal(t, http.StatusOK, code, answer)
	var out []ledgerapi.Event
	for line := range strings.Lines(answer) {
		var e ledgerapi.Event
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		out = append(out, e)
	}
	return out
}

func typesOf(list []ledgerapi.Event) (out []string) {
	for _, e := range list {
		out = append(out, e.Type)
	}
	return out
}

func TestThePastCanBeRead(t *testing.T) {
	c := newCluster(t)
	pods := c.client.CoreV1().Pods("default")
	created := c.createPod(t, "web")
	c.bind(t, "web", "n1")
	bound := c.last(t).Revision
	zero := int64(0)
	require.NoError(t, pods.Delete(t.Context(), "web", metav1.DeleteOptions{GracePeriodSeconds: &zero}))

	const path = "/api/v1/namespaces/default/pods"
	get := func(at string) corev1.Pod {
		code, _, answer := c.do(t, http.MethodGet, path+"/web?at="+at, "")
		require.Equal(t, http.StatusOK, code, answer)
		var p corev1.Pod
		require.NoError(t, json.Unmarshal([]byte(answer), &p))
		return p
	}
	require.Empty(t, get(created.ResourceVersion).Spec.NodeName)
	require.Equal(t, "n1", get(fmt.Sprint(bound)).Spec.NodeName)
	code, header, answer := c.do(t, http.MethodGet, path, "", "Wake-At", fmt.Sprint(bound), "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, fmt.Sprint(bound), header.Get("Wake-Revision"))
	require.Contains(t, answer, `"cells":["web","0/1","Pending"`)
	_, _, answer = c.do(t, http.MethodGet, path+"?fieldSelector=spec.nodeName%3Dn1&at="+fmt.Sprint(bound), "")
	require.Contains(t, answer, `"name":"web"`)
	code, _, answer = c.do(t, http.MethodGet, path+"?at=-1h", "")
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, answer, "lies before the ledger's first event")
	_, _, answer = c.do(t, http.MethodGet, path+"?at=0", "")
	require.Contains(t, answer, `"items":[]`)
	code, _, answer = c.do(t, http.MethodGet, path+"/web", "", "Wake-At", "before event "+created.ResourceVersion)
	require.Equal(t, http.StatusNotFound, code, answer)
}

// at returns a client of the cluster as it was at a moment: an ordinary one, whose server's URL says when.
func (c *cluster) at(t *testing.T, text string) kubernetes.Interface {
	t.Helper()
	m, err := timetravel.ParseMoment(text, time.Now())
	require.NoError(t, err)
	config := *c.config
	config.Host = gateway.PastURL(config.Host, m)
	client, err := kubernetes.NewForConfig(&config)
	require.NoError(t, err)
	return client
}

// remove deletes a pod at once.
func (c *cluster) remove(t *testing.T, name string) {
	t.Helper()
	zero := int64(0)
	require.NoError(t, c.client.CoreV1().Pods("default").Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &zero}))
}

func TestAnOrdinaryClientReadsThePast(t *testing.T) {
	c := newCluster(t)
	for _, name := range []string{"a", "b", "c"} {
		c.createPod(t, name)
	}
	then := c.last(t)
	for _, name := range []string{"a", "b", "c"} {
		c.remove(t, name)
	}
	c.createPod(t, "d")
	for _, moment := range []string{fmt.Sprint(then.Revision), fmt.Sprint("before event ", then.Revision+1), then.Stored.Add(time.Microsecond).Format(time.RFC3339Nano)} {
		past := c.at(t, moment)
		pods := past.CoreV1().Pods("default")
		one, err := pods.Get(t.Context(), "b", metav1.GetOptions{})
		require.NoError(t, err, moment)
		require.Equal(t, "b", one.Name)
		_, err = pods.Get(t.Context(), "d", metav1.GetOptions{})
		require.True(t, apierrors.IsNotFound(err), "%v", err)

		first, err := pods.List(t.Context(), metav1.ListOptions{Limit: 2})
		require.NoError(t, err)
		require.Len(t, first.Items, 2)
		require.Equal(t, fmt.Sprint(then.Revision), first.ResourceVersion)
		second, err := pods.List(t.Context(), metav1.ListOptions{Limit: 2, Continue: first.Continue})
		require.NoError(t, err)
		require.Equal(t, "c", second.Items[0].Name)

		resources, err := past.Discovery().ServerResourcesForGroupVersion("apps/v1")
		require.NoError(t, err)
		require.NotEmpty(t, resources.APIResources)
		_, err = past.Discovery().ServerVersion()
		require.NoError(t, err)
	}
}

// The pieces of a list are of one revision, though the moment itself goes on meanwhile.
func TestAListOfAnAgeIsOfOneMoment(t *testing.T) {
	c := newCluster(t)
	for _, name := range []string{"a", "b", "c"} {
		c.createPod(t, name)
	}
	past := c.at(t, "-1ms").CoreV1().Pods("default")
	reaches := func(pods int) { // the moment, as it goes on
		t.Helper()
		require.Eventually(t, func() bool {
			list, err := past.List(t.Context(), metav1.ListOptions{})
			return err == nil && len(list.Items) == pods
		}, 10*time.Second, time.Millisecond)
	}
	reaches(3)
	first, err := past.List(t.Context(), metav1.ListOptions{Limit: 1})
	require.NoError(t, err)
	for _, name := range []string{"b", "c"} {
		c.remove(t, name)
	}
	reaches(1)
	second, err := past.List(t.Context(), metav1.ListOptions{Limit: 5, Continue: first.Continue})
	require.NoError(t, err)
	require.Len(t, second.Items, 2, "b and c are gone only since")
	require.Equal(t, first.ResourceVersion, second.ResourceVersion)
	now, err := past.List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, now.Items, 1)
}

func TestThePastCannotBeWritten(t *testing.T) {
	c := newCluster(t)
	created := c.createPod(t, "web")
	past := c.at(t, created.ResourceVersion)
	pods := past.CoreV1().Pods("default")
	before := c.last(t).Revision
	_, create := pods.Create(t.Context(), pod("new"), metav1.CreateOptions{})
	_, update := pods.Update(t.Context(), created, metav1.UpdateOptions{})
	_, patch := pods.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
	remove := pods.Delete(t.Context(), "web", metav1.DeleteOptions{})
	removeAll := pods.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{})
	bind := pods.Bind(t.Context(), &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, metav1.CreateOptions{})
	for _, err := range []error{create, update, patch, remove, removeAll, bind} {
		require.True(t, apierrors.IsMethodNotSupported(err), "%v", err)
		require.ErrorContains(t, err, "revision "+created.ResourceVersion+" (")
		require.ErrorContains(t, err, "is the past, which can only be read")
	}
	require.ErrorContains(t, remove, `"wake restore pods/web --at `+created.ResourceVersion+` -n default"`)
	_, err := pods.GetLogs("web", &corev1.PodLogOptions{}).Stream(t.Context())
	require.ErrorContains(t, err, "logs are kept by the node, not in the ledger")
	require.Equal(t, before, c.last(t).Revision, "nothing was written")

	review, err := past.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Equal(t, "ada", review.Status.UserInfo.Username)
	dry, err := pods.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
	require.NoError(t, err, "what a change would have come to then may be asked")
	require.Equal(t, "b", dry.Labels["a"])
}

// Whoever watches a moment sees what there was, and then that nothing happens.
func TestAWatchOfThePastIsSilent(t *testing.T) {
	c := newCluster(t)
	created := c.createPod(t, "web")
	c.remove(t, "web")
	pods := c.at(t, created.ResourceVersion).CoreV1().Pods("default")
	second := int64(1)
	watcher, err := pods.Watch(t.Context(), metav1.ListOptions{TimeoutSeconds: &second})
	require.NoError(t, err)
	c.createPod(t, "later")
	first := <-watcher.ResultChan()
	require.Equal(t, watch.Added, first.Type)
	require.Equal(t, "web", first.Object.(*corev1.Pod).Name)
	_, more := <-watcher.ResultChan()
	require.False(t, more, "until its time is up")

	list, err := pods.List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	watcher, err = pods.Watch(t.Context(), metav1.ListOptions{TimeoutSeconds: &second, ResourceVersion: list.ResourceVersion})
	require.NoError(t, err)
	_, more = <-watcher.ResultChan()
	require.False(t, more)

	streaming, sendInitial := c.at(t, created.ResourceVersion), true
	watcher, err = streaming.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{TimeoutSeconds: &second, AllowWatchBookmarks: true,
		SendInitialEvents: &sendInitial, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
	require.NoError(t, err)
	require.Equal(t, watch.Added, (<-watcher.ResultChan()).Type)
	done := <-watcher.ResultChan()
	require.Equal(t, watch.Bookmark, done.Type)
	require.Equal(t, "true", done.Object.(*corev1.Pod).Annotations[metav1.InitialEventsAnnotationKey])
}

// Ages are counted to the moment, but times stay what they are.
func TestAgesAreOfThen(t *testing.T) {
	c := newCluster(t)
	started := metav1.NewTime(time.Now().Add(-3 * time.Hour).Truncate(time.Second))
	p := c.createPod(t, "web")
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &started, ContainerStatuses: []corev1.ContainerStatus{{Name: "main", RestartCount: 2,
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: started}}}}}
	p, err := c.client.CoreV1().Pods("default").UpdateStatus(t.Context(), p, metav1.UpdateOptions{})
	require.NoError(t, err)
	table := func(path string) *metav1.Table {
		code, _, answer := c.do(t, http.MethodGet, path, "", "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
		require.Equal(t, http.StatusOK, code, answer)
		var out metav1.Table
		require.NoError(t, json.Unmarshal([]byte(answer), &out))
		return &out
	}
	const pods = "/api/v1/namespaces/default/pods"
	stored := c.last(t).Stored
	late := stored.Add(time.Hour)
	then := table("/at/" + p.ResourceVersion + pods)
	require.Equal(t, "2 (3h ago)", then.Rows[0].Cells[3])
	require.Regexp(t, `^\d+s$`, then.Rows[0].Cells[4])
	require.Contains(t, string(then.Rows[0].Object.Raw), p.CreationTimestamp.UTC().Format(time.RFC3339), "the object's own time is told as it was")
	require.Equal(t, then.Rows[0].Cells[3], table("/at/" + p.ResourceVersion + pods + "/web").Rows[0].Cells[3])

	code, _, answer := c.do(t, http.MethodGet, "/at/"+late.Format(time.RFC3339)+pods, "")
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, answer, "lies ahead")
}

func TestTheLedgerTellsWhatHappened(t *testing.T) {
	c := newCluster(t)
	created := c.createPod(t, "web")
	c.bind(t, "web", "n1")
	c.createPod(t, "other")

	require.Equal(t, []string{"PodCreated", "PodBound"}, typesOf(c.ask(t, "/events?ref=pods/default/web")))
	require.Equal(t, []string{"PodBound"}, typesOf(c.ask(t, "/events?type=PodBound")))
	require.Equal(t, []string{"PodBound", "PodCreated"}, typesOf(c.ask(t, "/events?tail=2")))
	require.Equal(t, []string{"PodCreated", "PodBound", "PodCreated"}, typesOf(c.ask(t, "/events?actor=user:ada")))
	require.Len(t, c.ask(t, "/events?since=-1h"), int(c.last(t).Revision))
	require.Empty(t, c.ask(t, "/events?until=-1h"))
	require.Equal(t, []string{"PodCreated"}, typesOf(c.ask(t, "/causes/"+created.ResourceVersion)))

	history := c.ask(t, "/history/core/pods/default/web?objects=1")
	require.Len(t, history, 2)
	require.Empty(t, history[0].Before)
	require.Contains(t, string(history[0].Object), `"name":"web"`)
	require.NotContains(t, string(history[1].Before), "n1")
	require.Contains(t, string(history[1].Object), `"nodeName":"n1"`)

	code, _, answer := c.do(t, http.MethodGet, ledgerapi.Prefix+"/state?resource=pods&at="+created.ResourceVersion, "")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, 1, strings.Count(answer, "\n"), answer)
	for _, query := range []string{"/events?from=x", "/events?reff=x", "/events?ref=x", "/state?at=soon", "/events?since=x", "/causes/x"} {
		code, _, answer := c.do(t, http.MethodGet, ledgerapi.Prefix+query, "")
		require.Equal(t, http.StatusBadRequest, code, "%s: %s", query, answer)
	}
	code, _, _ = c.do(t, http.MethodGet, ledgerapi.Prefix+"/causes/100000", "")
	require.Equal(t, http.StatusNotFound, code)
}

func TestTheLedgerCanBeFollowed(t *testing.T) {
	c := newCluster(t)
	c.createPod(t, "before")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.config.Host+ledgerapi.Prefix+"/events?follow=1&actor=user:ada", nil)
	require.NoError(t, err)
	response, err := c.http.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	next := func() (e ledgerapi.Event) {
		require.True(t, lines.Scan())
		require.NoError(t, json.Unmarshal(lines.Bytes(), &e))
		return e
	}
	require.Equal(t, "before", next().Ref.Name)
	c.createPod(t, "after")
	require.Equal(t, "after", next().Ref.Name)
}

func TestSecretsAreNotTold(t *testing.T) {
	c := newCluster(t)
	_, err := c.client.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"},
		StringData: map[string]string{"password": "hunter2"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	got, err := c.client.CoreV1().Secrets("default").Get(t.Context(), "s", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "hunter2", string(got.Data["password"]))
	for _, query := range []string{"/events?objects=1&type=SecretCreated", "/state?resource=secrets&at=" + got.ResourceVersion} {
		_, _, answer := c.do(t, http.MethodGet, ledgerapi.Prefix+query, "")
		require.Contains(t, answer, `"password":null`)
		require.NotContains(t, answer, "aHVudGVyMg")
	}
}

func TestNotesAreShownAsEvents(t *testing.T) {
	c := newCluster(t)
	p := c.createPod(t, "web")
	o, ok := c.view.State().Get(events.Ref{Resource: "pods", Namespace: "default", Name: "web"})
	require.True(t, ok)
	proposals := []events.Proposal{events.Observe(o, o.Typed(), "PodUnschedulable").With(events.Note{Reason: "FailedScheduling", Message: "no nodes", Warning: true})}
	events.Audit{Actor: "service:scheduler", At: time.Now()}.Sign(proposals)
	revision, err := c.ledger.Append(t.Context(), proposals...)
	require.NoError(t, err)
	shown := c.client.CoreV1().Events("default")
	list, err := shown.List(t.Context(), metav1.ListOptions{ResourceVersion: fmt.Sprint(revision), FieldSelector: "involvedObject.uid=" + string(p.UID)})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	require.Equal(t, "no nodes", list.Items[0].Message)
	modern, err := c.client.EventsV1().Events("default").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Equal(t, "no nodes", modern.Items[0].Note)

	err = shown.Delete(t.Context(), list.Items[0].Name, metav1.DeleteOptions{})
	require.ErrorContains(t, err, "what has happened can't be changed")
	require.NoError(t, shown.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
}
