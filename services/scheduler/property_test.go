package scheduler

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// TestRandomHistories holds every decision of random histories against the reference, and the account against one built from the state.
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{world: newWorld(t), t: t, config: rapid.SampledFrom(configs).Draw(t, "config")}
		h.scheduler = NewWith(h.config).(*scheduler)
		for range rapid.IntRange(1, 5).Draw(t, "nodes") {
			h.addNode()
		}
		t.Repeat(map[string]func(*rapid.T){
			"add a node":      func(t *rapid.T) { h.t = t; h.addNode() },
			"change a node":   func(t *rapid.T) { h.t = t; h.changeNode() },
			"remove a node":   func(t *rapid.T) { h.t = t; h.removeOne("nodes", h.nodes()) },
			"add pods":        func(t *rapid.T) { h.t = t; h.addPods() },
			"label a space":   func(t *rapid.T) { h.t = t; h.labelNamespace() },
			"remove a pod":    func(t *rapid.T) { h.t = t; h.removeOne("pods", h.pods()) },
			"end a pod":       func(t *rapid.T) { h.t = t; h.endPod() },
			"place elsewhere": func(t *rapid.T) { h.t = t; h.placeElsewhere() },
			"walk long": func(*rapid.T) {
				for _, w := range h.scheduler.account.workloads {
					w.longWalks = true // as after a search among thousands of nodes
				}
			},
			"lose a race": func(t *rapid.T) { h.t = t; h.loseRace() },
			"decide":      func(t *rapid.T) { h.t = t; h.decideAndCheck() },
			"explain":     func(t *rapid.T) { h.t = t; h.checkExplanations() },
			"wait":        func(*rapid.T) { h.wait(tellAgainAfter) },
			"":            func(t *rapid.T) { h.t = t; h.checkAccount() },
		})
		h.settle()
		h.checkEveryPodAnswered()
	})
}

// configs are the default, twice as often, and others that only differ in weights and strategy: the reference doesn't know those.
var configs = []Config{{}, {}, {Strategy: MostAllocated, Resources: Resources{CPU: 3, Memory: 1}, Weights: &Weights{NodeResourcesFit: 3, PodTopologySpread: 1}},
	{Strategy: RequestedToCapacityRatio, Curve: []CurvePoint{{Utilization: 10, Score: 2}, {Utilization: 50, Score: 10}, {Utilization: 90, Score: 0}}}}

func (h *history) isDefault() bool { return h.config.Strategy == "" }

type history struct {
	config Config
	*world
	t     *rapid.T
	count int
}

func (h *history) pick(label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(h.t, label)
}

func (h *history) chance(label string, outOf int) bool {
	return rapid.IntRange(1, outOf).Draw(h.t, label) == 1
}

func (h *history) nodes() []string {
	return slices.Sorted(maps.Keys(h.scheduler.account.existingNodes()))
}

func (h *history) pods() (names []string) {
	for o := range h.state.All(pods, "") {
		names = append(names, o.Ref.Name)
	}
	return names
}

func (h *history) addNode() {
	h.count++
	n := aNode(fmt.Sprintf("n%d", h.count), h.capacity(), "disk", h.pick("disk", "ssd", "hdd"))
	h.vary(n)
	h.create(n)
}

func (h *history) capacity() string {
	return fmt.Sprintf("cpu=%s memory=%s pods=%s example.com/gpu=%s", h.pick("cpu", "1", "2", "4"), h.pick("memory", "1Gi", "4Gi"),
		h.pick("pods", "2", "5", "50"), h.pick("gpu", "0", "0", "1"))
}

func (h *history) vary(n *corev1.Node) {
	n.Spec.Taints = nil
	for _, effect := range []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule} {
		if h.chance("taint", 5) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "special", Value: "x", Effect: effect})
		}
	}
	n.Spec.Unschedulable = h.chance("cordon", 8)
	delete(n.Labels, corev1.LabelTopologyZone)
	if zone := h.pick("zone", "", "z0", "z1", "z2"); zone != "" {
		n.Labels[corev1.LabelTopologyZone] = zone
	}
}

func (h *history) changeNode() {
	if names := h.nodes(); len(names) > 0 {
		name := h.pick("node", names...)
		if h.chance("capacity", 2) {
			capacity := quantities(h.capacity())
			report(h.world, "nodes", name, func(n *corev1.Node) { n.Status.Allocatable = capacity })
			return
		}
		alter(h.world, "nodes", name, h.vary)
	}
}

