package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/segment"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/garbage"
	"github.com/wakehq/wake/services/job"
	"github.com/wakehq/wake/services/namespace"
	"github.com/wakehq/wake/services/node"
	"github.com/wakehq/wake/services/replication"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/scheduler"
	"github.com/wakehq/wake/services/service"
	"github.com/wakehq/wake/services/simulation"
)

// The cluster of the week: 1,000 pods.
const (
	weekNodes       = 50
	weekDeployments = 50
	weekReplicas    = 20
	week            = 7 * 24 * time.Hour
)

// application is a Deployment with its Service, of which the week has many.
const application = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: app-%[1]d, namespace: default}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: app-%[1]d}}
  template:
    metadata: {labels: {app: app-%[1]d}}
    spec:
      containers:
        - name: web
          image: registry.example/app-%[1]d:%[3]d
          ports: [{name: http, containerPort: 8080}]
          env: [{name: VERSION, value: "%[3]d"}]
          readinessProbe: {httpGet: {path: /ready, port: http}}
          resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 256Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: app-%[1]d, namespace: default}
spec:
  selector: {app: app-%[1]d}
  ports: [{port: 80, targetPort: http}]
`

const nightly = `
apiVersion: batch/v1
kind: Job
metadata: {name: nightly-%[1]d, namespace: default}
spec:
  completions: 20
  parallelism: 10
  ttlSecondsAfterFinished: 3600
  template:
    spec:
      restartPolicy: Never
      containers: [{name: job, image: registry.example/nightly, resources: {requests: {cpu: 100m, memory: 64Mi}}}]
`

// recordWeek runs the cluster of the week in virtual time, with the real deciders, and records what happens. Each application is deployed anew twice a day, some are scaled
// each hour, and each night has its job.
func recordWeek(b *testing.B) (path string) {
	registry, err := schemas.NewRegistry()
	require.NoError(b, err)
	path = filepath.Join(b.TempDir(), "week")
	file, err := os.Create(path)
	require.NoError(b, err)
	began := time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC)
	w, err := segment.NewWriter(file, segment.Header{Cluster: "week"})
	require.NoError(b, err)
	s := simulation.New(simulation.Config{State: events.NewState(registry), Start: began, Deciders: []runner.Decider{
		scheduler.New(), replication.NewDeployments(), replication.NewSets(), job.New(), service.NewAddresses(service.DefaultRange), service.NewEndpoints(), garbage.New(),
		namespace.New(""), node.New()},
		Watch: func(e *events.Event, _ []events.Change) { require.NoError(b, w.Event(events.RawOf(e))) }})
	apply := func(format string, args ...any) {
		_, _, err := s.Apply(simulation.Manifest{Name: "week.yaml", Data: fmt.Appendf(nil, format, args...)}, "default")
		require.NoError(b, err)
	}
	apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n")
	for i := range weekNodes {
		addNode(b, s, fmt.Sprintf("n%02d", i))
	}
	for hour := range int(week / time.Hour) {
		day, of := hour/24, hour%24
		for i := range weekDeployments {
			switch {
			case hour == 0 || of == (i*7)%24 || of == (i*7+9)%24:
				apply(application, i, weekReplicas, hour)
			case (i+hour)%5 == 0:
				ref := events.Ref{Group: "apps", Resource: "deployments", Namespace: "default", Name: fmt.Sprintf("app-%d", i)}
				require.NoError(b, s.Scale(ref, int32(weekReplicas-5+(i+hour)%11)))
			}
		}
		if of == 2 {
			apply(nightly, day)
		}
		require.NoError(b, s.Run(context.Background(), began.Add(time.Duration(hour+1)*time.Hour)))
	}
	_, err = w.Close()
	require.NoError(b, err)
	require.NoError(b, file.Close())
	return path
}

// addNode adds a node as an agent registers one.
func addNode(b *testing.B, s *simulation.Simulation, name string) {
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("16Gi"), corev1.ResourcePods: resource.MustParse("110")}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: events.DeriveUID("node", name), Labels: map[string]string{corev1.LabelHostname: name, events.AgentLabel: "true"},
		CreationTimestamp: metav1.NewTime(s.Now())},
		Status: corev1.NodeStatus{Capacity: room, Allocatable: room, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "AgentReady"}}}}
	require.NoError(b, s.Do("node:"+name, events.Create(s.State(), n, "NodeCreated"), events.ObserveNew(s.State(), n, "NodeReady")))
}

// A week of a 1,000-pod cluster, read from a recording and folded event by event, as wake replay does.
func BenchmarkReplayWeek(b *testing.B) {
	path := recordWeek(b)
	info, err := os.Stat(path)
	require.NoError(b, err)
	registry, err := schemas.NewRegistry()
	require.NoError(b, err)
	pods := events.GroupResource{Resource: "pods"}
	for b.Loop() {
		r, err := segment.OpenFile(path)
		require.NoError(b, err)
		state, count := events.NewState(registry), 0
		require.NoError(b, segment.NewLedger(r).Read(context.Background(), events.Query{}, func(e events.Event) bool {
			_, err := state.Apply(e)
			require.NoError(b, err)
			count++
			return true
		}))
		require.NoError(b, r.Close())
		require.Greater(b, state.Count(pods), weekDeployments*(weekReplicas-6))
		b.ReportMetric(float64(count), "events")
		b.ReportMetric(float64(info.Size())/float64(count), "bytes/event")
	}
	each := b.Elapsed() / time.Duration(b.N)
	b.ReportMetric(float64(week)/float64(each), "x-real-time")
	b.ReportMetric(each.Seconds(), "s/week")
}
