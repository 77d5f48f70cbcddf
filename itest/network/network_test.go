package network

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/itest/fabric"
)

// pod is the demo application on a node.
func pod(name, node, more string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: %s}}
spec:
  nodeName: %s
  containers: [{name: main, image: "wake.dev/demo:1", imagePullPolicy: IfNotPresent, readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}%s}]
`, name, name, node, more)
}

// running makes pods, and returns their addresses when they are ready.
func running(t *testing.T, c *fabric.Control, manifests map[string]string) map[string]string {
	t.Helper()
	for _, manifest := range manifests {
		c.Apply(manifest)
	}
	addresses := map[string]string{}
	for name := range manifests {
		c.Expect(name+" is ready", "True", "get", "pod", name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		addresses[name] = strings.TrimSpace(c.Kubectl("get", "pod", name, "-o", "jsonpath={.status.podIP}"))
	}
	return addresses
}

// container is the ID of a pod's container.
func container(c *fabric.Control, pod string) string {
	return strings.TrimPrefix(strings.TrimSpace(c.Kubectl("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].containerID}")), "docker://")
}

// answers waits for an answer of a pod.
func answers(t *testing.T, dial fabric.DialFunc, address, who, what string) {
	t.Helper()
	counting := fabric.Client{Dial: dial, Address: address}.Count(t)
	defer counting.Stop()
	for deadline := time.Now().Add(fabric.Patience); counting.SoFar().By[who] == 0; time.Sleep(20 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "%s (%s): %s", what, address, counting.SoFar().Kinds())
	}
}

// TestPodsAcrossMachines asks pods from pods, from nodes and from outside, where nodes share a link and where they don't.
func TestPodsAcrossMachines(t *testing.T) {
	for name, routed := range map[string]bool{"shared link": false, "behind routers": true} {
		t.Run(name, func(t *testing.T) {
			f := fabric.New(t, fabric.Config{Nodes: []string{"a", "b", "c"}, Routed: routed})
			c := f.Control()
			c.Up()
			c.Join(f.Node("a"), f.Node("b"))
			ips := running(t, c, map[string]string{
				"a1": pod("a1", "a", ""), "a2": pod("a2", "a", ""), "b1": pod("b1", "b", ", ports: [{containerPort: 8080, hostPort: 8888}]"),
			})
			c.Apply("apiVersion: v1\nkind: Service\nmetadata: {name: b1}\nspec: {selector: {app: b1}, type: NodePort, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}\n")
			f.Eventually("packets take the way that there is", func() error {
				if way := f.Node("a").Exec("ip", "route", "show", "proto", "157"); routed != strings.Contains(way, "wvx-") {
					return errors.New(way)
				}
				return nil
			})

			for _, from := range []struct{ pod, node string }{{"a1", "a"}, {"a2", "a"}, {"b1", "b"}} {
				for to, ip := range ips {
					answers(t, f.Node(from.node).ContainerDial(container(c, from.pod)), ip+":8080", to, from.pod+" asks "+to)
				}
			}
			a, outside := f.Node("a"), f.Machine(fabric.Outside)
			answers(t, a.Dial, ips["b1"]+":8080", "b1", "a node asks a pod elsewhere")
			answers(t, outside.Dial, f.Node("b").Addr.String()+":8888", "b1", "a host port from outside")
			answers(t, a.ContainerDial(container(c, "a1")), f.Node("b").Addr.String()+":8888", "b1", "a host port from a pod elsewhere")
			answers(t, outside.Dial, a.Addr.String()+":30080", "b1", "a node port on another node than the pod, from outside")

			t.Run("restarts", func(t *testing.T) { restarts(t, f.In(t), ips) })
			t.Run("coming and going", func(t *testing.T) { comingAndGoing(t, f.In(t)) })
		})
	}
}

// restarts kills agents, dockerd and the control plane under traffic.
func restarts(t *testing.T, f *fabric.Fabric, ips map[string]string) {
	a, b, c := f.Node("a"), f.Node("b"), f.Control()
	started := a.Docker("inspect", "--format", "{{.State.StartedAt}}", container(c, "a1")) + b.Docker("inspect", "--format", "{{.State.StartedAt}}", container(c, "b1"))
	clients := map[string]*fabric.Counting{
		"pod to pod":        fabric.Client{Dial: a.ContainerDial(container(c, "a1")), Address: ips["b1"] + ":8080", Timeout: 3 * time.Second}.Count(t),
		"one connection":    fabric.Client{Dial: a.ContainerDial(container(c, "a1")), Address: ips["b1"] + ":8080", Timeout: 3 * time.Second}.Hold(t),
		"host port outside": fabric.Client{Dial: f.Machine(fabric.Outside).Dial, Address: b.Addr.String() + ":8888", Timeout: 3 * time.Second}.Count(t),
	}
	for _, n := range []*fabric.Node{a, b} {
		n.KillAgent()
		n.Agent()
	}
	for _, n := range []string{"a", "b"} {
		c.Expect("the agent of "+n+" is heard", "True", "get", "node", n, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	}
	b.KillDocker()
	b.StartDocker()
	require.Contains(t, b.Exec("iptables", "-S", "DOCKER-USER"), "0x2000", "Docker leaves the rule that lets pods' packets through")
	c.Kill()
	b.KillAgent()
	b.Agent() // while the cluster is away
	before := clients["pod to pod"].SoFar().Total
	require.Eventually(t, func() bool { return clients["pod to pod"].SoFar().Total > before+50 }, 10*time.Second, 20*time.Millisecond)
	c.Up()
	c.Apply(pod("later", "b", ""))
	c.Expect("a pod that comes after all that runs", "Running", "get", "pod", "later", "-o", "jsonpath={.status.phase}")
	for name, counting := range clients {
		tally := counting.Stop()
		require.Empty(t, tally.Failures, "%s: %s (%s)", name, tally, tally.Kinds())
		t.Logf("%s: %s", name, tally)
	}
	require.Equal(t, started, a.Docker("inspect", "--format", "{{.State.StartedAt}}", container(c, "a1"))+
		b.Docker("inspect", "--format", "{{.State.StartedAt}}", container(c, "b1")), "no container was started again")
}

// comingAndGoing lets a node join, lose its power, and be deleted.
func comingAndGoing(t *testing.T, f *fabric.Fabric) {
	a, third, c := f.Node("a"), f.Node("c"), f.Control()
	c.Join(third)
	podRange := strings.TrimSpace(c.Kubectl("get", "node", "c", "-o", "jsonpath={.spec.podCIDR}"))
	knows := func() bool { return strings.Contains(a.Exec("ip", "route"), podRange) }
	until := func(what string, holds func() bool) {
		began := time.Now()
		f.Eventually(what, func() error {
			if !holds() {
				return errors.New(a.Exec("ip", "route"))
			}
			return nil
		})
		t.Logf("%s after %s", what, time.Since(began).Round(time.Millisecond))
	}
	until("its route is there", knows)
	ips := running(t, c, map[string]string{"c1": pod("c1", "c", "")})
	answers(t, a.ContainerDial(container(c, "a1")), ips["c1"]+":8080", "c1", "a pod on the node that has just come")

	third.PowerOff()
	c.ExpectReady("c", "Unknown")
	require.True(t, knows(), "a lost node keeps its routes: it may only be cut off")
	c.Kubectl("delete", "node", "c")
	until("a deleted one's are gone", func() bool { return !knows() })
	c.Expect("its range is free", "", "get", "lease", "-n", "kube-system", "podcidr-"+strings.ReplaceAll(podRange, "/", "-"), "--ignore-not-found")
}
