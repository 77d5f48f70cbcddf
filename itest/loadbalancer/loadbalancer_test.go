package loadbalancer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/itest/fabric"
)

const (
	address = "10.77.0.200" // on the fabric's link, and no machine's
	// moving is how long an address may take from its node's being called lost until another node is reached at it.
	moving = 5 * time.Second
)

// application is a pod on each node, and a service whose address leads to the pod of the node that announces it.
const application = `
apiVersion: v1
kind: Pod
metadata: {name: on-a, labels: {app: web}}
spec: {nodeName: a, terminationGracePeriodSeconds: 0, containers: [{name: main, image: "wake.dev/demo:1", imagePullPolicy: IfNotPresent}]}
---
apiVersion: v1
kind: Pod
metadata: {name: on-b, labels: {app: web}}
spec: {nodeName: b, terminationGracePeriodSeconds: 0, containers: [{name: main, image: "wake.dev/demo:1", imagePullPolicy: IfNotPresent}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`

const (
	announcer = `jsonpath={.metadata.annotations.wake\.dev/announced-by}`
	given     = `jsonpath={.status.loadBalancer.ingress[0].ip}`
)

func TestAddressOutlivesItsNode(t *testing.T) {
	f := fabric.New(t, fabric.Config{Nodes: []string{"a", "b"}})
	c := f.Control()
	c.Up()
	c.Join(f.Nodes()...)
	c.Apply(application)
	c.Expect("nobody has set addresses aside", "NoPool", "get", "service", "web", "-o", `jsonpath={.status.conditions[?(@.type=="wake.dev/LoadBalancerPending")].reason}`)
	require.Contains(t, c.Kubectl("get", "service", "web"), "<pending>")

	c.Kubectl("-n", "kube-system", "create", "configmap", "load-balancer-pools", "--from-literal=default="+address+"-10.77.0.201")
	c.Expect("the service has an address", address, "get", "service", "web", "-o", given)
	require.Contains(t, c.Kubectl("describe", "service", "web"), address+" (VIP)")
	c.Expect("both nodes have an endpoint", "true true", "get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", "jsonpath={.items[*].endpoints[*].conditions.ready}")
	neighbour := fabric.Client{Dial: c.Dial, Address: address + ":80"}.Count(t)
	beyond := fabric.Client{Dial: f.Machine(fabric.Outside).Dial, Address: address + ":80"}.Count(t)
	var first, second string
	f.Eventually("both clients are answered", func() error { // the address may just be moving to a node that has an endpoint
		first, second = announcing(c)
		return answered(neighbour, beyond, "on-"+first, 10)
	})

	f.Node(first).PowerOff()
	c.Expect("the node is noticed to be lost", "Unknown", "get", "node", first, "-o", of("status"))
	lost, err := time.Parse(time.RFC3339, c.Kubectl("get", "node", first, "-o", of("lastTransitionTime")))
	require.NoError(t, err)
	c.Expect("the other node announces it", second, "get", "ipaddress", address, "-o", announcer)
	f.Eventually("both clients are answered by the other node", func() error {
		return answered(neighbour, beyond, "on-"+second, 10)
	})
	for name, counting := range map[string]*fabric.Counting{"neighbour": neighbour, "beyond the router": beyond} {
		tally := counting.Stop()
		t.Logf("%s: %s; the other node answered %s after the second in which the first was lost", name, tally, tally.Answered["on-"+second][0].Sub(lost).Round(time.Millisecond))
		require.Less(t, tally.Answered["on-"+second][0].Sub(lost), moving, name)
	}
	require.Contains(t, c.Kubectl("describe", "service", "web"), address+" on "+second)
}

// announcing returns the node that announces the address, and the other one.
func announcing(c *fabric.Control) (first, second string) {
	first = strings.TrimSpace(c.Kubectl("get", "ipaddress", address, "-o", announcer))
	return first, map[string]string{"a": "b", "b": "a"}[first]
}

// of is the JSON path of a part of a node's condition Ready.
func of(part string) string { return `jsonpath={.status.conditions[?(@.type=="Ready")].` + part + `}` }

// TestAddressLeavesAnExcludedNode moves an address on purpose: hardly a request fails.
func TestAddressLeavesAnExcludedNode(t *testing.T) {
	f := fabric.New(t, fabric.Config{Nodes: []string{"a", "b"}})
	c := f.Control()
	c.Up("--load-balancer-pool", address)
	c.Join(f.Nodes()...)
	c.Apply(application)
	c.Expect("the service has an address", address, "get", "service", "web", "-o", given)
	c.Expect("both nodes have an endpoint", "true true", "get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", "jsonpath={.items[*].endpoints[*].conditions.ready}")
	neighbour := fabric.Client{Dial: c.Dial, Address: address + ":80"}.Count(t)
	var first, second string
	f.Eventually("the client is answered", func() error {
		first, second = announcing(c)
		return answered(neighbour, neighbour, "on-"+first, 50)
	})
	began := time.Now()
	c.Kubectl("label", "node", first, "node.kubernetes.io/exclude-from-external-load-balancers=")
	f.Eventually("the client is answered by the other node", func() error { return answered(neighbour, neighbour, "on-"+second, 50) })
	tally := neighbour.Stop()
	var failed int
	for _, failure := range tally.Failures {
		if failure.At.After(began) {
			failed++
		}
	}
	t.Logf("%s; %d failed while the address moved, %s after it was asked for", tally, failed, tally.Answered["on-"+second][0].Sub(began).Round(time.Millisecond))
	require.Less(t, failed, 150, "%s", tally.Kinds())
}
