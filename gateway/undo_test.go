package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/gateway/restore"
)

const restorePath = "/apis/ledger.wake.dev/v1/restore"

// undo asks to restore; the answer is nil unless the code is 200.
func (c *cluster) undo(t testing.TB, wanted restore.Request, query string) (int, *restore.Answer, string) {
	t.Helper()
	body, err := json.Marshal(wanted)
	require.NoError(t, err)
	code, _, answer := c.do(t, http.MethodPost, restorePath+query, string(body), "Content-Type", "application/json")
	if code != http.StatusOK {
		return code, nil, answer
	}
	out := &restore.Answer{}
	require.NoError(t, json.Unmarshal([]byte(answer), out))
	return code, out, answer
}

func TestRestore(t *testing.T) {
	c := newCluster(t)
	maps := c.client.CoreV1().ConfigMaps("default")
	for _, name := range []string{"a", "b"} {
		_, err := maps.Create(t.Context(), configMap(name, "red"), metav1.CreateOptions{})
		require.NoError(t, err)
	}
	then := c.last(t).Revision
	_, err := maps.Update(t.Context(), configMap("a", "blue"), metav1.UpdateOptions{})
	require.NoError(t, err)
	changed := c.last(t).Revision
	require.NoError(t, maps.Delete(t.Context(), "b", metav1.DeleteOptions{}))
	before := c.last(t).Revision

	wanted := restore.Request{At: fmt.Sprint(then), Kind: &restore.Ref{Resource: "configmaps", Namespace: "default"}}
	_, plan, _ := c.undo(t, wanted, "?dryRun=All")
	require.Equal(t, before, c.last(t).Revision, "a dry run writes nothing")
	require.True(t, plan.DryRun)
	require.Equal(t, 2, plan.Events)
	require.Equal(t, []restore.Field{{Path: "data.key", Now: "blue", Then: "red"}}, plan.Objects[0].Changes)
	require.Equal(t, restore.Create, plan.Objects[1].Action)

	wanted.Digest = "another"
	code, _, answer := c.undo(t, wanted, "")
	require.Equal(t, http.StatusConflict, code)
	require.Contains(t, answer, "the cluster has changed since the plan was made")
	wanted.Digest = plan.Digest
	_, done, _ := c.undo(t, wanted, "")
	require.Equal(t, before+2, done.Appended)
	require.Equal(t, []uint64{before + 1, before + 2}, []uint64{done.Objects[0].Event, done.Objects[1].Event})
	for _, name := range []string{"a", "b"} {
		back, err := maps.Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, "red", back.Data["key"])
	}
	var told []events.Event
	require.NoError(t, c.ledger.Read(t.Context(), events.Query{From: before + 1}, func(e events.Event) bool {
		told = append(told, e)
		return true
	}))
	require.Equal(t, []string{"ConfigMapRestored", "ConfigMapRestored"}, []string{told[0].Type, told[1].Type})
	require.Equal(t, []events.Revision{changed, before}, []events.Revision{told[0].Cause, told[1].Cause}, "what changed and what deleted them")
	require.Equal(t, "user:ada", told[0].Actor)
	require.Equal(t, []string{"data.key"}, told[0].Changed)

	wanted.Digest = ""
	_, again, _ := c.undo(t, wanted, "")
	require.Zero(t, again.Appended)
	require.Equal(t, before+2, c.last(t).Revision, "the second time there is nothing to do")
}

func TestRestoreIsAllOrNothing(t *testing.T) {
	c := newCluster(t)
	c.createPod(t, "gone", func(p *corev1.Pod) { p.Spec.PriorityClassName = "" })
	c.createPod(t, "held", func(p *corev1.Pod) { p.Finalizers = []string{"example.com/hold"} })
	then := c.last(t).Revision
	c.remove(t, "gone")
	c.remove(t, "held") // which it isn't before its finalizer is
	before := c.last(t).Revision
	wanted := restore.Request{At: fmt.Sprint(then), Kind: &restore.Ref{Resource: "pods", Namespace: "default"}}
	code, _, answer := c.undo(t, wanted, "")
	require.Equal(t, http.StatusConflict, code)
	require.Contains(t, answer, "nothing was restored, because 1 of 2 objects can't be: pods/default/held: it is still being deleted")
	require.Equal(t, before, c.last(t).Revision)
}

// Writers who come between are not overwritten unseen: the plan is made again.
func TestRestoreAmongWriters(t *testing.T) {
	c := newCluster(t)
	maps := c.client.CoreV1().ConfigMaps("default")
	_, err := maps.Create(t.Context(), configMap("a", "red"), metav1.CreateOptions{})
	require.NoError(t, err)
	then := c.last(t).Revision
	var writers sync.WaitGroup
	began := make(chan struct{}) // there is something to restore
	writers.Go(func() {
		for i := range 50 {
			_, err := maps.Update(t.Context(), configMap("a", fmt.Sprint(i)), metav1.UpdateOptions{})
			assert.NoError(t, err)
			if i == 0 {
				close(began)
			}
		}
	})
	<-began
	for range 10 {
		code, _, answer := c.undo(t, restore.Request{At: fmt.Sprint(then), Objects: []restore.Ref{{Resource: "configmaps", Namespace: "default", Name: "a"}}}, "")
		require.Equal(t, http.StatusOK, code, answer)
	}
	writers.Wait()
	var value string
	require.NoError(t, c.ledger.Read(t.Context(), events.Query{From: then}, func(e events.Event) bool {
		if e.Ref.Name == "a" && e.Type == "ConfigMapRestored" {
			value = e.Note.Message
		}
		return true
	}))
	require.Equal(t, fmt.Sprintf("Restored as it was at revision %d", then), value)
}

func TestBadRestores(t *testing.T) {
	c := newCluster(t)
	one := []restore.Ref{{Resource: "configmaps", Namespace: "default", Name: "none"}}
	for _, test := range []struct {
		wanted restore.Request
		query  string
		code   int
		answer string
	}{
		{restore.Request{At: "1"}, "", 400, "say what to restore"},
		{restore.Request{Objects: one}, "", 400, "say a revision (1042)"},
		{restore.Request{At: "100000", Objects: one}, "", 400, "lies ahead"},
		{restore.Request{At: "1", Objects: one}, "?dryRun=Some", 422, "supported values"},
		{restore.Request{At: "1", Objects: one}, "", 404, "there was no configmaps/default/none at revision 1"},
		{restore.Request{At: "1", Kind: &restore.Ref{Resource: "pods"}, LabelSelector: "!!"}, "", 400, "unable to parse label selector"},
		{restore.Request{At: "1", Objects: one}, "?at=1", 405, "is the past, which can only be read"},
	} {
		code, _, answer := c.undo(t, test.wanted, test.query)
		require.Equal(t, test.code, code, answer)
		require.Contains(t, answer, test.answer)
	}
}
