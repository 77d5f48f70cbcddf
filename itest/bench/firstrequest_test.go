package bench

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/itest/fabric"
)

// newcomers is how many pods come, one after the other.
const newcomers = 40

// BenchmarkFirstRequest lets pods come on one node, one at a time, while a client on another asks their service every 2 ms: from the event that says
// that the pod is ready, as the broker stored it, until its first answer to the client. Nodes are network namespaces with dockerds of their own, and
// their agents and the control plane processes apart.
func BenchmarkFirstRequest(b *testing.B) {
	f := fabric.New(b, fabric.Config{Nodes: []string{"far", "near"}})
	c := f.Control()
	c.Up()
	c.Join(f.Nodes()...)
	c.Apply(`
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {kubernetes.io/hostname: far}
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: "wake.dev/demo:1", imagePullPolicy: IfNotPresent, readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}}]
`)
	address := strings.TrimSpace(c.Kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")) + ":80"
	for b.Loop() {
		var waits []time.Duration
		for range newcomers {
			counting := fabric.Client{Dial: f.Node("near").Dial, Address: address, Every: 2 * time.Millisecond, Timeout: 250 * time.Millisecond}.Count(b)
			c.Kubectl("scale", "deployment", "web", "--replicas", "1")
			f.Eventually("the new pod answers", func() error { return answered(counting.SoFar()) })
			c.Expect("the pod is ready", "1", "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
			waits = append(waits, sinceReady(b, c, counting.Stop()))
			c.Kubectl("scale", "deployment", "web", "--replicas", "0")
			c.Expect("the pod is gone", "", "get", "pods", "-o", "name")
		}
		slices.Sort(waits)
		b.ReportMetric(milliseconds(waits[len(waits)/2]), "p50-ms")
		b.ReportMetric(milliseconds(waits[len(waits)*99/100]), "p99-ms")
		b.ReportMetric(milliseconds(waits[len(waits)-1]), "worst-ms")
	}
	b.ReportMetric(0, "ns/op")
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func answered(t fabric.Tally) error {
	if len(t.By) == 0 {
		return fmt.Errorf("none of %d requests was answered: %s", t.Total, t.Kinds())
	}
	return nil
}

// sinceReady is the time from the event that made the one pod ready that answered to its first answer.
func sinceReady(b *testing.B, c *fabric.Control, seen fabric.Tally) time.Duration {
	require.Len(b, seen.Answered, 1)
	for pod, times := range seen.Answered {
		return times[0].Sub(stored(b, c, "pod/"+pod, "--type", "PodReady"))
	}
	return 0
}

// stored is when the broker stored the one event that wake log shows, given args.
func stored(b *testing.B, c *fabric.Control, args ...string) time.Time {
	b.Helper()
	var event struct{ Stored time.Time }
	said := c.Wake(append([]string{"log", "-o", "json"}, args...)...)
	require.NoError(b, json.Unmarshal([]byte(said), &event), "one event: %s", said)
	return event.Stored
}
