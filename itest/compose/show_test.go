package compose

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/itest/fabric"
)

// web is an application that is spread over the nodes, and leaves a lost one after three seconds.
const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}]
      tolerations:
        - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 3}
        - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 3}
      containers:
        - {name: web, image: "wake.dev/demo:compose", imagePullPolicy: IfNotPresent, readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}, resources: {requests: {cpu: 10m, memory: 16Mi}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: ` + nodePort + `}]}
`

// deploy starts the application, and removes it with the test.
func (c *cluster) deploy() []pod {
	c.t.Helper()
	c.apply(web)
	c.t.Cleanup(func() { _, _ = c.tryWake(web, "kubectl", "delete", "--ignore-not-found", "-f", "-") })
	pods, after := c.expectPods("app=web", 6, "")
	on := map[string]int{}
	for _, p := range pods {
		on[p.node]++
	}
	require.Equal(c.t, map[string]int{"node1": 2, "node2": 2, "node3": 2}, on, "the pods are spread")
	c.t.Logf("6 pods over 3 nodes ready %s after kubectl apply", after.Round(100*time.Millisecond))
	return pods
}

// reached waits until every pod has answered somebody who asks at address, and then wants no failure any more.
func (c *cluster) reached(what string, dial fabric.DialFunc, address string, pods []pod) {
	c.t.Helper()
	c.eventually(what+" is answered", func() error { _, err := fetch(dial, "http://"+address+"/"); return err })
	counting := fabric.Client{Dial: dial, Address: address}.Count(c.t)
	c.eventually(what+" is answered by all", func() error {
		if seen := counting.SoFar(); len(seen.By) < len(pods) {
			return fmt.Errorf("only by %v; %s", seen.By, seen.Kinds())
		}
		return nil
	})
	tally := counting.Stop()
	require.Empty(c.t, tally.Failures, "%s: %s", what, tally.Kinds())
}

// callsByName wants a pod to find the service by its names.
func (c *cluster) callsByName(p pod) {
	c.t.Helper()
	for _, name := range []string{"web", "web.default", "web.default.svc.cluster.local"} {
		c.eventually(fmt.Sprintf("%s on %s calls %s", p.name, p.node, name), func() error {
			answer, err := fetch(c.machine(p.node), "http://"+p.ip+":8080/call/"+name)
			if err == nil && !strings.Contains(answer, "from web-") {
				err = fmt.Errorf("it heard %q", answer)
			}
			return err
		})
	}
}

// TestAMachineDies is the application's day: reached from everywhere, a machine killed under it, and back.
func TestAMachineDies(t *testing.T) {
	c := open(t)
	pods := c.deploy()
	virtual := c.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	for _, node := range nodes {
		c.reached("the service's address on "+node, c.machine(node), virtual+":80", pods)
		c.reached("the node port of "+node+" from outside", c.machine(""), net.JoinHostPort(c.address(node), nodePort), pods)
	}
	for _, p := range pods {
		c.reached("the service's address in "+p.name, c.inside(p), virtual+":80", pods)
		c.callsByName(p)
	}
	t.Log("its service is reached at its cluster IP from every node and from every pod, by its name from every pod, and at every node's port from outside")

	lost := "node2"
	counted := map[string]*fabric.Counting{
		"from outside, at a node port":                    fabric.Client{Dial: c.machine(""), Address: net.JoinHostPort(c.address("node1"), nodePort)}.Count(t),
		"from a pod, at the cluster IP":                   fabric.Client{Dial: c.inside(on(pods, "node3")), Address: virtual + ":80"}.Count(t),
		"from a pod, held connections, at the cluster IP": fabric.Client{Dial: c.inside(on(pods, "node1")), Address: virtual + ":80"}.Hold(t),
	}
	killed := time.Now()
	c.docker("kill", lost)
	noticed := c.expectReady(lost, "Unknown")
	left, whole := c.expectPods("app=web", 6, lost)
	t.Logf("%s killed: noticed after %.1f s, 6 pods ready elsewhere after %.1f s", lost, noticed.Seconds(), (noticed + whole).Seconds())
	settled := time.Now()
	c.eventually("a while without a failure", func() error {
		if time.Since(settled) < 3*time.Second {
			return fmt.Errorf("only %s", time.Since(settled))
		}
		return nil
	})
	for what, counting := range counted {
		c.mild(what, counting.Stop(), killed, noticed)
	}
	c.tells(left, pods, lost)
	c.returns(lost)
}

// on is a pod of a node.
func on(pods []pod, node string) pod {
	for _, p := range pods {
		if p.node == node {
			return p
		}
	}
	return pod{}
}

// mild wants failures only until the lost node's endpoints were out of rotation, and of no more requests than went there.
func (c *cluster) mild(what string, tally fabric.Tally, killed time.Time, noticed time.Duration) {
	c.t.Helper()
	last, late := time.Duration(0), []string(nil)
	for _, f := range tally.Failures {
		after := f.At.Sub(killed)
		if last = max(last, after); after > noticed+time.Second {
			late = append(late, fmt.Sprintf("%s: %v", f.At.Format(time.StampMilli), f.Err))
		}
	}
	c.t.Logf("%s: %s; the last failure %.1f s after the kill (%s)", what, tally, last.Seconds(), tally.Kinds())
	assert.Empty(c.t, late, "%s: requests fail though the node is known to be lost", what)
	require.Less(c.t, len(tally.Failures), tally.Total/2, "%s", what)
}

// tells wants the ledger to say why a pod is where it is now, down to the machine that was lost.
func (c *cluster) tells(now, before []pod, lost string) {
	c.t.Helper()
	known := map[string]bool{}
	for _, p := range before {
		known[p.name] = true
	}
	for _, p := range now {
		if known[p.name] {
			continue
		}
		story := c.wake("why", "pod/"+p.name)
		c.t.Logf("wake why pod/%s\n%s", p.name, story)
		for _, step := range []string{"PodBound", "PodCreated", "PodEvicted", "NodeLost", "nodes/" + lost} {
			require.Contains(c.t, story, step, "why %s is there", p.name)
		}
		return
	}
	require.Fail(c.t, "no pod is new")
}

// returns starts a machine again, and wants it to run pods and to serve.
func (c *cluster) returns(node string) {
	c.t.Helper()
	c.docker("start", node)
	after := c.expectReady(node, "True")
	c.kubectl("scale", "deployment/web", "--replicas=9")
	pods, _ := c.expectPods("app=web", 9, "")
	require.NotEmpty(c.t, on(pods, node).name, "%s runs pods again: %v", node, pods)
	c.reached("the returned node's port from outside", c.machine(""), net.JoinHostPort(c.address(node), nodePort), pods)
	here := 0
	for _, p := range pods {
		if p.node == node {
			here++
		}
	}
	c.t.Logf("%s started again: ready after %.1f s, %d of 9 pods are there, its port serves", node, after.Seconds(), here)
	c.eventually("what was decided while it was away holds: a sandbox and a container for each of its pods, nothing else", func() error {
		out, err := run("", "docker", "exec", "wake-"+node, "docker", "ps", "--quiet", "--filter", "name=_web-")
		if has := strings.Fields(out); err == nil && len(has) != 2*here {
			err = fmt.Errorf("%d containers for %d pods", len(has), here)
		}
		return err
	})
}

// TestOneOfEachKindDies wants the cluster to work while one of each of its processes is missing, and nobody to notice who talks to the application.
func TestOneOfEachKindDies(t *testing.T) {
	c := open(t)
	since := time.Now().UTC().Format(time.RFC3339)
	pods := c.deploy()
	virtual := c.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	counting := fabric.Client{Dial: c.inside(on(pods, "node1")), Address: virtual + ":80"}.Count(t)
	for _, kinds := range [][]string{{"broker1", "gateway1", "scheduler1", "controllers1", "feed1"}, {"broker2", "gateway2", "scheduler2", "controllers2", "feed2"}, {"broker3", "keeper", "front"}} {
		c.docker("kill", kinds...)
		if kinds[1] == "keeper" { // people can use a gateway themselves
			c.docker("start", "front")
		}
		began := time.Now()
		c.eventually("a change is taken", func() error {
			_, err := c.tryWake("", "kubectl", "scale", "deployment/web", "--replicas=9")
			return err
		})
		taken := time.Since(began)
		_, ran := c.expectPods("app=web", 9, "")
		c.t.Logf("without %s: a change is taken after %.1f s, 3 more pods are ready %.1f s later", strings.Join(kinds, ", "), taken.Seconds(), ran.Seconds())
		c.docker("start", kinds...)
		c.whole()
		c.kubectl("scale", "deployment/web", "--replicas=6")
		c.expectPods("app=web", 6, "")
	}
	tally := counting.Stop()
	t.Logf("a pod's requests meanwhile, at the cluster IP: %s", tally)
	require.Empty(t, tally.Failures, tally.Kinds())
	for _, node := range nodes {
		require.Equal(t, "True", c.kubectl("get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`), "%s never left", node)
	}
	t.Logf("wake verify\n%s", c.wake("verify", "--from", since))
}

// whole waits until all processes can do their work again: brokers are in step, both gateways ready.
func (c *cluster) whole() {
	c.t.Helper()
	for _, context := range []string{"wake-1", "wake-2"} {
		c.eventually("gateway "+context, func() error {
			_, err := c.tryWake("", "kubectl", "--context", context, "get", "--raw", "/readyz")
			return err
		})
	}
}
