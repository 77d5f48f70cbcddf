package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/gateway/ledgerapi"
)

// deployment makes one with two containers, as a person writes it.
func webDeployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	replicas := int32(3)
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: appsv1.DeploymentSpec{Replicas: &replicas,
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1", Args: []string{"-v"}, Ports: []corev1.ContainerPort{{ContainerPort: 80}}},
				{Name: "log", Image: "log:1"}}}}}}
}

// patch changes a deployment by a strategic merge patch and returns the revision of that.
func (c *cluster) patch(t *testing.T, name, patch string) uint64 {
	t.Helper()
	_, err := c.client.AppsV1().Deployments("default").Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	require.NoError(t, err)
	return c.last(t).Revision
}

// react appends what a service would, signed and caused by an event.
func (c *cluster) react(t *testing.T, cause uint64, actor string, proposals ...events.Proposal) uint64 {
	t.Helper()
	var because events.Event
	require.NoError(t, c.ledger.Read(t.Context(), events.Query{From: cause, To: cause}, func(e events.Event) bool { because = e; return false }))
	events.Audit{Actor: actor, Cause: cause, Correlation: because.Chain(), At: time.Now()}.Sign(proposals)
	revision, err := c.ledger.Append(t.Context(), proposals...)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return c.view.State().Revision() >= revision }, time.Minute, time.Millisecond)
	return revision
}

func (c *cluster) object(t *testing.T, ref events.Ref) *events.Object {
	t.Helper()
	o, ok := c.view.State().Get(ref)
	require.True(t, ok, ref.String())
	return o
}

// told decodes an answer of one value per line.
func told[T any](t *testing.T, c *cluster, query string) (out []T) {
	t.Helper()
	code, _, answer := c.do(t, http.MethodGet, ledgerapi.Prefix+query, "")
	require.Equal(t, http.StatusOK, code, answer)
	for line := range strings.Lines(answer) {
		var value T
		require.NoError(t, json.Unmarshal([]byte(line), &value), line)
		out = append(out, value)
	}
	return out
}

func revisionsOf(list []ledgerapi.Event) (out []uint64) {
	for _, e := range list {
		out = append(out, e.Revision)
	}
	return out
}

func pathsOf(fields []ledgerapi.Field) (out []string) {
	for _, f := range fields {
		out = append(out, f.Path)
	}
	return out
}

var webRef = events.Ref{Group: "apps", Resource: "deployments", Namespace: "default", Name: "web"}

// webHistory is a deployment that is created, scaled, given another image and another container; it returns the revisions of these.
func webHistory(t *testing.T, c *cluster) (created, scaled, imaged, added uint64) {
	t.Helper()
	_, err := c.client.AppsV1().Deployments("default").Create(t.Context(), webDeployment("web"), metav1.CreateOptions{})
	require.NoError(t, err)
	created = c.last(t).Revision
	scaled = c.patch(t, "web", `{"spec":{"replicas":5}}`)
	imaged = c.patch(t, "web", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:2"}]}}}}`)
	added = c.patch(t, "web", `{"spec":{"template":{"spec":{"containers":[{"name":"aside","image":"aside:1"}]}}}}`)
	return created, scaled, imaged, added
}

func TestEventsAreFilteredByTheFieldsThatTheyChanged(t *testing.T) {
	c := newCluster(t)
	created, scaled, imaged, added := webHistory(t, c)
	c.createPod(t, "other")
	counted := c.react(t, created, "service:replication", events.Observe(c.object(t, webRef), webDeployment("web"), "DeploymentProgressed"))
	for query, want := range map[string][]uint64{
		"path=spec.template":                                  {created, imaged, added},
		"path=spec.replicas":                                  {created, scaled},
		"path=spec.template.spec.containers[web].image":       {created, imaged},
		"path=spec.template.spec.containers.image":            {created, imaged, added},
		"path=spec.template.spec.containers[aside]":           {added},
		"path=spec.replicas&path=spec.template.spec&tail=2":   {imaged, added},
		"path=metadata.labels.app":                            {created},
		"path=spec.nothing":                                   nil,
		"path=spec&from=" + fmt.Sprint(imaged):                {imaged, added},
		"label=app=web&objects=1":                             {created, scaled, imaged, added, counted},
		"label=app=none":                                      nil,
		"type=deploymentc*":                                   {created, scaled, imaged, added},
		"notable=1":                                           {created, scaled, imaged, added},
		"notable=1&tail=2":                                    {imaged, added},
		"actor=ada&tail=1":                                    {added},
		"actor=user":                                          {created, scaled, imaged, added},
		"actor=service:*":                                     {counted},
		"actor=node,replication":                              {counted},
		"chain=" + fmt.Sprint(counted):                        {created, counted},
		"chain=" + fmt.Sprint(created) + "&actor=replication": {counted},
	} {
		kind := "kind=deploy"
		if strings.Contains(query, "chain") {
			kind = "kind=deployments,pods"
		}
		require.Equal(t, want, revisionsOf(c.ask(t, "/events?"+kind+"&"+query)), query)
	}
	code, _, answer := c.do(t, http.MethodGet, ledgerapi.Prefix+"/events?path=a..b", "")
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, answer, "spec.template.spec.containers[web].image")
	code, _, answer = c.do(t, http.MethodGet, ledgerapi.Prefix+"/events?chain=99999", "")
	require.Equal(t, http.StatusNotFound, code)
	require.Contains(t, answer, "there is no event 99999: the newest is")
}

