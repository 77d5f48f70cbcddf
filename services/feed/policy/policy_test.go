package policy

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

var kinds = sync.OnceValue(func() *schemas.Registry {
	registry, err := schemas.NewRegistry()
	if err != nil {
		panic(err)
	}
	return registry
})

var nodes = []string{"n1", "n2"}

// world is a state that changes, a Resolver that follows it, and what nodes gather from that.
type world struct {
	t        require.TestingT
	state    *events.State
	resolver *Resolver
	gathered map[string]told
	said     int // how much was told
}

func newWorld(t require.TestingT) *world {
	w := &world{t: t, state: events.NewState(kinds()), gathered: map[string]told{}}
	w.resolver = New(w.state)
	for _, node := range nodes {
		w.gathered[node] = told{}
	}
	return w
}

// happen folds one event and lets the nodes know, as the feed does.
func (w *world) happen(p events.Proposal) {
	p.Revision, p.At = w.state.Revision()+1, time.Unix(0, 0)
	changes, err := w.state.Apply(p.Event)
	require.NoError(w.t, err)
	for _, c := range changes {
		type entry struct {
			node string
			name Name
		}
		touched := map[entry]bool{}
		w.resolver.Apply(c, func(node string, name Name) { touched[entry{node, name}] = true })
		w.said += len(touched)
		for e := range touched {
			o, entitled, err := w.resolver.Object(e.node, e.name)
			require.NoError(w.t, err)
			if entitled {
				w.gathered[e.node][e.name] = o
			} else {
				delete(w.gathered[e.node], e.name)
			}
		}
	}
}

func (w *world) get(kind events.GroupResource, namespace, name string) *events.Object {
	o, _ := w.state.Get(events.Ref{Group: kind.Group, Resource: kind.Resource, Namespace: namespace, Name: name})
	return o
}

// put creates an object or changes it.
func (w *world) put(kind events.GroupResource, obj runtime.Object) {
	m := obj.(metav1.Object)
	if o := w.get(kind, m.GetNamespace(), m.GetName()); o != nil {
		m.SetUID(o.Meta().GetUID())
		w.happen(events.Alter(o, obj, "ObjectChanged"))
		return
	}
	m.SetUID(types.UID(fmt.Sprint("uid-", w.state.Revision())))
	w.happen(events.Create(w.state, obj, "ObjectCreated"))
}

func (w *world) remove(kind events.GroupResource, namespace, name string) {
	if o := w.get(kind, namespace, name); o != nil {
		w.happen(events.Remove(o, "ObjectDeleted"))
	}
}

func (w *world) start(pod *corev1.Pod, node, ip string) {
	w.put(podsKind, pod)
	w.happen(events.Place(w.get(podsKind, pod.Namespace, pod.Name), events.Placement{Node: node}, "PodBound"))
	w.report(pod.Namespace, pod.Name, corev1.PodRunning, ip)
}

func (w *world) report(namespace, name string, phase corev1.PodPhase, ip string) {
	o := w.get(podsKind, namespace, name)
	pod := o.Typed().(*corev1.Pod).DeepCopy()
	pod.Status.Phase, pod.Status.PodIP, pod.Status.PodIPs = phase, ip, nil
	if ip != "" {
		pod.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	}
	w.happen(events.Observe(o, pod, "PodStatusChanged"))
}

func testPod(namespace, name string, set map[string]string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: set}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "c", Image: "i", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8000 + int32(len(name)), Protocol: corev1.ProtocolTCP}},
	}}}}
}

var (
	teams    = []string{"", "red", "blue"}
	apps     = []string{"", "web", "db"}
	spaces   = []string{"a", "b"}
	protocol = rapid.SampledFrom([]corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP})
)

func label(key, value string) map[string]string {
	if value == "" {
		return nil
	}
	return map[string]string{key: value}
}

