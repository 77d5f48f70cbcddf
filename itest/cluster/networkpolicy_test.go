package cluster

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// silence is how long a test waits for an answer that mustn't come: retransmissions of the first packet fit in.
const silence = 1500 * time.Millisecond

// policedPods are a server and its clients, in two namespaces.
const policedPods = `
apiVersion: v1
kind: Namespace
metadata: {name: other, labels: {team: other}}
---
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "wake.dev/demo:1", ports: [{name: http, containerPort: 8080}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: friend, labels: {app: friend}}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: "wake.dev/demo:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, labels: {app: stranger}}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: "wake.dev/demo:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: friend, namespace: other, labels: {app: friend}}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: "wake.dev/demo:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: http}]}
`

// policed is a cluster with those pods.
type policed struct {
	*cluster
	server, friend, stranger, outsider inPod // the outsider is the friend of the other namespace
	at, service                        string
}

func newPoliced(t *testing.T) *policed {
	demo(t)
	p := &policed{cluster: start(t)}
	p.apply(policedPods)
	p.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
	p.kubectl("-n", "other", "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
	p.server, p.friend, p.stranger = p.enter("default", "server"), p.enter("default", "friend"), p.enter("default", "stranger")
	p.outsider = p.enter("other", "friend")
	p.at = p.ip("default", "server") + ":8080"
	p.service = strings.TrimSpace(p.kubectl("get", "service", "server", "-o", "jsonpath={.spec.clusterIP}")) + ":80"
	return p
}

func (p *policed) ip(namespace, pod string) string {
	p.t.Helper()
	return strings.TrimSpace(p.kubectl("-n", namespace, "get", "pod", pod, "-o", "jsonpath={.status.podIP}"))
}

// policy applies a NetworkPolicy of the server's, or of whom the spec selects.
func (p *policed) policy(name, spec string) {
	p.t.Helper()
	p.apply(fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: %s}\nspec: %s\n", name, spec))
}

// ingress allows the server what rules say, in place of what it was allowed before.
func (p *policed) ingress(rules string) {
	p.t.Helper()
	p.policy("server", "{podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress], ingress: "+rules+"}")
}

// reaches waits until each of the clients reaches an address, and misses until none does.
func (p *policed) reaches(address string, clients ...inPod) {
	p.t.Helper()
	for _, client := range clients {
		p.eventually(client.name+" reaches "+address, func() error { _, err := client.get(address, silence); return err })
	}
}

func (p *policed) misses(address string, clients ...inPod) {
	p.t.Helper()
	for _, client := range clients {
		p.eventually(client.name+" misses "+address, func() error {
			if body, err := client.get(address, silence); err == nil {
				return fmt.Errorf("it answers %q", body)
			}
			return nil
		})
	}
}

// TestNetworkPolicies asks from pods, while policies come, change and go; then while Wake is dead, and after it has come back.
func TestNetworkPolicies(t *testing.T) {
	p := newPoliced(t)
	everybody := []inPod{p.friend, p.stranger, p.outsider}
	p.reaches(p.at, everybody...)
	p.reaches(p.service, everybody...)

	p.policy("default-deny", "{podSelector: {}, policyTypes: [Ingress]}")
	p.misses(p.at, everybody...)
	p.misses(p.service, everybody...)
	p.reaches(p.ip("other", "friend")+":8080", p.server) // which no policy selects
	_, err := get(newConnections(), "http://"+p.at+"/")
	require.NoError(t, err, "the node itself reaches its pods")

	p.ingress("[{from: [{podSelector: {matchLabels: {app: friend}}}]}]")
	p.reaches(p.at, p.friend)
	p.reaches(p.service, p.friend)
	p.misses(p.at, p.stranger, p.outsider)
	p.ingress("[{from: [{namespaceSelector: {matchLabels: {team: other}}}]}]")
	p.reaches(p.at, p.outsider)
	p.misses(p.at, p.friend, p.stranger)
	p.ingress("[{from: [{namespaceSelector: {matchLabels: {team: other}}, podSelector: {matchLabels: {app: stranger}}}]}]")
	p.misses(p.at, everybody...)

	t.Run("blocks and ports", func(t *testing.T) { p.in(t).blocksAndPorts() })
	t.Run("egress", func(t *testing.T) { p.in(t).egress() })
	t.Run("labels change on live pods", func(t *testing.T) { p.in(t).relabelled() })
	t.Run("without Wake, and after it has come back", func(t *testing.T) { p.in(t).restarted() })

	p.kubectl("delete", "networkpolicy", "--all")
	p.reaches(p.at, everybody...)
}

// in is the same cluster for another test.
func (p *policed) in(t *testing.T) *policed {
	same, c := *p, *p.cluster
	c.t = t
	same.cluster = &c
	return &same
}

func (p *policed) blocksAndPorts() {
	friend := p.ip("default", "friend")
	p.ingress("[{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]")
	p.reaches(p.at, p.friend, p.stranger, p.outsider)
	p.ingress(`[{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [` + friend + `/32]}}]}]`)
	p.misses(p.at, p.friend)
	p.reaches(p.at, p.stranger, p.outsider)
	p.ingress("[{from: [{ipBlock: {cidr: " + friend + "/32}}], ports: [{protocol: TCP, port: 9000}]}]")
	p.misses(p.at, p.friend, p.stranger)
	p.ingress("[{ports: [{protocol: TCP, port: 8000, endPort: 8100}]}]")
	p.reaches(p.at, p.friend, p.stranger)
	p.ingress("[{ports: [{protocol: TCP, port: 8081, endPort: 8100}, {protocol: UDP, port: 8080}]}]")
	p.misses(p.at, p.friend, p.stranger)
	p.ingress("[{from: [{podSelector: {}}], ports: [{port: http}]}]")
	p.reaches(p.at, p.friend, p.stranger)
	p.misses(p.at, p.outsider)
}

func (p *policed) egress() {
	p.ingress("[{}]")
	p.reaches(p.at, p.friend, p.outsider)
	p.policy("friend", "{podSelector: {matchLabels: {app: friend}}, policyTypes: [Egress]}")
	p.misses(p.at, p.friend)
	p.misses(p.service, p.friend)
	p.reaches(p.at, p.stranger, p.outsider) // a policy is its namespace's
	p.policy("friend", "{podSelector: {matchLabels: {app: friend}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: server}}}], ports: [{port: 8080}]}]}")
	p.reaches(p.at, p.friend)
	p.reaches(p.service, p.friend)
	p.misses(p.ip("other", "friend")+":8080", p.friend)
	p.kubectl("delete", "networkpolicy", "friend")
	p.reaches(p.ip("other", "friend")+":8080", p.friend)
}

// relabelled lets a pod in and out by its labels, and cuts a connection that is open.
func (p *policed) relabelled() {
	p.ingress("[{from: [{podSelector: {matchLabels: {app: friend}}}]}]")
	p.misses(p.at, p.stranger)
	p.kubectl("label", "pod", "stranger", "--overwrite", "app=friend")
	p.reaches(p.at, p.stranger)
	open, err := p.stranger.connect(p.at, patience)
	require.NoError(p.t, err)
	defer func() { _ = open.Close() }()
	_, err = open.ask(patience)
	require.NoError(p.t, err)
	p.kubectl("label", "pod", "stranger", "--overwrite", "app=stranger")
	p.misses(p.at, p.stranger)
	_, err = open.ask(silence)
	require.Error(p.t, err, "what is forbidden now stands still, though it was allowed when it began")
}

// restarted kills Wake with a connection open, asks while it is dead, and starts it again.
func (p *policed) restarted() {
	p.ingress("[{from: [{podSelector: {matchLabels: {app: friend}}}]}]")
	p.misses(p.at, p.stranger)
	p.reaches(p.at, p.friend)
	open, err := p.friend.connect(p.at, patience)
	require.NoError(p.t, err)
	defer func() { _ = open.Close() }()
	_, err = open.ask(patience)
	require.NoError(p.t, err)

	p.kill()
	_, err = p.stranger.get(p.at, silence)
	require.Error(p.t, err, "policies hold while Wake is dead")
	_, err = p.friend.get(p.at, patience)
	require.NoError(p.t, err)
	_, err = open.ask(patience)
	require.NoError(p.t, err, "an open connection goes on while Wake is dead")

	leaks, stop := make(chan int), make(chan struct{})
	go func() {
		count := 0
		for {
			select {
			case <-stop:
				leaks <- count
				return
			default:
			}
			if _, err := p.stranger.get(p.at, 200*time.Millisecond); err == nil {
				count++
			}
		}
	}()
	p.begin()
	p.policy("later", "{podSelector: {matchLabels: {app: stranger}}, policyTypes: [Ingress]}") // the new process has taken over when this holds
	p.misses(p.ip("default", "stranger")+":8080", p.outsider)
	close(stop)
	require.Zero(p.t, <-leaks, "a restart lets nothing through")
	_, err = open.ask(patience)
	require.NoError(p.t, err, "a restart cuts no connection that is allowed")
}

// TestPolicyRulesGoWithTheCluster looks at what is left when a cluster is removed.
func TestPolicyRulesGoWithTheCluster(t *testing.T) {
	tables := func() string {
		out, err := exec.Command("nft", "list", "tables").CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	others := tables()
	p := newPoliced(t)
	p.ingress("[]")
	p.misses(p.at, p.friend)
	require.Contains(t, tables(), "inet wake-policy-")
	require.Contains(t, tables(), "bridge wake-policy-")
	p.stop()
	p.wake("down", "--containers")
	for line := range strings.Lines(tables()) {
		require.True(t, !strings.Contains(line, "wake-policy-") || strings.Contains(others, line), "it is still there: %s", line)
	}
}