func TestChangesAreToldFieldByField(t *testing.T) {
	c := newCluster(t)
	created, scaled, imaged, added := webHistory(t, c)
	list := c.ask(t, "/events?ref="+webRef.String()+"&changes=1")
	require.Equal(t, []uint64{created, scaled, imaged, added}, revisionsOf(list))
	require.Equal(t, []string{"metadata.labels", "spec"}, pathsOf(list[0].Fields))
	require.Equal(t, []ledgerapi.Field{{Path: "spec.replicas", Before: 3., After: 5.}}, list[1].Fields)
	require.Equal(t, []ledgerapi.Field{{Path: "spec.template.spec.containers[web].image", Before: "web:1", After: "web:2"}}, list[2].Fields)
	require.Equal(t, []string{"spec.template.spec.containers[aside]"}, pathsOf(list[3].Fields))

	// The same, however much of the past is read.
	for i, from := range []uint64{scaled, imaged, added} {
		some := c.ask(t, fmt.Sprintf("/events?ref=%s&changes=1&from=%d", webRef, from))
		require.Equal(t, list[i+1:], some)
		require.Equal(t, list[i+1:], c.ask(t, fmt.Sprintf("/events?actor=ada&kind=deploy&changes=1&tail=%d", len(some))))
	}
	zero := int64(0)
	require.NoError(t, c.client.AppsV1().Deployments("default").Delete(t.Context(), "web", metav1.DeleteOptions{GracePeriodSeconds: &zero}))
	end := c.ask(t, "/events?ref="+webRef.String()+"&changes=1&objects=1&tail=1")[0]
	require.True(t, end.Tombstone)
	require.Empty(t, end.Fields)
	require.Contains(t, string(end.Before), "aside:1")
	require.Empty(t, end.Object)
}