func drawSelector(r *rapid.T, key string, values []string) *metav1.LabelSelector {
	value := rapid.SampledFrom(values).Draw(r, key)
	if rapid.Bool().Draw(r, "expression") && value != "" {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: metav1.LabelSelectorOpNotIn, Values: []string{value}}}}
	}
	return &metav1.LabelSelector{MatchLabels: label(key, value)}
}

func drawPeers(r *rapid.T) (peers []networkingv1.NetworkPolicyPeer) {
	for range rapid.IntRange(0, 2).Draw(r, "peers") {
		var p networkingv1.NetworkPolicyPeer
		switch rapid.IntRange(0, 3).Draw(r, "peer") {
		case 0:
			p.PodSelector = drawSelector(r, "app", apps)
		case 1:
			p.NamespaceSelector = drawSelector(r, "team", teams)
		case 2:
			p.PodSelector, p.NamespaceSelector = drawSelector(r, "app", apps), drawSelector(r, "team", teams)
		case 3:
			p.IPBlock = &networkingv1.IPBlock{CIDR: "10.0.0.0/24", Except: []string{"10.0.0.2/32", "10.0.0.16/28"}}
		}
		peers = append(peers, p)
	}
	return peers
}

func drawPorts(r *rapid.T) (all []networkingv1.NetworkPolicyPort) {
	for range rapid.IntRange(0, 2).Draw(r, "ports") {
		var p networkingv1.NetworkPolicyPort
		if rapid.Bool().Draw(r, "has protocol") {
			chosen := protocol.Draw(r, "protocol")
			p.Protocol = &chosen
		}
		switch rapid.IntRange(0, 3).Draw(r, "port") {
		case 0:
			port := intstr.FromString("http")
			p.Port = &port
		case 1:
			port := intstr.FromInt32(8002)
			p.Port = &port
		case 2:
			port, end := intstr.FromInt32(8000), int32(8001)
			p.Port, p.EndPort = &port, &end
		}
		all = append(all, p)
	}
	return all
}

func drawPolicy(r *rapid.T) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{
		Namespace: rapid.SampledFrom(spaces).Draw(r, "namespace"), Name: rapid.SampledFrom([]string{"p1", "p2", "p3"}).Draw(r, "policy"),
	}}
	p.Spec.PodSelector = *drawSelector(r, "app", apps)
	p.Spec.PolicyTypes = rapid.SampledFrom([][]networkingv1.PolicyType{
		{networkingv1.PolicyTypeIngress}, {networkingv1.PolicyTypeEgress}, {networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
	}).Draw(r, "types")
	for range rapid.IntRange(0, 2).Draw(r, "ingress") {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: drawPeers(r), Ports: drawPorts(r)})
	}
	for range rapid.IntRange(0, 2).Draw(r, "egress") {
		p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: drawPeers(r), Ports: drawPorts(r)})
	}
	return p
}

// step lets something happen.
func (w *world) step(r *rapid.T) {
	namespace := rapid.SampledFrom(spaces).Draw(r, "in")
	i := rapid.IntRange(1, 3).Draw(r, "which")
	name := map[int]string{1: "x", 2: "xx", 3: "xxx"}[i]
	ip := fmt.Sprintf("10.0.0.%d", map[string]int{"a": 0, "b": 15}[namespace]+i)
	exists := w.get(podsKind, namespace, name) != nil
	switch what := rapid.IntRange(0, 9).Draw(r, "what"); {
	case what <= 1:
		w.put(policiesKind, drawPolicy(r))
	case what == 2:
		w.remove(policiesKind, namespace, rapid.SampledFrom([]string{"p1", "p2", "p3"}).Draw(r, "policy"))
	case what == 3:
		w.put(namespacesKind, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: label("team", rapid.SampledFrom(teams).Draw(r, "team"))}})
	case what == 4:
		w.remove(namespacesKind, "", namespace)
	case what == 5 && exists:
		w.remove(podsKind, namespace, name)
	case what == 6 && exists:
		w.report(namespace, name, rapid.SampledFrom([]corev1.PodPhase{corev1.PodRunning, corev1.PodSucceeded}).Draw(r, "phase"), ip)
	case what == 7 && exists:
		pod := w.get(podsKind, namespace, name).Typed().(*corev1.Pod).DeepCopy()
		pod.Labels = label("app", rapid.SampledFrom(apps).Draw(r, "app"))
		w.put(podsKind, pod)
	case !exists:
		pod := testPod(namespace, name, label("app", rapid.SampledFrom(apps).Draw(r, "app")))
		pod.Spec.HostNetwork = rapid.IntRange(0, 9).Draw(r, "host network") == 0
		w.start(pod, rapid.SampledFrom(nodes).Draw(r, "node"), ip)
	}
}

