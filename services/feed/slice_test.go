package feed

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/services/feed/policy"
)

func TestSliceOfANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.Context(), t)
		w.create(secret("s1"))
		w.create(secret("s2"))
		w.create(service("web"))
		w.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
		w.create(pod("a", "s1"))
		w.bind(podName("a"), "n1")
		w.attach("n1")
		w.attach("n2")
		require.Equal(t, []string{"nodes/n1", "pods/a", "secrets/s1", "services/web"}, w.knows("n1"))
		require.Equal(t, []string{"services/web"}, w.knows("n2"))

		var got corev1.Pod
		require.NoError(t, got.Unmarshal(w.line.nodes["n1"].objects[podName("a")].Data))
		require.Equal(t, "n1", got.Spec.NodeName, "the merged object travels")

		// A pod comes, and with it the Secret that it names. Nobody else hears of it.
		w.create(pod("b", "s2", "s3"))
		w.bind(podName("b"), "n1")
		require.Equal(t, []string{"nodes/n1", "pods/a", "pods/b", "secrets/s1", "secrets/s2", "services/web"}, w.knows("n1"))
		require.Zero(t, w.line.nodes["n2"].published)

		// A Secret that is named before it exists is sent when it does.
		w.create(secret("s3"))
		require.Contains(t, w.knows("n1"), "secrets/s3")

		// The pod goes, and with it what only it named.
		w.do(events.Remove(w.get(podName("b")), "PodDeleted"))
		require.Equal(t, []string{"nodes/n1", "pods/a", "secrets/s1", "services/web"}, w.knows("n1"))
		published := w.line.nodes["n1"].published
		w.do(events.Alter(w.get(object{nodewire.Secrets, "default", "s2"}), secret("s2"), "SecretChanged"))
		require.Equal(t, published, w.line.nodes["n1"].published, "a Secret that no pod there names is none of its business")

		// Services are everybody's.
		w.create(service("db"))
		require.Contains(t, w.knows("n1"), "services/db")
		require.Contains(t, w.knows("n2"), "services/db")
	})
}

// TestAddressesAreTheirAnnouncers holds that an address is told to the node that is to announce it and to nobody else, and taken back when it moves.
func TestAddressesAreTheirAnnouncers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		address := func(node string) *networkingv1.IPAddress {
			return &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: "192.0.2.100", UID: "u", Annotations: map[string]string{events.AnnouncedBy: node}}}
		}
		w := newWorld(t.Context(), t)
		w.create(address("n1"))
		w.attach("n1")
		w.attach("n2")
		require.Equal(t, []string{"ipaddresses/192.0.2.100"}, w.knows("n1"))
		require.Empty(t, w.knows("n2"))
		w.do(events.Alter(w.get(object{nodewire.IPAddresses, "", "192.0.2.100"}), address("n2"), "LoadBalancerAnnouncerMoved"))
		require.Empty(t, w.knows("n1"))
		require.Equal(t, []string{"ipaddresses/192.0.2.100"}, w.knows("n2"))
		w.do(events.Remove(w.get(object{nodewire.IPAddresses, "", "192.0.2.100"}), "LoadBalancerAddressReleased"))
		require.Empty(t, w.knows("n2"))
	})
}

// peer makes a node with an agent, a pod range, and an address.
func peer(name, podRange string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{events.AgentLabel: "true", "secret": "label"}}, Spec: corev1.NodeSpec{PodCIDR: podRange}}
	if podRange != "" {
		n.Spec.PodCIDRs = []string{podRange}
	}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeHostName, Address: name}}
	return n
}

