package verify

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/wakehq/wake/events"
)

func decode(t require.TestingT, manifest string, into any) {
	require.NoError(t, yaml.Unmarshal([]byte(manifest), into))
}

var (
	podsKind        = events.GroupResource{Resource: "pods"}
	nodesKind       = events.GroupResource{Resource: "nodes"}
	servicesKind    = events.GroupResource{Resource: "services"}
	deploymentsKind = events.GroupResource{Group: "apps", Resource: "deployments"}
	setsKind        = events.GroupResource{Group: "apps", Resource: "replicasets"}
	jobsKind        = events.GroupResource{Group: "batch", Resource: "jobs"}
)

const (
	nodeManifest = `{apiVersion: v1, kind: Node, metadata: {name: %s, labels: {topology.kubernetes.io/zone: z%d}},
status: {capacity: {cpu: "4", memory: 8Gi, pods: "20"}, allocatable: {cpu: "4", memory: 8Gi, pods: "20"}, conditions: [{type: Ready, status: "True"}]}}`
	leaseManifest = `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: %s, namespace: kube-node-lease}, spec: {holderIdentity: %[1]s, renewTime: "%s"}}`

	deploymentManifest = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: %[1]s, namespace: %[2]s}, spec: {replicas: %[3]d,
selector: {matchLabels: {app: %[1]s}}, template: {metadata: {labels: {app: %[1]s, tier: any}}, spec: {terminationGracePeriodSeconds: 3,
tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: %[4]d}],
containers: [{name: c, image: "demo:1", resources: {requests: {cpu: %[5]dm}}}]}}}}`
	jobManifest = `{apiVersion: batch/v1, kind: Job, metadata: {name: %s, namespace: %s}, spec: {completions: %d, parallelism: 2, backoffLimit: 1,
completionMode: %s, ttlSecondsAfterFinished: 5, template: {spec: {restartPolicy: Never, containers: [{name: c, image: job}]}}}}`
	serviceManifest = `{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: %s}, spec: {type: %s, selector: {%s}, ports: [{port: 80}]}}`
	setManifest     = `{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: %[1]s, namespace: %[2]s}, spec: {replicas: 2,
selector: {matchLabels: {app: %[1]s}}, template: {metadata: {labels: {app: %[1]s}}, spec: {topologySpreadConstraints: [{maxSkew: 1,
topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: %[1]s}}}], containers: [{name: c, image: i}]}}}}`
	poolManifest = `{apiVersion: v1, kind: ConfigMap, metadata: {name: load-balancer-pools, namespace: kube-system}, data: {default: 192.0.2.1-192.0.2.%d}}`
	podManifest  = `{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: %s, labels: {app: %s}}, spec: {containers: [{name: c, image: i,
resources: {requests: {cpu: %dm}}}]}}`
)

// size is how much there is in a cluster.
type size struct{ nodes, replicas, users int }

var (
	small = size{nodes: 5, replicas: 5, users: 1}
	large = size{nodes: 40, replicas: 40, users: 6}
)

// day lets users, nodes and processes do this and that for a while: kills and restarts included.
func (c *cluster) day(length time.Duration) {
	kills := []func(){c.start(), c.start()}
	for i := range c.size.nodes {
		c.apply(fmt.Sprintf(nodeManifest, fmt.Sprintf("n%d", i), i%3))
	}
	c.apply(fmt.Sprintf(poolManifest, 1+c.size.users))
	for end := time.Now().Add(length); time.Now().Before(end); {
		for range c.size.users {
			c.user()
		}
		for range 1 + c.random.IntN(4) {
			c.nodes()
			time.Sleep(time.Duration(c.random.IntN(800)) * time.Millisecond)
		}
		if c.random.IntN(6) == 0 {
			i := c.random.IntN(len(kills))
			kills[i]()
			time.Sleep(time.Duration(c.random.IntN(2000)) * time.Millisecond)
			kills[i] = c.start()
		}
	}
	for _, kill := range kills {
		kill()
	}
}

// user does one thing that users do.
func (c *cluster) user() {
	home := []string{"default", "default", "team"}[c.random.IntN(3)]
	if home == "team" {
		c.apply(`{apiVersion: v1, kind: Namespace, metadata: {name: team}}`)
	}
	policies := []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan}
	policy := policies[c.random.IntN(len(policies))]
	switch c.random.IntN(17) {
	case 0, 1:
		c.apply(fmt.Sprintf(deploymentManifest, c.name("web"), home, 1+c.random.IntN(c.size.replicas), c.random.IntN(20), 100+c.random.IntN(400)))
	case 2, 3:
		c.with(deploymentsKind, func(ref events.Ref) {
			c.edit(ref, func(obj runtime.Object) {
				*obj.(*appsv1.Deployment).Spec.Replicas = int32(c.random.IntN(c.size.replicas + 1))
			})
		})
	case 4, 5:
		c.with(deploymentsKind, func(ref events.Ref) {
			c.edit(ref, func(obj runtime.Object) {
				obj.(*appsv1.Deployment).Spec.Template.Spec.Containers[0].Image = fmt.Sprintf("demo:%d", c.random.IntN(3))
			})
		})
	case 6:
		c.with(deploymentsKind, func(ref events.Ref) { c.remove(ref, policy) })
	case 7:
		c.apply(fmt.Sprintf(jobManifest, c.name("job"), home, 1+c.random.IntN(4), []string{"Indexed", "NonIndexed"}[c.random.IntN(2)]))
	case 8:
		c.with([]events.GroupResource{jobsKind, setsKind, servicesKind}[c.random.IntN(3)], func(ref events.Ref) { c.remove(ref, policy) })
	case 9:
		selector := "tier: any"
		c.with(deploymentsKind, func(ref events.Ref) { selector = "app: " + ref.Name })
		c.apply(fmt.Sprintf(serviceManifest, c.name("svc"), home, []string{"ClusterIP", "NodePort", "LoadBalancer"}[c.random.IntN(3)], selector))
	case 10:
		c.remove(events.Ref{Resource: "namespaces", Name: "team"}, metav1.DeletePropagationBackground)
	case 11:
		c.apply(fmt.Sprintf(setManifest, c.name("set"), home))
	case 12:
		app := "none"
		c.with(setsKind, func(ref events.Ref) { app = ref.Name }) // it may be adopted
		c.apply(fmt.Sprintf(podManifest, c.name("pod"), home, app, 100+c.random.IntN(5000)))
	case 13:
		c.with(podsKind, func(ref events.Ref) { c.remove(ref, policy) })
	case 14:
		c.with(nodesKind, func(ref events.Ref) {
			c.edit(ref, func(obj runtime.Object) {
				node := obj.(*corev1.Node)
				node.Spec.Unschedulable = !node.Spec.Unschedulable
			})
		})
	case 15:
		c.trouble()
	case 16:
		c.apply(fmt.Sprintf(poolManifest, 1+c.random.IntN(2*c.size.users))) // also fewer than there are services
	}
}

// trouble lets a node fall silent or speak again, or takes it away.
func (c *cluster) trouble() {
	name := fmt.Sprintf("n%d", c.random.IntN(c.size.nodes))
	switch {
	case c.random.IntN(4) == 0:
		c.remove(events.Ref{Resource: "nodes", Name: name}, metav1.DeletePropagationBackground)
	case c.dead[name]:
		delete(c.dead, name)
		c.apply(fmt.Sprintf(nodeManifest, name, 0))
	default:
		c.dead[name] = true
	}
}

// with does something to a random object of a kind, if there is one.
func (c *cluster) with(gr events.GroupResource, do func(events.Ref)) {
	state := c.view.State()
	if n := state.Count(gr); n > 0 {
		n = c.random.IntN(n)
		for o := range state.All(gr, "") {
			if n == 0 {
				do(o.Ref)
				return
			}
			n--
		}
	}
}

// nodes let pods take their next steps, and say that they live.
func (c *cluster) nodes() {
	state := c.view.State()
	for o := range state.All(nodesKind, "") {
		if name := o.Ref.Name; !c.dead[name] && time.Since(c.renewed[name]) >= 10*time.Second {
			c.renewed[name] = time.Now()
			c.apply(fmt.Sprintf(leaseManifest, name, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")))
		}
	}
	for o := range state.All(podsKind, "") {
		pod := o.Typed().(*corev1.Pod)
		if _, ok := state.Get(events.Ref{Resource: "nodes", Name: pod.Spec.NodeName}); ok && !c.dead[pod.Spec.NodeName] && c.random.IntN(3) > 0 {
			c.append("node:"+pod.Spec.NodeName, func(s *events.State) []events.Proposal { return c.step(s, o.Ref) })
		}
	}
}

// step is a pod's next step.
func (c *cluster) step(s *events.State, ref events.Ref) []events.Proposal {
	o, ok := s.Get(ref)
	if !ok {
		return nil
	}
	pod, now := o.Typed().(*corev1.Pod).DeepCopy(), metav1.NewTime(time.Now().Truncate(time.Second))
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	owner := metav1.GetControllerOf(pod)
	ready := func(is corev1.ConditionStatus) {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: is, LastTransitionTime: now}}
	}
	switch {
	case pod.DeletionTimestamp != nil && len(pod.Finalizers) == 0:
		return []events.Proposal{events.Remove(o, "PodDeleted")}
	case ended:
		return nil
	case pod.Status.Phase == corev1.PodPending:
		c.names++
		pod.Status.Phase, pod.Status.PodIP = corev1.PodRunning, fmt.Sprintf("10.1.%d.%d", c.names/250, 1+c.names%250)
		pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
		ready(corev1.ConditionTrue)
		return []events.Proposal{events.Observe(o, pod, "PodStarted", "status")}
	case owner != nil && owner.Kind == "Job" || pod.DeletionTimestamp != nil:
		code := int32(0)
		if pod.Status.Phase = corev1.PodSucceeded; c.random.IntN(3) == 0 {
			pod.Status.Phase, code = corev1.PodFailed, 1
		}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: code, FinishedAt: now}}}}
		ready(corev1.ConditionFalse)
		return []events.Proposal{events.Observe(o, pod, "PodEnded", "status")}
	case c.random.IntN(40) == 0:
		ready([]corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse}[c.random.IntN(2)])
		return []events.Proposal{events.Observe(o, pod, "PodReported", "status.conditions")}
	}
	return nil
}