func TestASecretsChangesAreNotTold(t *testing.T) {
	c := newCluster(t)
	secrets := c.client.CoreV1().Secrets("default")
	before := c.last(t).Revision
	s, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "till"}, StringData: map[string]string{"pin": "hunter2", "old": "x"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	s.Data = map[string][]byte{"pin": []byte("hunter3"), "new": []byte("hunter4")}
	_, err = secrets.Update(t.Context(), s, metav1.UpdateOptions{})
	require.NoError(t, err)
	var answers strings.Builder
	for _, query := range []string{"/events?kind=secrets&changes=1&objects=1", fmt.Sprint("/diff?from=", before), fmt.Sprint("/diff?from=", before+1), "/blame?ref=secrets/default/till",
		"/why?ref=secrets/default/till.data.pin", "/events?path=data.pin&kind=secrets&changes=1"} {
		code, _, answer := c.do(t, http.MethodGet, ledgerapi.Prefix+query, "")
		require.Equal(t, http.StatusOK, code, answer)
		answers.WriteString(answer)
	}
	require.NotContains(t, answers.String(), "aHVudGVy")
	require.NotContains(t, answers.String(), "hunter")
	created, changed := before+1, before+2
	require.Equal(t, changed, told[ledgerapi.Why](t, c, "/why?ref=secrets/default/till.data.pin")[0].Revision)
	for _, f := range told[ledgerapi.Blame](t, c, "/blame?ref=secrets/default/till")[0].Fields {
		want := created
		if strings.HasPrefix(f.Path, "data.") {
			want = changed
			require.Equal(t, "(hidden)", f.Value)
		}
		require.Equal(t, want, f.Revision, f.Path)
	}
	fields := c.ask(t, "/events?kind=secrets&changes=1")[1].Fields
	require.Equal(t, []ledgerapi.Field{{Path: "data.new", After: "(hidden)", Secret: true}, {Path: "data.old", Before: "(hidden)", Secret: true},
		{Path: "data.pin", Before: "(hidden)", After: "(hidden)", Secret: true}}, fields)
}

// compareMoments returns a diff's two moments and what became of each object.
func compareMoments(t *testing.T, c *cluster, query string) (ledgerapi.Between, map[string]ledgerapi.ObjectDiff) {
	t.Helper()
	list := told[json.RawMessage](t, c, "/diff?"+query)
	var between ledgerapi.Between
	require.NoError(t, json.Unmarshal(list[0], &between))
	objects := map[string]ledgerapi.ObjectDiff{}
	for _, line := range list[1:] {
		var d ledgerapi.ObjectDiff
		require.NoError(t, json.Unmarshal(line, &d))
		objects[d.Ref.Resource+"/"+d.Ref.Name] = d
	}
	return between, objects
}

func TestADiffTellsTheNetEffect(t *testing.T) {
	c := newCluster(t)
	for _, name := range []string{"goes", "replaced", "observed"} {
		c.createPod(t, name)
	}
	_, scaled, imaged, added := webHistory(t, c)
	begin := scaled - 1
	c.createPod(t, "comes")
	c.createPod(t, "passes")
	for _, name := range []string{"passes", "goes", "replaced"} {
		c.remove(t, name)
	}
	c.createPod(t, "replaced", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "demo:2" })
	observed := c.object(t, events.Ref{Resource: "pods", Namespace: "default", Name: "observed"})
	status := observed.Typed().(*corev1.Pod).DeepCopy()
	status.Status.Phase = corev1.PodRunning
	c.react(t, begin, "node:n1", events.Observe(observed, status, "PodStarted"))

	between, all := compareMoments(t, c, fmt.Sprint("from=", begin))
	require.Equal(t, begin, between.From.Revision)
	require.Equal(t, c.last(t).Revision, between.To.Revision)
	verbs := map[string]string{}
	for name, d := range all {
		verbs[name] = d.Verb
	}
	require.Equal(t, map[string]string{"deployments/web": ledgerapi.VerbChanged, "pods/comes": ledgerapi.VerbCreated, "pods/passes": ledgerapi.VerbPassed, "pods/goes": ledgerapi.VerbDeleted,
		"pods/replaced": ledgerapi.VerbReplaced, "pods/observed": ledgerapi.VerbObserved}, verbs)
	web := all["deployments/web"]
	require.Equal(t, []string{"spec.replicas", "spec.template.spec.containers[aside]", "spec.template.spec.containers[web].image"}, pathsOf(web.Fields))
	var contributed []uint64
	for _, e := range web.Events {
		contributed = append(contributed, e.Revision)
		require.Equal(t, "user:ada", e.Actor)
	}
	require.Equal(t, []uint64{scaled, imaged, added}, contributed)
	require.Contains(t, pathsOf(all["pods/replaced"].Fields), "spec.containers[main].image")

	_, some := compareMoments(t, c, fmt.Sprintf("from=%d&status=1&kind=pods&label=app=web", begin))
	require.NotContains(t, some, "deployments/web")
	require.Equal(t, ledgerapi.VerbChanged, some["pods/observed"].Verb)
	require.Equal(t, "Running", some["pods/observed"].Fields[0].After)

	back := c.patch(t, "web", `{"spec":{"replicas":7}}`)
	c.patch(t, "web", `{"spec":{"replicas":5}}`)
	_, reverted := compareMoments(t, c, fmt.Sprintf("from=%d&ref=%s", back-1, webRef))
	require.Equal(t, ledgerapi.VerbReverted, reverted["deployments/web"].Verb)
	require.Len(t, reverted["deployments/web"].Events, 2)
	_, nothing := compareMoments(t, c, fmt.Sprintf("from=%d&to=%d", back, back))
	require.Empty(t, nothing)
	between, _ = compareMoments(t, c, "from=-1h&kind=nodes")
	require.Zero(t, between.From.Revision, "a time before the first event is the empty cluster's")
	code, _, answer := c.do(t, http.MethodGet, ledgerapi.Prefix+"/diff?from=9&to=3", "")
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, answer, "give the older one first")
}

