package faults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/itest/fabric"
)

// The pods of web leave a node that is unreachable after five seconds, and one that isn't ready after a minute. Their liveness is asked of Docker, so that a dockerd that
// doesn't answer would have them restarted if that counted. A steady pod is on each node, and stays
// there whatever happens; requests from inside come from there.
const manifests = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 3
      tolerations:
        - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
        - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 60}
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}
      containers:
        - name: main
          image: wake.dev/demo:1
          imagePullPolicy: IfNotPresent
          resources: {requests: {cpu: 200m}}
          readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, timeoutSeconds: 3, failureThreshold: 2}
          livenessProbe: {exec: {command: [/demo, --exit]}, periodSeconds: 3, timeoutSeconds: 10, failureThreshold: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: written}
`

// onNode is a pod that stays on its node.
const onNode = `
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  containers:
    - name: main
      image: wake.dev/demo:1
      imagePullPolicy: IfNotPresent
      resources: {requests: {cpu: 200m}}
      readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, timeoutSeconds: 5}
      livenessProbe: {exec: {command: [/demo, --exit]}, periodSeconds: 3, timeoutSeconds: 10, failureThreshold: 1}
`

// The nodes. Requests from outside come in at one that stays; those from inside come from a pod there, or on the node that breaks if they can.
const (
	stays  = "a"
	breaks = "c"
)

// world is a cluster that faults come over.
type world struct {
	t testing.TB
	f *fabric.Fabric
	p *fabric.Plane
	// clusterIP is that of web.
	clusterIP string
}

func newWorld(t testing.TB) *world {
	f := fabric.New(t, fabric.Config{Controls: []string{"c1", "c2", "c3"}, Nodes: []string{"a", "b", "c"}})
	w := &world{t: t, f: f, p: f.Plane()}
	w.p.Up()
	w.p.Join(f.Nodes()...)
	all := manifests
	for _, n := range f.Nodes() {
		all += "---" + strings.NewReplacer("NAME", "steady-"+n.Name, "NODE", n.Name).Replace(onNode)
	}
	w.p.Apply(all)
	w.clusterIP = strings.TrimSpace(w.p.Kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"))
	return w
}

// in gives the world to a subtest.
func (w *world) in(t testing.TB) *world {
	f := w.f.In(t)
	return &world{t: t, f: f, p: f.Plane(), clusterIP: w.clusterIP}
}

func (w *world) outside() fabric.Client {
	return fabric.Client{Dial: w.f.Machine(fabric.Outside).Dial, Address: w.f.Node(stays).Addr.String() + ":30080"}
}

// inside asks from a pod of a node.
func (w *world) inside(node string) fabric.Client {
	id := strings.TrimPrefix(strings.TrimSpace(w.p.Kubectl("get", "pod", "steady-"+node, "-o", "jsonpath={.status.containerStatuses[0].containerID}")), "docker://")
	return fabric.Client{Dial: w.f.Node(node).ContainerDial(id), Address: w.clusterIP + ":80"}
}

// webPods are the pods of web by the node that they are on.
func (w *world) webPods() map[string][]string {
	pods := map[string][]string{}
	for row := range strings.Lines(w.p.Kubectl("get", "pods", "-l", "app=web", "-o", `jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{"\n"}{end}`)) {
		pod, node, _ := strings.Cut(strings.TrimSpace(row), " ")
		pods[node] = append(pods[node], pod)
	}
	return pods
}

// calm waits until nothing is broken: all nodes are ready, each has a pod of web, and these are the endpoints.
func (w *world) calm() {
	w.t.Helper()
	const pods = `jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{.metadata.deletionTimestamp} {end}`
	for _, n := range w.f.Nodes() {
		w.p.ExpectReady(n.Name, "True")
	}
	w.p.Expect("all pods are ready", strings.TrimSpace(strings.Repeat("True ", 6)), "get", "pods", "-o", pods)
	if on := w.webPods(); len(on) != 3 {
		w.p.Kubectl("scale", "deployment/web", "--replicas=0")
		w.p.Expect("web has no pods", "", "get", "pods", "-l", "app=web", "-o", "name")
		w.p.Kubectl("scale", "deployment/web", "--replicas=3")
		w.p.Expect("all pods are ready", strings.TrimSpace(strings.Repeat("True ", 6)), "get", "pods", "-o", pods)
		require.Len(w.t, w.webPods(), 3, "each node has a pod of web")
	}
	w.p.Expect("all are endpoints", "true true true", "get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", "jsonpath={.items[*].endpoints[*].conditions.ready}")
	for _, client := range []fabric.Client{w.outside(), w.inside(stays), w.inside(breaks)} {
		counting := client.Count(w.t)
		w.f.Eventually("each pod of web answers", func() error {
			if tally := counting.SoFar(); len(tally.By) < 3 {
				return fmt.Errorf("%s (%s); answers by %v", tally, tally.Kinds(), tally.By)
			}
			return nil
		})
		counting.Stop()
	}
}

// containers are the containers of the nodes' dockerds by ID, each with its pod and when it was started.
func (w *world) containers(nodes ...string) map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for _, name := range nodes {
		n := w.f.Node(name)
		for _, id := range strings.Fields(n.Docker("ps", "--all", "--quiet", "--no-trunc")) {
			all[id] = n.Docker("inspect", "--format", "{{.Name}} {{.State.StartedAt}} {{.State.Running}}", id)
		}
	}
	return all
}

// revision is the ledger's newest.
func (w *world) revision() uint64 {
	w.t.Helper()
	text := w.p.Kubectl("get", "--raw", "/api/v1/namespaces?limit=1")
	var list struct {
		Metadata struct{ ResourceVersion string }
	}
	require.NoError(w.t, json.Unmarshal([]byte(text), &list))
	revision, err := strconv.ParseUint(list.Metadata.ResourceVersion, 10, 64)
	require.NoError(w.t, err)
	return revision
}

// event is one of the ledger's.
type event struct {
	Revision uint64
	Stored   time.Time
	Type     string
	Actor    string
	Ref      struct{ Resource, Name string }
}

func (e event) String() string {
	return fmt.Sprintf("%d %s %s/%s by %s", e.Revision, e.Type, e.Ref.Resource, e.Ref.Name, e.Actor)
}

// log is what happened since a revision, but for what the test itself wrote.
func (w *world) log(after uint64) (all []event) {
	w.t.Helper()
	lines := bufio.NewScanner(strings.NewReader(w.p.Wake("log", "--all", "--from", strconv.FormatUint(after+1, 10), "-o", "json")))
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		var e event
		require.NoError(w.t, json.Unmarshal(lines.Bytes(), &e), lines.Text())
		if e.Ref.Resource != "configmaps" && e.Ref.Resource != "leases" {
			all = append(all, e)
		}
	}
	require.NoError(w.t, lines.Err())
	return all
}

// of are the events of a type about an object; any object if name is empty.
func of(all []event, eventType, name string) []event {
	return slices.DeleteFunc(slices.Clone(all), func(e event) bool { return e.Type != eventType || name != "" && e.Ref.Name != name })
}

// differing lists what is in only one of two sets of containers.
func differing(before, after map[string]string) (list []string) {
	for _, id := range slices.Sorted(maps.Keys(after)) {
		if before[id] != after[id] {
			list = append(list, "now "+after[id])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if after[id] == "" {
			list = append(list, "gone "+before[id])
		}
	}
	return list
}
