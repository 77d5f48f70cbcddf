package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// shop is the application of an ordinary day. Its pods leave a lost node after five seconds, not after Kubernetes' five minutes.
const shop = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: prices, namespace: shop}
data: {apple: "1", pear: "2"}
---
apiVersion: v1
kind: Secret
metadata: {name: till, namespace: shop}
stringData: {pin: "4711"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
        - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
        - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
      containers:
        - name: web
          image: wake.dev/demo:1
          env: [{name: GREETING, value: one}]
          ports: [{name: http, containerPort: 8080}]
          resources: {requests: {cpu: 100m, memory: 32Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
`

// day is an ordinary day with a cluster, told as a person would read it in a terminal.
type day struct {
	*cluster
	story strings.Builder
}

// say begins a chapter.
func (d *day) say(format string, args ...any) { fmt.Fprintf(&d.story, "\n## "+format+"\n", args...) }

// as runs kubectl as a person of that name.
func (d *day) as(user string, args ...string) string {
	d.t.Helper()
	config := filepath.Join(d.dir, user+".kubeconfig")
	if _, err := os.Stat(config); err != nil {
		require.NoError(d.t, os.WriteFile(config, []byte(d.wake("kubeconfig", "--user", user)), 0o600))
	}
	out, err := d.tryKubectl(append([]string{"--kubeconfig", config}, args...)...)
	require.NoError(d.t, err)
	fmt.Fprintf(&d.story, "\n    %s$ kubectl %s\n%s", user, strings.ReplaceAll(strings.Join(args, " "), d.dir+"/", ""), indent(out))
	return out
}

// ask runs a wake command, whose answer must contain each of the words.
func (d *day) ask(args []string, words ...string) string {
	d.t.Helper()
	out := d.wake(args...)
	fmt.Fprintf(&d.story, "\n    $ wake %s\n%s", strings.Join(args, " "), indent(out))
	for _, word := range words {
		require.Contains(d.t, out, word, "wake %s", strings.Join(args, " "))
	}
	return out
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + line)
	}
	return b.String()
}

// revision is the newest.
func (d *day) revision() string {
	d.t.Helper()
	var list struct {
		Metadata struct{ ResourceVersion string }
	}
	require.NoError(d.t, json.Unmarshal([]byte(d.kubectl("get", "namespaces", "-o", "json", "--chunk-size=0")), &list))
	out := d.kubectl("get", "--raw", "/api/v1/namespaces")
	require.NoError(d.t, json.Unmarshal([]byte(out), &list))
	return list.Metadata.ResourceVersion
}

// A day with deploys, scaling, a bad image, a lost node and a namespace deleted by mistake; then the questions that people have afterwards, each
// answered by one command. WAKE_DAY names a file to write the story to: go tool task day writes docs/day.md.
func TestAnOrdinaryDay(t *testing.T) {
	demo(t)
	d := &day{cluster: start(t)}
	n2 := d.simulateNode("n2")
	d.say("Ada deploys the shop")
	require.NoError(t, os.WriteFile(filepath.Join(d.dir, "shop.yaml"), []byte(shop), 0o600))
	d.as("ada", "apply", "-f", filepath.Join(d.dir, "shop.yaml"))
	d.as("ada", "-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s")
	deployed := time.Now()

	d.say("She scales it, and Bob tries a new image that does not exist")
	d.as("ada", "-n", "shop", "scale", "deployment/web", "--replicas=5")
	d.as("ada", "-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s")
	d.as("bob", "-n", "shop", "set", "image", "deployment/web", "web=wake.dev/demo:next")
	d.eventually("the bad image is noticed", func() error {
		out, err := d.tryKubectl("-n", "shop", "get", "pods")
		if err == nil && !strings.Contains(out, "ImagePull") && !strings.Contains(out, "ErrImage") {
			err = fmt.Errorf("no trouble yet:\n%s", out)
		}
		return err
	})
	d.as("bob", "-n", "shop", "rollout", "undo", "deployment/web")
	d.as("bob", "-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s")
	calm := time.Now()

	d.say("Node n2 loses power, for good")
	d.loses(n2)
	d.as("ada", "delete", "node", "n2")
	before := d.revision()

	d.say("Bob deletes the wrong namespace")
	d.as("bob", "delete", "namespace", "shop", "--wait=false")
	d.eventually("the namespace is gone", func() error {
		out, err := d.tryKubectl("get", "namespace", "shop", "--ignore-not-found")
		if err == nil && out != "" {
			err = fmt.Errorf("still there: %s", out)
		}
		return err
	})
	d.questions(deployed, calm, before)
	if name := os.Getenv("WAKE_DAY"); name != "" {
		require.NoError(t, os.WriteFile(name, []byte("# An ordinary day\n\nWritten by `go tool task day` from a run of itest/cluster's TestAnOrdinaryDay.\n"+d.story.String()), 0o600))
	}
	t.Log(d.story.String())
}

// loses takes the power from n2, and waits until all pods are ready elsewhere.
func (d *day) loses(n2 *simulatedNode) {
	n2.kill()
	d.eventually("n2 is noticed to be lost", func() error {
		out, err := d.tryKubectl("get", "node", "n2", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && out == "True" {
			err = errors.New("it counts as ready")
		}
		return err
	})
	d.eventually("n2's pods are replaced", func() error {
		out, err := d.tryKubectl("-n", "shop", "get", "pods", "-o", "wide", "--field-selector=spec.nodeName=n1,status.phase=Running", "--no-headers")
		if running := strings.Count(out, "1/1"); err == nil && running < 5 {
			err = fmt.Errorf("%d of 5 run on n1:\n%s", running, out)
		}
		return err
	})
	d.eventually("the Deployment says so", func() error {
		out, err := d.tryKubectl("-n", "shop", "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
		if err == nil && out != "5" {
			err = fmt.Errorf("%q are ready", out)
		}
		return err
	})
}

// questions are those of the evening.
func (d *day) questions(deployed, calm time.Time, before string) {
	stamp := func(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z07:00") }
	d.say("What changed between %s and %s?", deployed.Format(time.TimeOnly), calm.Format(time.TimeOnly))
	d.ask([]string{"diff", stamp(deployed), stamp(calm), "-n", "shop"}, "deployments/shop/web", "spec.replicas", "3", "5", "user:ada")
	d.say("Who did what to the Deployment?")
	d.ask([]string{"log", "deployment/web", "-n", "shop", "--patch"}, "wake.dev/demo:next", "user:ada", "user:bob")
	d.say("Who deleted the namespace?")
	d.ask([]string{"why", "namespace/shop"}, "user:bob")
	d.say("Why was this pod on that node?")
	pod := strings.Fields(d.wake("at", before, "get", "pods", "-n", "shop", "-o", "name", "--field-selector=spec.nodeName=n1,status.phase=Running"))[0]
	d.ask([]string{"why", pod, "-n", "shop", "--at", before}, "n1", "user:")
	d.say("And why did others have to go?")
	d.ask([]string{"log", "-n", "shop", "--type", "PodEvicted"}, "service:node")
	d.say("What did the Deployment look like before?")
	d.ask([]string{"at", before, "get", "deployment", "web", "-n", "shop", "-o", "wide"}, "web", "5/5")
	d.ask([]string{"blame", "deployment/web", "-n", "shop", "--at", before}, "replicas: 5", "user:ada")
	d.say("What followed from the deletion?")
	d.ask([]string{"impact", "namespace/shop"}, "NamespaceDeleted")
	d.say("Bring the namespace back")
	d.ask([]string{"restore", "namespace/shop", "--at", before, "--dry-run"}, "deployment.apps/shop/web", "configmap/shop/prices", "secret/shop/till")
	require.NotContains(d.t, d.kubectl("get", "namespaces"), "shop", "a dry run changes nothing")
	d.ask([]string{"restore", "namespace/shop", "--at", before, "--yes"}, "shop/web")
	d.as("ada", "-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s")
	d.as("ada", "-n", "shop", "get", "pods,services,configmaps,secrets")
	require.Equal(d.t, "4711", d.kubectl("-n", "shop", "get", "secret", "till", "-o", `go-template={{.data.pin | base64decode}}`))
	require.NotContains(d.t, d.story.String(), "4711", "no answer shows a secret")
	d.say("Was every decision of the day right, and is the record whole?")
	d.ask([]string{"verify"}, "no divergence")
}
