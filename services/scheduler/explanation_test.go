package scheduler

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

func (w *world) explain(name string, config ...Config) Explanation {
	w.t.Helper()
	e, err := Explain(w.state, events.Ref{Resource: "pods", Namespace: "default", Name: name}, append(config, Config{})[0])
	require.NoError(w.t, err)
	return e
}

func (w *world) requireWords(name string, lines ...string) {
	w.t.Helper()
	require.Equal(w.t, strings.Join(lines, "\n"), w.explain(name).String())
}

func TestExplainsABinding(t *testing.T) {
	w := newWorld(t)
	w.create(aNode("n1", "cpu=4 memory=8Gi pods=110", corev1.LabelTopologyZone, "a"), aNode("n2", "cpu=4 memory=8Gi pods=110", corev1.LabelTopologyZone, "b"),
		aNode("n3", "cpu=1 memory=1Gi pods=110", corev1.LabelTopologyZone, "b"))
	cordoned := aNode("n4", "cpu=4 memory=8Gi pods=110")
	cordoned.Spec.Unschedulable = true
	avoided := aNode("n5", "cpu=4 memory=8Gi pods=110", "disk", "ssd")
	avoided.Spec.Taints = []corev1.Taint{{Key: "old", Effect: corev1.TaintEffectPreferNoSchedule}}
	w.create(cordoned, avoided)
	for _, name := range []string{"web-1", "web-2"} {
		p := ownedBy(aPod(name, "cpu=1 memory=2Gi"), "rs")
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
			{Weight: 10, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "disk", Operator: "In", Values: []string{"ssd"}}}}}}}}
		w.create(p)
		w.settle()
	}
	first, second := w.nodeOf("web-1"), w.nodeOf("web-2")
	require.NotEqual(t, first, second)
	e := w.explain("web-2")
	require.True(t, e.Recorded)
	zone := map[string]int{}
	for _, c := range e.Why.Top {
		zone[c.Node] = int(c.Zone)
	}
	require.Equal(t, map[string]int{first: -500, second: 0, "n5": 0}, zone)
	w.requireWords("web-2",
		fmt.Sprintf("default/web-2 is on %s: service:scheduler placed it there (event %d).", second, e.Revision),
		"  5 nodes, of which 3 would do: 1 Insufficient memory, 1 node(s) were unschedulable.",
		fmt.Sprintf("  1. %s  7500 points: room 7500", second),
		fmt.Sprintf("  2. %s  -500 points: room 5000, siblings on the node -5000, siblings in the zone -500", first),
		"  3. n5  -20500 points: room 7500, preferred node affinity +2000, taints to avoid -30000",
		"  Near miss: n3 lacks 1Gi of memory.")

	w.create(aPod("by-hand", "cpu=1"))
	w.append(events.Place(w.get("pods", "by-hand"), events.Placement{Node: "n3"}, PodBound))
	e = w.explain("by-hand")
	require.False(t, e.Recorded)
	require.Equal(t, "n3", e.Node)
	require.Contains(t, e.String(), "without saying why.\nIf it were to be placed now:\n  5 nodes, of which 4 would do: 1 node(s) were unschedulable.\n  1. ")
}

func TestExplainsWhatAPendingPodWaitsFor(t *testing.T) {
	w := newWorld(t)
	w.create(aNode("n7", "cpu=4 memory=4Gi pods=110", "disk", "hdd"), aNode("n8", "cpu=4 memory=4Gi pods=110", "disk", "hdd"))
	for _, name := range []string{"gpu-1", "gpu-2"} {
		n := aNode(name, "cpu=4 memory=16Gi pods=110")
		n.Spec.Taints = []corev1.Taint{{Key: "gpu", Value: "true", Effect: corev1.TaintEffectNoSchedule}}
		w.create(n)
	}
	w.create(aPod("cache", "memory=1Gi"), aPod("db", "memory=3Gi"))
	w.append(events.Place(w.get("pods", "cache"), events.Placement{Node: "n7"}, PodBound))
	w.append(events.Place(w.get("pods", "db"), events.Placement{Node: "n8"}, PodBound))
	w.create(aPod("big", "memory=3372Mi"))
	w.settle()
	w.requireWords("big",
		"default/big is pending: no node will do.",
		"  4 nodes: 2 Insufficient memory, 2 node(s) had untolerated taint {gpu: true}.",
		"  Near miss: n7 lacks 300Mi of memory.", "  Near miss: n8 lacks 2348Mi of memory.",
		"It would fit with one of these, what takes least first:",
		"  - tolerating taint gpu=true:NoSchedule (2 nodes would then do)",
		"  - the pod asking for 300Mi less of memory (for n7)",
		"  - 300Mi of memory freed on n7 by removing default/cache",
		"  - 2348Mi of memory freed on n8 by removing default/db",
		"  - one more node like n7")
	require.Contains(t, w.explain("big").Message, "Nearest miss: n7 lacks 300Mi of memory.")

	p := aPod("picky", "cpu=1")
	p.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	w.create(p, aPod("huge", "cpu=16 memory=1Gi"))
	w.settle()
	require.Contains(t, w.explain("picky").String(), "\n  - a node with label disk=ssd (2 nodes would then do)\n")
	require.Contains(t, w.explain("huge").String(), "\n  - a node with 16 of cpu, 1Gi of memory")
}

func TestExplainsCompany(t *testing.T) {
	w := newWorld(t)
	w.create(aNode("n1", "cpu=4 memory=4Gi pods=110"))
	for _, name := range []string{"a", "b"} {
		p := aPod(name, "cpu=1", "app", "web")
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels}}}}}
		w.create(p)
	}
	w.settle()
	require.Equal(t, []string{"room made on n1 by removing default/a", "one more node like n1"}, remedyWords(w.explain("b")))
}

func TestExplainsAtAnyState(t *testing.T) {
	w := newWorld(t)
	gated := aPod("gated", "")
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}}
	w.create(aNode("n1", "cpu=2 memory=4Gi pods=110"), aPod("first", "cpu=2"), aPod("second", "cpu=2"), gated)
	before := w.state.Fork()
	w.settle()
	w.requireWords("gated", "default/gated is pending. The pod waits for its scheduling gates to be removed: example.com/wait.")
	require.Equal(t, "n1", w.explain("first").Node)
	w.state = before
	require.Equal(t, "n1", w.explain("first").Next)
	require.Equal(t, "default/first is pending, and fits: the scheduler's next decision puts it on n1.\n  1 node, and each would do.\n  1. n1  4755 points: room 4755",
		w.explain("first").String())
	require.Empty(t, w.explain("second").Next, "the first takes the room")
	require.Equal(t, []string{"2 of cpu freed on n1 by removing default/first", "one more node like n1"}, remedyWords(w.explain("second")))
	_, err := Explain(w.state, events.Ref{Resource: "pods", Namespace: "default", Name: "none"}, Config{})
	require.ErrorContains(t, err, "there is no such pod at revision")
}

func remedyWords(e Explanation) (words []string) {
	for _, r := range e.Remedies {
		words = append(words, r.String())
	}
	return words
}
