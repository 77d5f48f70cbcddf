package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// web is a Deployment of the demo with a Service in front of it.
const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
        - name: web
          image: wake.dev/demo:1
          env: [{name: GREETING, value: one}]
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
`

func deployWeb(t *testing.T, args ...string) *cluster {
	demo(t)
	c := start(t, args...)
	c.apply(web)
	c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	return c
}

func (c *cluster) serviceURL() string {
	return "http://" + c.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}") + "/"
}

// newConnections is a client that dials anew for every request.
func newConnections() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
}

func get(client *http.Client, url string) (string, error) {
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return strings.TrimSpace(string(body)), err
}

func TestEveryReplicaAnswersBehindTheServiceAddress(t *testing.T) {
	c := deployWeb(t)
	url, client, answered := c.serviceURL(), newConnections(), map[string]bool{}
	c.eventually("all replicas have answered", func() error {
		body, err := get(client, url)
		if err != nil {
			return err
		}
		if answered[body] = true; len(answered) < 3 {
			return fmt.Errorf("only %v have", answered)
		}
		return nil
	})
	for body := range answered {
		require.True(t, strings.HasPrefix(body, "one from web-"), body)
	}
}

// traffic calls url until the test ends or stop is called, which returns how many calls were made and those that failed.
func traffic(t *testing.T, url string) (stop func() (int, []error)) {
	var ending atomic.Bool
	t.Cleanup(func() { ending.Store(true) })
	ended := make(chan struct{})
	calls, failed := 0, []error(nil)
	go func() {
		defer close(ended)
		for client := newConnections(); !ending.Load(); calls++ {
			if _, err := get(client, url); err != nil {
				failed = append(failed, fmt.Errorf("call %d at %s: %w", calls, time.Now().Format("15:04:05.000"), err))
			}
		}
	}()
	return func() (int, []error) {
		ending.Store(true)
		<-ended
		return calls, failed
	}
}

func TestRollingUpdateUndoAndScaleKeepTraffic(t *testing.T) {
	c := deployWeb(t)
	url := c.serviceURL()
	c.eventually("the service answers", func() error { _, err := get(newConnections(), url); return err })
	stop := traffic(t, url)
	c.kubectl("set", "env", "deployment/web", "GREETING=two")
	c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	c.eventually("the new version answers", func() error { return answers(url, "two from ") })
	c.kubectl("rollout", "undo", "deployment/web")
	c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	c.eventually("the old version answers again", func() error { return answers(url, "one from ") })
	for _, replicas := range []int{10, 1} {
		c.kubectl("scale", "deployment/web", fmt.Sprintf("--replicas=%d", replicas))
		c.eventuallyPods(replicas)
	}
	pod := c.kubectl("get", "pods", "-l", "app=web", "-o", "name")
	calls, failed := stop()
	require.Empty(t, failed, "%d of %d calls failed", len(failed), calls)
	require.Greater(t, calls, 100)

	c.kubectl("delete", strings.TrimSpace(pod))
	c.eventuallyPods(1)
	require.NotEqual(t, pod, c.kubectl("get", "pods", "-l", "app=web", "-o", "name"), "a deleted pod is replaced by another")
}

func answers(url, prefix string) error {
	body, err := get(newConnections(), url)
	if err == nil && !strings.HasPrefix(body, prefix) {
		err = fmt.Errorf("answered %q", body)
	}
	return err
}

// eventuallyPods waits until exactly count pods of web exist and all are ready.
func (c *cluster) eventuallyPods(count int) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("%d pods are ready", count), func() error {
		out, err := c.tryKubectl("get", "pods", "-l", "app=web", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
		if got := strings.Fields(out); err == nil && (len(got) != count || strings.Count(out, "True") != count) {
			err = fmt.Errorf("pods' readiness: %v", got)
		}
		return err
	})
}

func TestKillInTheMiddleOfARollout(t *testing.T) {
	c := deployWeb(t)
	c.kubectl("scale", "deployment/web", "--replicas=6")
	c.eventuallyPods(6)
	c.kubectl("set", "env", "deployment/web", "GREETING=two")
	c.eventually("the rollout is half done", func() error {
		out, err := c.tryKubectl("get", "deployment", "web", "-o", "jsonpath={.status.updatedReplicas}")
		if err == nil && (out == "" || out == "0" || out == "6") {
			err = fmt.Errorf("updated: %q", out)
		}
		return err
	})
	c.kill()
	c.begin()
	c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	c.eventuallyPods(6)
	url := c.serviceURL()
	c.eventually("the new version answers", func() error { return answers(url, "two from ") })
	for _, line := range c.containers("web") {
		require.True(t, strings.HasSuffix(line, " 0"), "a container was restarted: %s", line)
	}
}

func TestNothingRestartsWithWake(t *testing.T) {
	c := deployWeb(t)
	before := c.containers("web")
	require.Len(t, before, 3)
	url := c.serviceURL()
	c.eventually("the service answers", func() error { _, err := get(newConnections(), url); return err })
	stop := traffic(t, url)
	c.stop()
	c.begin()
	c.kill()
	c.begin()
	c.eventuallyPods(3)
	calls, failed := stop()
	require.Empty(t, failed, "%d of %d calls failed while wake was away", len(failed), calls)
	require.Equal(t, before, c.containers("web"))
}

func TestTheLogTellsWhy(t *testing.T) {
	c := deployWeb(t)
	pods := strings.Fields(c.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"))
	before := c.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.resourceVersion}")

	why := c.wake("why", "pod/"+pods[0])
	for _, step := range []string{"PodCreated", "ReplicaSet", "DeploymentCreated", "user:kubernetes-admin"} {
		require.Contains(t, why, step)
	}
	c.kubectl("set", "env", "deployment/web", "GREETING=two")
	c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	c.kubectl("delete", "deployment", "web")
	_, err := c.tryKubectl("get", "deployment", "web")
	require.ErrorContains(t, err, "not found")

	past := c.wake("at", before, "get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env[0].value}")
	require.Equal(t, "one", past, "a deleted object is read as it was before its update")
	require.Contains(t, c.wake("at", before, "get", "pods"), pods[0])
	changes := c.wake("diff", before, "deployment/web")
	require.Contains(t, changes, "deployments/web")
	require.Contains(t, c.wake("log", "deployment/web"), "DeploymentDeleted")

	var deleted struct{ Type, Actor string }
	lines := strings.Split(strings.TrimSpace(c.wake("log", "deployment/web", "-o", "json", "--type", "DeploymentDeleted")), "\n")
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &deleted))
	require.Equal(t, "DeploymentDeleted", deleted.Type)
}
