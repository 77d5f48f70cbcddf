package ingress

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/itest/fabric"
)

// application is a pod on each node behind one host; the fabric's clients ask for demo.
const application = `
apiVersion: v1
kind: Pod
metadata: {name: on-a, labels: {app: web}}
spec:
  nodeName: a
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "wake.dev/demo:1", imagePullPolicy: IfNotPresent, readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}}]
---
apiVersion: v1
kind: Pod
metadata: {name: on-b, labels: {app: web}}
spec:
  nodeName: b
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "wake.dev/demo:1", imagePullPolicy: IfNotPresent, readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  ingressClassName: wake
  rules: [{host: demo, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
`

// enough is how many answers of a pod show that it is asked.
const enough = 25

// asked waits until both pods have answered a client.
func asked(f *fabric.Fabric, what string, counting *fabric.Counting, pods ...string) {
	before := counting.SoFar().By
	f.Eventually(what, func() error {
		tally := counting.SoFar()
		for _, pod := range pods {
			if n := tally.By[pod] - before[pod]; n < enough {
				return fmt.Errorf("%s answered %d times; %s; %s", pod, n, tally, tally.Kinds())
			}
		}
		return nil
	})
}

// TestIngressThroughSeveralNodes lets two nodes that joined serve, kills the agent of one and then the other node.
func TestIngressThroughSeveralNodes(t *testing.T) {
	f := fabric.New(t, fabric.Config{Nodes: []string{"a", "b"}})
	c, a, b := f.Control(), f.Node("a"), f.Node("b")
	c.Up()
	c.Join(a, b)
	for _, n := range f.Nodes() {
		n.StopAgent()
		n.Agent("--ingress")
	}
	c.Apply(application)
	addresses := []string{"get", "ingress", "web", "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"}
	outside := f.Machine(fabric.Outside).Dial
	through := func(n *fabric.Node) fabric.Client {
		return fabric.Client{Dial: outside, Address: n.Addr.String() + ":80", Timeout: 3 * time.Second}
	}

	refused := through(a).Count(t)
	f.Eventually("a node that nobody labelled serves no Ingress", func() error {
		if tally := refused.SoFar(); !strings.Contains(tally.Kinds(), "no Ingress has a rule") {
			return fmt.Errorf("%s; %s", tally, tally.Kinds())
		}
		return nil
	})
	require.Empty(t, refused.Stop().By)
	require.Empty(t, strings.TrimSpace(c.Kubectl(addresses...)))

	c.Kubectl("label", "node", "a", "b", "ingress.wake.dev/node=true")
	f.Eventually("the status gives both nodes", func() error {
		out := c.Kubectl(addresses...)
		if !strings.Contains(out, a.Addr.String()) || !strings.Contains(out, b.Addr.String()) {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	for _, n := range f.Nodes() {
		warm := through(n).Count(t)
		asked(f, "node "+n.Name+" serves both pods", warm, "on-a", "on-b")
		warm.Stop()
	}

	counting, held := through(a).Count(t), through(a).Hold(t)
	asked(f, "node a serves both pods", counting, "on-a", "on-b")
	a.KillAgent()
	asked(f, "node a serves them without its agent", counting, "on-a", "on-b")
	a.Agent("--ingress")
	c.ExpectReady("a", "True")
	asked(f, "node a serves them with its agent again", counting, "on-a", "on-b")
	for what, tally := range map[string]fabric.Tally{"new connections": counting.Stop(), "one connection": held.Stop()} {
		t.Logf("%s: %s", what, tally)
		require.Empty(t, tally.Failures, "%s: %s", what, tally.Kinds())
	}

	loses(t, f, addresses, through)
}

// loses takes the power from node b: node a goes on, and asks only the pod that is left.
func loses(t *testing.T, f *fabric.Fabric, addresses []string, through func(*fabric.Node) fabric.Client) {
	c, a, b := f.Control(), f.Node("a"), f.Node("b")
	b.PowerOff()
	c.ExpectReady("b", "Unknown")
	f.Eventually("the status gives only node a", func() error {
		if out := c.Kubectl(addresses...); strings.Contains(out, b.Addr.String()) || !strings.Contains(out, a.Addr.String()) {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	// The status follows the node; which pods are asked follows the pods, a little later.
	f.Eventually("node a asks only the pod that is left", func() error {
		rest := through(a).Count(t)
		asked(f, "node a serves the pod that is left", rest, "on-a")
		tally := rest.Stop()
		t.Logf("with one node gone: %s", tally)
		if len(tally.Failures) > 0 {
			return errors.New(tally.Kinds())
		}
		return nil
	})
}
