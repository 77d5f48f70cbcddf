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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
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
	_, _, answer = c.do(t, http.MethodGet, path+"?at=-1h", "")
	require.Contains(t, answer, `"items":[]`)
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