// labelNamespace changes whom terms with a namespace selector speak of.
func (h *history) labelNamespace() {
	labels := map[string]string{"team": h.pick("team", "blue", "red")}
	if _, ok := h.state.Get(events.Ref{Resource: "namespaces", Name: "default"}); !ok {
		h.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: labels}})
		return
	}
	alter(h.world, "namespaces", "default", func(n *corev1.Namespace) { n.Labels = labels })
}

func (h *history) removeOne(resource string, names []string) {
	if len(names) > 0 {
		h.remove(resource, h.pick("name", names...))
	}
}

func (h *history) addPods() {
	h.count++
	one := aPod("", fmt.Sprintf("cpu=%s memory=%s example.com/gpu=%s", h.pick("cpu", "0", "100m", "500m", "1500m"), h.pick("memory", "0", "64Mi", "900Mi"),
		h.pick("gpu", "0", "0", "0", "1")), "app", h.pick("app", "a", "b"))
	one.Namespace = "default"
	if owner := h.pick("owner", "", "rs-a", "rs-b"); owner != "" {
		ownedBy(one, owner)
	}
	if h.chance("tolerates", 4) {
		one.Spec.Tolerations = []corev1.Toleration{{Key: "special", Operator: corev1.TolerationOpExists}}
	}
	if h.chance("port", 6) {
		one.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80, Protocol: corev1.ProtocolTCP}}
	}
	if h.chance("selector", 5) {
		one.Spec.NodeSelector = map[string]string{"disk": h.pick("disk", "ssd", "hdd")}
	}
	priority := int32(rapid.IntRange(0, 1).Draw(h.t, "priority"))
	one.Spec.Priority = &priority
	h.rule(one)
	for i := range rapid.IntRange(1, 4).Draw(h.t, "replicas") {
		p := one.DeepCopy()
		p.Name = fmt.Sprintf("p%d-%d", h.count, i)
		h.create(p)
	}
}

func (h *history) rule(p *corev1.Pod) {
	app := &metav1.LabelSelector{MatchLabels: map[string]string{"app": h.pick("app", "a", "b")}}
	topology := h.pick("topology", corev1.LabelHostname, corev1.LabelTopologyZone)
	term := []corev1.PodAffinityTerm{{TopologyKey: topology, LabelSelector: app}}
	if h.chance("by namespace", 3) {
		term[0].NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "blue"}}
	}
	p.Spec.Affinity = &corev1.Affinity{}
	switch h.pick("rule", "", "", "", "together", "apart", "spread", "prefer", "pin") {
	case "together":
		p.Spec.Affinity.PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: term}
	case "apart":
		p.Spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: term}
	case "spread":
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: topology,
			WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: app}}
	case "prefer":
		p.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 10,
			Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "disk", Operator: "In", Values: []string{"ssd"}}}}}}}
	case "pin":
		p.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{
			{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: "In", Values: []string{"n1"}}}}}}}
	}
}