// What happens while a client follows is told with what it changed, as if it had been read later.
func TestFollowingTellsChanges(t *testing.T) {
	c := newCluster(t)
	_, scaled, _, _ := webHistory(t, c)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.config.Host+ledgerapi.Prefix+"/events?follow=1&changes=1&notable=1&tail=1&kind=deploy", nil)
	require.NoError(t, err)
	response, err := c.http.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	decoder := json.NewDecoder(response.Body)
	next := func() (e ledgerapi.Event) {
		require.NoError(t, decoder.Decode(&e))
		return e
	}
	require.Equal(t, []string{"spec.template.spec.containers[aside]"}, pathsOf(next().Fields))
	c.react(t, scaled, "service:replication", events.Observe(c.object(t, webRef), webDeployment("web"), "DeploymentProgressed"))
	c.createPod(t, "other")
	c.patch(t, "web", `{"spec":{"replicas":9}}`)
	require.Equal(t, []ledgerapi.Field{{Path: "spec.replicas", Before: 5., After: 9.}}, next().Fields)
}

func TestRoutineThatIsLeftOutIsCounted(t *testing.T) {
	c := newCluster(t)
	_, scaled, _, _ := webHistory(t, c)
	c.react(t, scaled, "service:replication", events.Observe(c.object(t, webRef), webDeployment("web"), "DeploymentProgressed"))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.config.Host+ledgerapi.Prefix+"/events?notable=1&ref="+webRef.String(), nil)
	require.NoError(t, err)
	response, err := c.http.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(string(answer), "\n"))
	require.Equal(t, "1", response.Trailer.Get("Wake-Left-Out"))
}