// TestPeers holds what a node is told of another: what routing needs, when that changes, until the other is deleted.
func TestPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.Context(), t)
		w.create(peer("n1", "10.244.0.0/24"))
		w.attach("n1")
		name := object{resource: nodewire.Nodes, name: "n2"}
		w.create(peer("n2", "")) // without a status yet
		require.Equal(t, []string{"nodes/n1"}, w.knows("n1"))
		observe := func(change func(*corev1.Node)) {
			n := w.get(name).Typed().(*corev1.Node).DeepCopy()
			change(n)
			w.do(events.Observe(w.get(name), n, "NodeObserved"))
		}
		observe(func(n *corev1.Node) { n.Status = peer("n2", "").Status })
		require.Equal(t, []string{"nodes/n1"}, w.knows("n1"), "without a range it is nobody's business")
		w.do(events.Alter(w.get(name), peer("n2", "10.244.1.0/24"), "NodeRangeAssigned"))
		require.Equal(t, []string{"nodes/n1", "nodes/n2"}, w.knows("n1"))
		var told corev1.Node
		require.NoError(t, told.Unmarshal(w.line.nodes["n1"].objects[name].Data))
		require.Equal(t, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2", UID: told.UID}, Spec: corev1.NodeSpec{PodCIDR: "10.244.1.0/24", PodCIDRs: []string{"10.244.1.0/24"}},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}}}, told)

		published := w.line.nodes["n1"].published
		observe(func(n *corev1.Node) {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}
		})
		require.Equal(t, published, w.line.nodes["n1"].published, "how a node is doesn't matter to the others")
		observe(func(n *corev1.Node) { n.Status.Addresses[0].Address = "192.0.2.9" })
		require.NoError(t, told.Unmarshal(w.line.nodes["n1"].objects[name].Data))
		require.Equal(t, "192.0.2.9", told.Status.Addresses[len(told.Status.Addresses)-1].Address, "where it is does")
		w.do(events.Remove(w.get(name), "NodeDeleted"))
		require.Equal(t, []string{"nodes/n1"}, w.knows("n1"))
	})
}

// hand is a feed that is shown changes by hand, without a ledger or time.
type hand struct {
	*world
	state *events.State
}

func newHand(t require.TestingT) *hand {
	h := &hand{world: &world{t: t, line: &line{t: t, nodes: map[string]*received{}}}, state: events.NewState(kinds())}
	h.feed = &Feed{Config: Config{Line: h.line}, state: h.state.Fork(), nodes: map[string]*account{}, wants: map[object]map[string]int{},
		policies: policy.New(h.state), classes: h.state.IngressClasses()}
	return h
}

// happen folds events and shows the feed all of them at once.
func (h *hand) happen(proposals ...events.Proposal) {
	var changes []events.Change
	for _, p := range proposals {
		p.Revision, p.At = h.state.Revision()+1, time.Unix(0, 0)
		change, err := h.state.Apply(p.Event)
		require.NoError(h.t, err)
		changes = append(changes, change...)
	}
	h.feed.send(changes, h.state.Fork())
}

// pick gives one of the objects of a resource, nil if there are none.
func (h *hand) pick(r *rapid.T, resource nodewire.Resource) *events.Object {
	var found []*events.Object
	for o := range h.state.All(object{resource: resource}.ref().GroupResource(), "") {
		found = append(found, o)
	}
	if len(found) == 0 {
		return nil
	}
	return found[rapid.IntRange(0, len(found)-1).Draw(r, "which")]
}