func (h *history) endPod() {
	if names := h.pods(); len(names) > 0 {
		report(h.world, "pods", h.pick("pod", names...), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	}
}

// placeElsewhere has somebody else place a pod, on any node, whether it exists and has room or not.
func (h *history) placeElsewhere() {
	for _, name := range h.pods() {
		if o := h.get("pods", name); o.Facet(events.Assigned) == nil && h.chance("this one", 2) {
			h.append(events.Place(o, events.Placement{Node: h.pick("node", append(h.nodes(), "ghost")...)}, PodBound))
			return
		}
	}
}

// loseRace decides, and lets none of it reach the ledger.
func (h *history) loseRace() { h.decide() }

func (h *history) decideAndCheck() {
	reference := newReference(h.state)
	expected := reference.decide(h.now)
	fresh := rebuilt(h.state, h.config)
	in := runner.Input{State: h.state, Key: everything, Now: h.now}
	again := fresh.Decide(in)
	d := h.decide()
	require.Equal(h.t, again, d, "a scheduler that knows only the state decides otherwise")
	forgetful := rebuilt(h.state, h.config)
	forgetful.account.unmemoised = true
	require.Equal(h.t, forgetful.Decide(in), d, "a scheduler that remembers nothing decides otherwise")
	if h.isDefault() {
		h.compare(expected, d)
		h.compareReasons(reference.why, d)
	}
	for _, p := range d.Each {
		h.append(p)
	}
	h.checkRoom(d)
}

// compare holds a decision against the reference's; the scheduler says nothing about a pod whose reason stands or is too fresh to be replaced.
func (h *history) compare(expected []string, d runner.Decision) {
	decided := map[string]string{}
	for _, p := range d.Each {
		if p.Facet == events.Assigned {
			decided[p.Ref.Name] = p.Ref.Name + " -> " + nodeIn(p)
		} else {
			decided[p.Ref.Name] = p.Ref.Name + ": " + withoutNearest(p.Note.Message)
		}
	}
	for _, line := range expected {
		name, _, _ := strings.Cut(strings.ReplaceAll(line, ":", ""), " ")
		switch got, ok := decided[name]; {
		case strings.Contains(line, ": 0/0 "):
		case ok || strings.Contains(line, " -> "):
			require.Equal(h.t, line, got)
		case !strings.HasSuffix(line, " waits"):
			require.Contains(h.t, h.reason(name), strings.TrimPrefix(line, name+": "), "the reason stands")
		}
	}
	require.LessOrEqual(h.t, len(d.Each), len(expected))
}

// compareReasons holds what is told with each placement against the reference.
func (h *history) compareReasons(expected map[string]*events.Choice, d runner.Decision) {
	for _, p := range d.Each {
		if p.Facet == events.Assigned {
			require.Equal(h.t, expected[p.Ref.Name], placementIn(p).Why, p.Ref.Name)
		}
	}
}

// checkExplanations holds what is said about pods that wait against the next decision, and what is said about placed ones against what was recorded. Removing
// the pods that a remedy names lets the pod fit that is next in the queue.
func (h *history) checkExplanations() {
	next := map[string]events.Placement{}
	for _, p := range rebuilt(h.state, h.config).Decide(runner.Input{State: h.state, Key: everything, Now: h.now}).Each {
		if p.Facet == events.Assigned {
			next[p.Ref.Name] = placementIn(p)
		}
	}
	waiting := newReference(h.state).waiting
	for i, o := range waiting {
		name := o.Ref.Name
		e := h.explain(name, h.config)
		require.Equal(h.t, next[name].Node, e.Next, name)
		if e.Next != "" {
			require.Equal(h.t, next[name].Why, e.Why, name)
			continue
		}
		require.True(h.t, strings.HasPrefix(e.Message, "0/"), e.Message)
		require.NotEmpty(h.t, e.Remedies, e.String())
		for _, r := range e.Remedies {
			_, victims, removes := strings.Cut(r.Words, " by removing ")
			if i > 0 || !removes || strings.Contains(r.Words, " and ") {
				continue
			}
			without := &world{t: h.t, state: h.state.Fork(), scheduler: New().(*scheduler), now: h.now}
			for _, victim := range strings.Split(victims, ", ") {
				without.remove("pods", strings.TrimPrefix(victim, "default/"))
			}
			require.NotEmpty(h.t, without.explain(name, h.config).Next, "%s", r)
		}
	}
	for o := range h.state.All(pods, "") {
		if placed := o.Facet(events.Assigned); placed != nil {
			require.Equal(h.t, placementIn(events.Proposal{Event: *placed}).Why != nil, h.explain(o.Ref.Name, h.config).Recorded)
		}
	}
}

func nodeIn(p events.Proposal) string { return placementIn(p).Node }

func placementIn(p events.Proposal) events.Placement {
	var placement events.Placement
	if err := json.Unmarshal(p.Payload, &placement); err != nil {
		return events.Placement{Node: err.Error()}
	}
	return placement
}

// checkRoom sees that no node has less than what a pod just placed on it asked for.
func (h *history) checkRoom(d runner.Decision) {
	for _, p := range d.Each {
		if p.Facet != events.Assigned {
			continue
		}
		n := h.get("nodes", nodeIn(p)).Typed().(*corev1.Node)
		sum := corev1.ResourceList{}
		for o := range h.state.Indexed(events.ByNode, n.Name) {
			if pod := o.Typed().(*corev1.Pod); pod.Status.Phase != corev1.PodSucceeded {
				for name, q := range resource.PodRequests(pod, resource.PodResourcesOptions{}) {
					total := sum[name]
					total.Add(q)
					sum[name] = total
				}
			}
		}
		for name, need := range resource.PodRequests(h.get("pods", p.Ref.Name).Typed().(*corev1.Pod), resource.PodResourcesOptions{}) {
			total, has := sum[name], n.Status.Allocatable[name]
			require.True(h.t, need.IsZero() || total.Cmp(has) <= 0, "%s has %s of %s and gave away %s", n.Name, has.String(), name, total.String())
		}
	}
}

var countInMessage = regexp.MustCompile(`(?:: |, )(\d+) `)

func (h *history) checkEveryPodAnswered() {
	for _, o := range newReference(h.state).waiting {
		why := h.reason(o.Ref.Name)
		require.NotEmpty(h.t, why, o.Ref.Name)
		total, sum := 0, 0
		_, err := fmt.Sscanf(why, "Unschedulable: 0/%d nodes", &total)
		require.NoError(h.t, err)
		for _, match := range countInMessage.FindAllStringSubmatch(withoutNearest(why), -1) {
			n, _ := strconv.Atoi(match[1])
			sum += n
		}
		require.Equal(h.t, total, sum, why)
	}
}

// rebuilt is a scheduler that begins now.
func rebuilt(s *events.State, c Config) *scheduler {
	fresh := NewWith(c).(*scheduler)
	for _, gr := range s.Resources() {
		for o := range s.All(gr, "") {
			fresh.Fold(events.Change{Revision: o.Revision(), Event: o.Newest(), New: o})
		}
	}
	return fresh
}

func (h *history) checkAccount() {
	h.scheduler.account.retract()
	require.Equal(h.t, rebuilt(h.state, h.config).account.describe(), h.scheduler.account.describe())
}

func (a *account) existingNodes() map[string]*node {
	found := maps.Clone(a.byName)
	maps.DeleteFunc(found, func(_ string, n *node) bool { return n.object == nil })
	return found
}

// describe writes down all that an account holds but its memos.
func (a *account) describe() string {
	var b strings.Builder
	fmt.Fprintln(&b, a.existing, a.zones)
	for _, name := range slices.Sorted(maps.Keys(a.byName)) {
		n := a.byName[name]
		fmt.Fprintln(&b, "node", name, n.object != nil, n.zone, n.taints, n.allocatable, n.requested, n.scoredCPU, n.scoredMem, n.ports, len(n.pods))
	}
	a.waiting.Scan(func(p *pod) bool {
		fmt.Fprintln(&b, "waiting", p.ref.Name)
		return true
	})
	for _, uid := range slices.Sorted(maps.Keys(a.workloads)) {
		w := a.workloads[uid]
		zones := maps.Clone(w.byZone)
		maps.DeleteFunc(zones, func(_ string, n int) bool { return n == 0 })
		fmt.Fprintln(&b, "workload", uid, w.pods, len(w.byNode), zones)
	}
	for _, key := range slices.Sorted(maps.Keys(a.terms)) {
		t := a.terms[key]
		fmt.Fprintf(&b, "term %q %d %d %v %v %d\n", key, t.users, t.total, t.matching, t.holding, len(t.byNode))
	}
	fmt.Fprintln(&b, len(a.pods), slices.Sorted(maps.Keys(a.spreads)))
	return b.String()
}

// Nodes that were given pods of another shape since stand too near in a ranking's list of misses: what is told must not.
func TestNearMissesAreUpToDate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{world: newWorld(t), t: t}
		for i := range 6 {
			h.create(aNode(fmt.Sprintf("n%d", i), fmt.Sprintf("cpu=64 memory=%dMi pods=110", rapid.IntRange(500, 4000).Draw(t, "memory"))))
		}
		h.create(aNode("large", "cpu=64 memory=64Gi pods=110"))
		for i := range rapid.IntRange(5, 30).Draw(t, "pods") {
			name := fmt.Sprintf("p%d", i)
			h.create(aPod(name, "memory="+h.pick("memory", "2000Mi", "1900Mi", "50Mi", "100Mi")))
			if h.chance("elsewhere", 3) {
				h.append(events.Place(h.get("pods", name), events.Placement{Node: h.pick("node", "n0", "n1", "n2", "n3", "n4", "n5")}, PodBound))
			}
			h.decideAndCheck()
		}
	})
}