// However many objects there are, whether they are read one by one or the cluster folded.
func TestADiffOfManyObjects(t *testing.T) {
	c := newCluster(t)
	for i := range 40 {
		c.createPod(t, fmt.Sprint("p", i))
	}
	begin := c.last(t).Revision
	for i := range 40 {
		_, err := c.client.CoreV1().Pods("default").Patch(t.Context(), fmt.Sprint("p", i), types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"n":"%d"}}}`, i), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	_, all := compareMoments(t, c, fmt.Sprint("from=", begin))
	require.Len(t, all, 40)
	list := c.ask(t, fmt.Sprintf("/events?from=%d&changes=1", begin+1))
	require.Len(t, list, 40)
	for i, e := range list {
		want := []ledgerapi.Field{{Path: "metadata.labels.n", After: fmt.Sprint(i)}}
		require.Equal(t, want, e.Fields)
		require.Equal(t, want, all["pods/"+e.Ref.Name].Fields)
	}
}

func TestBlameNamesWhoSetEachFieldLast(t *testing.T) {
	c := newCluster(t)
	created, scaled, imaged, added := webHistory(t, c)
	_, err := c.client.AppsV1().Deployments("default").Patch(t.Context(), "web", types.JSONPatchType,
		[]byte(`[{"op":"add","path":"/spec/template/spec/containers/1/args/0","value":"-q"}]`), metav1.PatchOptions{})
	require.NoError(t, err)
	argued := c.last(t).Revision
	blame := func(query string) (map[string]uint64, ledgerapi.Blame) {
		answer := told[ledgerapi.Blame](t, c, "/blame?ref="+webRef.String()+query)[0]
		marks := map[string]uint64{}
		for _, f := range answer.Fields {
			marks[f.Path] = f.Revision
		}
		return marks, answer
	}
	marks, answer := blame("")
	for path, want := range map[string]uint64{"kind": created, "metadata.labels.app": created, "spec.replicas": scaled, "spec.strategy.type": created,
		"spec.template.spec.containers[web].image": imaged, "spec.template.spec.containers[web].name": created, "spec.template.spec.containers[log].image": created,
		"spec.template.spec.containers[aside].image": added, "spec.template.spec.containers[aside].imagePullPolicy": added,
		"spec.template.spec.containers[web].args[0]": argued, "spec.template.spec.containers[web].args[1]": created} {
		require.Equal(t, want, marks[path], path)
	}
	require.Equal(t, []uint64{created, scaled, imaged, added, argued}, revisionsOf(answer.Events))
	require.NotContains(t, strings.Join(slices.Collect(maps.Keys(marks)), " "), "managedFields")
	marks, _ = blame(fmt.Sprint("&at=", created))
	require.Equal(t, []uint64{created}, slices.Compact(slices.Sorted(maps.Values(marks))))

	zero := int64(0)
	require.NoError(t, c.client.AppsV1().Deployments("default").Delete(t.Context(), "web", metav1.DeleteOptions{GracePeriodSeconds: &zero}))
	marks, answer = blame("")
	require.True(t, answer.Deleted.Tombstone)
	require.Equal(t, imaged, marks["spec.template.spec.containers[web].image"], "of a deleted object it tells what it was last")
	_, err = c.client.AppsV1().Deployments("default").Create(t.Context(), webDeployment("web"), metav1.CreateOptions{})
	require.NoError(t, err)
	marks, answer = blame("")
	require.Nil(t, answer.Deleted)
	require.Equal(t, []uint64{c.last(t).Revision}, slices.Compact(slices.Sorted(maps.Values(marks))), "another object of that name begins anew")
	code, _, text := c.do(t, http.MethodGet, ledgerapi.Prefix+"/blame?ref=pods/default/none", "")
	require.Equal(t, http.StatusNotFound, code)
	require.Contains(t, text, "there never was one by that name")
}

// chain makes a pod that a deployment's scaling led to, as the services would, and returns the revisions from the scaling on.
func chain(t *testing.T, c *cluster, scaled uint64) (created, bound, started uint64) {
	t.Helper()
	p := pod("web-1")
	p.Namespace, p.UID = "default", "u-1"
	created = c.react(t, scaled, "service:replication", events.Create(c.view.State(), p, "PodCreated"))
	o := c.object(t, events.Ref{Resource: "pods", Namespace: "default", Name: "web-1"})
	bound = c.react(t, created, "service:scheduler", events.Place(o, events.Placement{Node: "n1", Why: &events.Choice{Nodes: 2}}, "PodBound"))
	p.Status.Phase = corev1.PodRunning
	started = c.react(t, bound, "node:n1", events.Observe(c.object(t, o.Ref), p, "PodStarted", "status.phase"))
	return created, bound, started
}

func whyRevisions(list []ledgerapi.Why) (out []uint64) {
	for _, w := range list {
		out = append(out, w.Revision)
	}
	return out
}

func TestWhyWalksToWhatBeganIt(t *testing.T) {
	c := newCluster(t)
	_, scaled, imaged, added := webHistory(t, c)
	created, bound, started := chain(t, c, scaled)
	steps := told[ledgerapi.Why](t, c, "/why?ref=pods/default/web-1")
	require.Equal(t, []uint64{started, bound, created, scaled}, whyRevisions(steps))
	require.Equal(t, []ledgerapi.Field{{Path: "status.phase", Before: "Pending", After: "Running"}}, steps[0].Fields)
	require.JSONEq(t, `{"node":"n1","why":{"nodes":2}}`, string(steps[1].Placement))
	require.Equal(t, []string{"spec.replicas"}, pathsOf(steps[3].Fields))
	require.Equal(t, []uint64{created, scaled}, whyRevisions(told[ledgerapi.Why](t, c, fmt.Sprint("/why?ref=pods/default/web-1&at=", created))))
	require.Equal(t, []uint64{bound, created, scaled}, whyRevisions(told[ledgerapi.Why](t, c, fmt.Sprint("/why?event=", bound))))

	for query, want := range map[string]uint64{"ref=" + webRef.String() + ".spec.replicas": scaled, "ref=" + webRef.String() + "&path=spec.template.spec.containers[web].image": imaged,
		"ref=" + webRef.String() + ".spec.template": added, "ref=pods/default/web-1.spec.nodeName": bound, "ref=pods/default/web-1.status.phase": started} {
		require.Equal(t, want, told[ledgerapi.Why](t, c, "/why?"+url.PathEscape(query))[0].Revision, query)
	}
	c.patch(t, "web", `{"spec":{"template":{"spec":{"containers":[{"name":"aside","$patch":"delete"}]}}}}`)
	gone := c.last(t).Revision
	require.Equal(t, gone, told[ledgerapi.Why](t, c, "/why?ref="+webRef.String()+"&path=spec.template.spec.containers[aside]")[0].Revision, "who took it away")

	o := c.object(t, events.Ref{Resource: "pods", Namespace: "default", Name: "web-1"})
	ended := c.react(t, gone, "node:n1", events.Remove(o, "PodDeleted"))
	require.Equal(t, []uint64{ended, gone}, whyRevisions(told[ledgerapi.Why](t, c, "/why?ref=pods/default/web-1")))
	for query, words := range map[string]string{"ref=" + webRef.String() + ".spec.foo": "has no field spec.foo, and never had", "ref=pods/default/none": "there never was one by that name",
		"event=99999": "there is no event 99999"} {
		code, _, answer := c.do(t, http.MethodGet, ledgerapi.Prefix+"/why?"+query, "")
		require.Equal(t, http.StatusNotFound, code, query)
		require.Contains(t, answer, words)
	}
}

func TestImpactTellsAllThatFollowed(t *testing.T) {
	c := newCluster(t)
	made, scaled, _, added := webHistory(t, c)
	created, bound, started := chain(t, c, scaled)
	c.createPod(t, "other")
	require.Equal(t, []uint64{scaled, created, bound, started}, revisionsOf(c.ask(t, fmt.Sprint("/impact?event=", scaled))))
	require.Equal(t, []uint64{created, bound, started}, revisionsOf(c.ask(t, fmt.Sprint("/impact?event=", created))), "of a chain only what followed from the event")
	require.Equal(t, []uint64{scaled, created, bound}, revisionsOf(c.ask(t, fmt.Sprintf("/impact?event=%d&at=%d", scaled, bound))))
	require.Equal(t, []uint64{made}, revisionsOf(c.ask(t, fmt.Sprint("/impact?event=", made))))
	require.Equal(t, []uint64{added}, revisionsOf(c.ask(t, "/impact?ref="+webRef.String())), "of an object, what a person did last")
	require.Equal(t, []uint64{started}, revisionsOf(c.ask(t, "/impact?ref=pods/default/web-1")))
	code, _, _ := c.do(t, http.MethodGet, ledgerapi.Prefix+"/impact?ref=pods/default/none", "")
	require.Equal(t, http.StatusNotFound, code)
}