// random draws something that happens; nil if it can't.
func (h *hand) random(r *rapid.T) []events.Proposal {
	secrets := rapid.SampledFrom([]string{"s1", "s2", "s3"})
	switch what := rapid.SampledFrom([]string{"pod", "bind", "remove", "secret", "service", "node", "node status", "ingress", "class"}).Draw(r, "what"); what {
	case "node":
		n := peer(rapid.SampledFrom([]string{"n1", "n2", "n3", "n4"}).Draw(r, "name"), rapid.SampledFrom([]string{"", "10.244.1.0/24"}).Draw(r, "range"))
		n.UID = types.UID(n.Name)
		n.Labels[events.IngressLabel] = rapid.SampledFrom([]string{"true", "false"}).Draw(r, "door")
		if o, ok := h.state.Get(object{resource: nodewire.Nodes, name: n.Name}.ref()); ok {
			return []events.Proposal{events.Alter(o, n, "NodeChanged")}
		}
		return []events.Proposal{events.Create(h.state, n, "NodeCreated")}
	case "ingress", "class":
		return h.randomIngress(r, what)
	case "node status":
		if o := h.pick(r, nodewire.Nodes); o != nil {
			n := o.Typed().(*corev1.Node).DeepCopy()
			n.Status = peer("", "").Status
			n.Status.Phase = corev1.NodePhase(rapid.SampledFrom([]string{"a", "b"}).Draw(r, "phase"))
			n.Status.Addresses = n.Status.Addresses[:rapid.IntRange(0, 1).Draw(r, "addresses")]
			return []events.Proposal{events.Observe(o, n, "NodeObserved")}
		}
	case "pod":
		p := pod(fmt.Sprintf("p%d", rapid.IntRange(1, 4).Draw(r, "name")), rapid.SliceOfN(secrets, 0, 3).Draw(r, "secrets")...)
		p.UID = types.UID(fmt.Sprint(h.state.Revision()))
		if _, exists := h.state.Get(podName(p.Name).ref()); !exists {
			return []events.Proposal{events.Create(h.state, p, "PodCreated")}
		}
	case "bind":
		if o := h.pick(r, nodewire.Pods); o != nil && nodeOf(o) == "" {
			return []events.Proposal{events.Place(o, events.Placement{Node: rapid.SampledFrom([]string{"n1", "n2"}).Draw(r, "node")}, "PodBound")}
		}
	case "remove":
		if o := h.pick(r, rapid.SampledFrom([]nodewire.Resource{nodewire.Pods, nodewire.Secrets, nodewire.Services, nodewire.Nodes, nodewire.Ingresses}).Draw(r, "resource")); o != nil {
			return []events.Proposal{events.Remove(o, "ObjectDeleted")}
		}
	case "secret":
		s := secret(secrets.Draw(r, "secret"))
		s.UID = types.UID(s.Name)
		if o, ok := h.state.Get(object{nodewire.Secrets, "default", s.Name}.ref()); ok {
			return []events.Proposal{events.Alter(o, s, "SecretChanged")}
		}
		return []events.Proposal{events.Create(h.state, s, "SecretCreated")}
	case "service":
		s := service("web")
		s.UID = "web"
		if _, exists := h.state.Get(object{nodewire.Services, "default", "web"}.ref()); !exists {
			return []events.Proposal{events.Create(h.state, s, "ServiceCreated")}
		}
	}
	return nil
}

// TestNodeKnowsItsPart lets things happen at random, and holds that what a node gathers from the changes is what a full slice says.
func TestNodeKnowsItsPart(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		h := newHand(r)
		nodes := []string{"n1", "n2"}
		for _, node := range nodes {
			h.attach(node)
		}
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			if rapid.IntRange(0, 9).Draw(r, "attach") == 0 {
				h.attach(rapid.SampledFrom(nodes).Draw(r, "node"))
			}
			h.happen(h.random(r)...)
		}
		for _, node := range nodes {
			gathered := h.line.nodes[node].objects
			h.attach(node)
			require.Equal(r, h.line.nodes[node].objects, gathered, "what %s knows", node)
		}
	})
}

// TestSeveralChangesAtOnce holds that a slice of several changes tells how things are in the end.
func TestSeveralChangesAtOnce(t *testing.T) {
	h := newHand(t)
	h.attach("n1")
	first, second := pod("web", "s1"), pod("web", "s2")
	first.UID, first.Spec.NodeName = "first", "n1"
	second.UID, second.Spec.NodeName = "second", "n1"
	s := secret("s2")
	s.UID = "s2"
	h.happen(events.Create(h.state, s, "SecretCreated"), events.Create(h.state, first, "PodCreated"))
	o, _ := h.state.Get(podName("web").ref())
	again := events.Create(h.state, second, "PodCreated")
	h.happen(events.Remove(o, "PodDeleted"), again)
	require.Equal(t, 2, h.line.nodes["n1"].published)
	require.Equal(t, "second", h.line.nodes["n1"].objects[podName("web")].UID)
	require.Equal(t, []string{"pods/web", "secrets/s2"}, h.knows("n1"))
}

func TestNeeds(t *testing.T) {
	p := pod("p", "env-from")
	p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
	p.Spec.InitContainers = []corev1.Container{{Env: []corev1.EnvVar{
		{Name: "A", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "key"}}}},
		{Name: "B", Value: "plain"},
	}}}
	p.Spec.Volumes = []corev1.Volume{
		{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "volume"}}},
		{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "projected"}}},
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "volume"}}},
		}}}},
	}
	p.UID = "p"
	h := newHand(t)
	h.happen(events.Create(h.state, p, "PodCreated"))
	o, _ := h.state.Get(podName("p").ref())
	require.Equal(t, []object{{nodewire.ConfigMaps, "default", "key"}, {nodewire.ConfigMaps, "default", "projected"}, {nodewire.Secrets, "default", "env-from"},
		{nodewire.Secrets, "default", "pull"}, {nodewire.Secrets, "default", "volume"}}, needsOf(o))
}