// TestNodesKnowWhatTheObjectsSay lets things happen at random. It holds that what nodes gather is what a fresh look at the state gives, and that it
// answers every question as the objects themselves do.
func TestNodesKnowWhatTheObjectsSay(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(r)
		for range rapid.IntRange(1, 50).Draw(r, "steps") {
			w.step(r)
		}
		fresh := New(w.state)
		for _, node := range nodes {
			require.Equal(r, everything(r, fresh, node), w.gathered[node], "what %s knows", node)
		}
		var pods []*corev1.Pod
		for o := range w.state.All(podsKind, "") {
			if p := o.Typed().(*corev1.Pod); counts(p) && p.Status.PodIP != "" {
				pods = append(pods, p)
			}
		}
		for _, pod := range pods {
			for _, c := range questions(pod, pods) {
				require.Equal(r, naive{w.state}.allowed(c), w.gathered[pod.Spec.NodeName].allowed(r, c), "%+v", c)
			}
		}
	})
}

func questions(pod *corev1.Pod, pods []*corev1.Pod) (all []connection) {
	for _, ingress := range []bool{true, false} {
		for _, port := range []uint16{8000, 8001, 8002, 8003, 8004} {
			for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
				for _, far := range pods {
					all = append(all, connection{pod, ingress, far, netip.MustParseAddr(far.Status.PodIP), protocol, port})
				}
				all = append(all, connection{pod, ingress, nil, netip.MustParseAddr("10.0.0.99"), protocol, port})
			}
		}
	}
	return all
}

// TestAChangeCostsWhatItTouches has a pod among many change, and counts what nodes hear.
func TestAChangeCostsWhatItTouches(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		w.start(testPod("a", fmt.Sprint("web-", i), label("app", "web")), "n1", fmt.Sprintf("10.0.1.%d", i))
		w.start(testPod("b", fmt.Sprint("db-", i), label("app", "db")), "n2", fmt.Sprintf("10.0.2.%d", i))
	}
	from := []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}, PodSelector: &metav1.LabelSelector{MatchLabels: label("app", "web")}}}
	for i := range 20 {
		w.put(policiesKind, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: fmt.Sprint("p", i)}, Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, Ingress: []networkingv1.NetworkPolicyIngressRule{{From: from}},
		}})
	}
	require.Empty(t, w.gathered["n1"], "n1 has no pod that a policy selects")
	require.Len(t, w.gathered["n2"], 50+20+50, "isolated pods, policies, members of the one group")

	w.said = 0
	w.report("a", "web-7", corev1.PodRunning, "10.0.1.200")
	require.Equal(t, 1, w.said, "a new address is told once, however many policies let the pod in")
	w.said = 0
	o := w.get(podsKind, "a", "web-7")
	again := o.Typed().(*corev1.Pod).DeepCopy()
	again.Status.Message = "still fine"
	w.happen(events.Observe(o, again, "PodStatusChanged"))
	require.Zero(t, w.said)
	w.said = 0
	relabelled := w.get(podsKind, "a", "web-7").Typed().(*corev1.Pod).DeepCopy()
	relabelled.Labels = label("app", "db")
	w.put(podsKind, relabelled)
	require.Equal(t, 1, w.said)
	w.said = 0
	w.remove(podsKind, "b", "db-3")
	require.Equal(t, 1, w.said)
}
