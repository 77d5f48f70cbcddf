package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

func TestBindsAndSaysWhy(t *testing.T) {
	w := newWorld(t)
	w.create(aNode("n1", "cpu=4 memory=8Gi pods=110"), aPod("web", "cpu=1 memory=1Gi"))
	created := w.get("pods", "web").Facet(events.Desired).Revision
	decided := w.settle()
	require.Len(t, decided, 1)
	bound := decided[0]
	require.Equal(t, "PodBound", bound.Type)
	require.Equal(t, events.Assigned, bound.Facet)
	require.Equal(t, created, bound.Cause)
	require.Equal(t, created, bound.Correlation)
	require.Equal(t, &events.Note{Reason: "Scheduled", Message: "Successfully assigned default/web to n1"}, bound.Note)
	require.Equal(t, "n1", w.nodeOf("web"))
	require.Empty(t, w.settle(), "at rest")
}

func TestNearestMissAndCounts(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.create(aNode(fmt.Sprintf("small-%d", i), "cpu=4 memory=1Gi pods=110"))
	}
	w.create(aNode("n7", "cpu=4 memory=1748Mi pods=110"))
	tainted := aNode("gpu", "cpu=64 memory=64Gi pods=110")
	tainted.Spec.Taints = []corev1.Taint{{Key: "gpu", Value: "yes", Effect: corev1.TaintEffectNoSchedule}}
	w.create(tainted, aNode("arm", "cpu=64 memory=64Gi pods=110", "arch", "arm"))
	p := aPod("big", "cpu=1 memory=2Gi")
	p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "arch", Operator: corev1.NodeSelectorOpDoesNotExist}}}}}}}
	w.create(p)
	decided := w.settle()
	require.Len(t, decided, 1)
	require.Equal(t, "PodUnschedulable", decided[0].Type)
	require.True(t, decided[0].Note.Warning)
	require.Equal(t, "FailedScheduling", decided[0].Note.Reason)
	require.Equal(t, "Unschedulable: 0/6 nodes are available: 4 Insufficient memory, 1 node(s) didn't match Pod's node affinity/selector, "+
		"1 node(s) had untolerated taint {gpu: yes}. Nearest miss: n7 lacks 300Mi of memory.", w.reason("big"))

	report(w, "nodes", "n7", func(n *corev1.Node) { n.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(w.now) })
	require.False(t, w.asked, "a heartbeat asks for nothing")
	alter(w, "nodes", "gpu", func(n *corev1.Node) { n.Spec.Taints = nil })
	require.Len(t, w.settle(), 1)
	require.Equal(t, "gpu", w.nodeOf("big"))
}

func TestNoNodes(t *testing.T) {
	w := newWorld(t)
	w.create(aPod("web", ""))
	w.settle()
	require.Equal(t, "Unschedulable: 0/0 nodes are available: no nodes are registered.", w.reason("web"))
	w.create(aNode("n1", "cpu=1 memory=1Gi pods=1"))
	w.settle()
	require.Equal(t, "n1", w.nodeOf("web"))
	w.create(aPod("late", ""))
	w.settle()
	require.Equal(t, "Unschedulable: 0/1 nodes are available: 1 Too many pods. Nearest miss: n1 lacks room for another pod.", w.reason("late"))
	report(w, "pods", "web", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	w.settle()
	require.Equal(t, "n1", w.nodeOf("late"), "a finished pod leaves its place")
}

func TestExplainsAgainOnlyAfterAWhile(t *testing.T) {
	w := newWorld(t)
	w.create(aNode("n1", "cpu=1 memory=1Gi pods=10"), aPod("big", "cpu=2"))
	require.Len(t, w.settle(), 1)
	w.create(aNode("n2", "cpu=1 memory=1Gi pods=10"))
	require.Empty(t, w.settle())
	require.Equal(t, w.now.Add(tellAgainAfter), w.again)
	w.wait(tellAgainAfter)
	require.Len(t, w.settle(), 1)
	require.Contains(t, w.reason("big"), "0/2 nodes")
	require.True(t, w.again.IsZero())
}

func TestPriorityThenAge(t *testing.T) {
	w := newWorld(t)
	low, high := aPod("a-low", "cpu=1"), aPod("z-high", "cpu=1")
	priority := int32(1000)
	high.Spec.Priority = &priority
	w.create(low)
	w.wait(time.Second)
	w.create(aPod("0-later", "cpu=1"), high, aNode("n1", "cpu=2 memory=1Gi pods=10"))
	w.settle()
	require.Equal(t, "n1", w.nodeOf("z-high"))
	require.Equal(t, "n1", w.nodeOf("a-low"))
	require.Empty(t, w.nodeOf("0-later"))
}

func TestWhoIsNotOurs(t *testing.T) {
	w := newWorld(t)
	other, gated, preset := aPod("other", ""), aPod("gated", ""), aPod("preset", "cpu=3")
	other.Spec.SchedulerName = "mine"
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/quota"}}
	preset.Spec.NodeName = "n1"
	w.create(preset, other, gated, aNode("n1", "cpu=4 memory=8Gi pods=110"), aPod("web", "cpu=2"))
	w.settle()
	require.Empty(t, w.nodeOf("other"))
	require.Empty(t, w.reason("other"))
	require.Equal(t, "SchedulingGated: Scheduling is blocked due to non-empty scheduling gates", w.reason("gated"))
	require.Contains(t, w.reason("web"), "n1 lacks 1 of cpu")
	alter(w, "pods", "gated", func(p *corev1.Pod) { p.Spec.SchedulingGates = nil })
	w.settle()
	require.Equal(t, "n1", w.nodeOf("gated"))
}

func TestUnsupportedIsNotIgnored(t *testing.T) {
	w := newWorld(t)
	p := aPod("db", "")
	p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-0"}}}}
	w.create(aNode("n1", "cpu=4 memory=8Gi pods=110"), p)
	w.settle()
	require.Contains(t, w.reason("db"), `the pod uses persistentvolumeclaim "data-0"`)
}

func TestSpreadsReplicasOverZonesAndNodes(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.create(aNode(fmt.Sprintf("n%d", i), "cpu=4 memory=8Gi pods=110", corev1.LabelTopologyZone, fmt.Sprintf("z%d", i%3)))
	}
	for i := range 6 {
		w.create(ownedBy(aPod(fmt.Sprintf("web-%d", i), "cpu=100m"), "rs-1"))
	}
	w.settle()
	nodes, zones := map[string]int{}, map[string]int{}
	for i := range 6 {
		n := w.nodeOf(fmt.Sprintf("web-%d", i))
		nodes[n]++
		zones[w.get("nodes", n).Meta().GetLabels()[corev1.LabelTopologyZone]]++
	}
	require.Len(t, nodes, 6)
	require.Equal(t, map[string]int{"z0": 2, "z1": 2, "z2": 2}, zones)
}

func TestHostPorts(t *testing.T) {
	w := newWorld(t)
	w.create(aNode("n1", "cpu=4 memory=8Gi pods=110"))
	for _, c := range []struct {
		name, ip string
		protocol corev1.Protocol
		fits     bool
	}{{"a", "", "TCP", true}, {"b", "10.0.0.1", "TCP", false}, {"c", "0.0.0.0", "UDP", true}, {"d", "", "UDP", false}} {
		p := aPod(c.name, "")
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80, ContainerPort: 80, HostIP: c.ip, Protocol: c.protocol}}
		w.create(p)
		w.settle()
		require.Equal(t, c.fits, w.nodeOf(c.name) != "", c.name)
		require.Equal(t, c.fits, w.reason(c.name) == "", c.name)
	}
	require.Equal(t, "Unschedulable: 0/1 nodes are available: 1 "+reasonPorts+".", w.reason("d"))
}

func TestAntiAffinityBothWays(t *testing.T) {
	w := newWorld(t)
	w.create(aNode("n1", "cpu=4 memory=8Gi pods=110"), aNode("n2", "cpu=4 memory=8Gi pods=110"))
	shy := func(name string) *corev1.Pod {
		p := aPod(name, "", "app", "db")
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}}}}}
		return p
	}
	w.create(shy("db-0"), shy("db-1"), shy("db-2"), aPod("plain", "", "app", "db"), aPod("web", "", "app", "web"))
	w.settle()
	require.NotEqual(t, w.nodeOf("db-0"), w.nodeOf("db-1"))
	require.NotEmpty(t, w.nodeOf("db-1"))
	require.Equal(t, "Unschedulable: 0/2 nodes are available: 2 "+reasonApart+".", w.reason("db-2"))
	require.Equal(t, "Unschedulable: 0/2 nodes are available: 2 "+reasonApartOthers+".", w.reason("plain"))
	require.NotEmpty(t, w.nodeOf("web"))
	w.remove("pods", "db-0")
	w.settle()
	require.NotEmpty(t, w.nodeOf("db-2"), "the older of the two")
	require.Empty(t, w.nodeOf("plain"))
}

func TestAffinityFirstOfItsKind(t *testing.T) {
	w := newWorld(t)
	w.create(aNode("n1", "cpu=4 memory=8Gi pods=2"), aNode("n2", "cpu=4 memory=8Gi pods=110"))
	near := func(name, label string) *corev1.Pod {
		p := aPod(name, "", "app", label)
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "herd"}}}}}}
		return p
	}
	w.create(near("stranger", "other"))
	w.settle()
	require.Equal(t, "Unschedulable: 0/2 nodes are available: 2 "+reasonTogether+".", w.reason("stranger"))
	w.create(near("h0", "herd"), near("h1", "herd"))
	w.settle()
	require.NotEmpty(t, w.nodeOf("h0"))
	require.Equal(t, w.nodeOf("h0"), w.nodeOf("h1"))
}

func TestTopologySpread(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.create(aNode(fmt.Sprintf("n%d", i), "cpu=4 memory=8Gi pods=110", corev1.LabelTopologyZone, fmt.Sprintf("z%d", min(i, 1))))
	}
	for i := range 6 {
		p := aPod(fmt.Sprintf("p%d", i), "cpu=1", "app", "x")
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone,
			WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}}}
		w.create(p)
	}
	w.settle()
	zones := map[string]int{}
	for i := range 6 {
		zones[w.get("nodes", w.nodeOf(fmt.Sprintf("p%d", i))).Meta().GetLabels()[corev1.LabelTopologyZone]]++
	}
	require.Equal(t, map[string]int{"z0": 3, "z1": 3}, zones)
}

func TestPreferencesAboutOtherPods(t *testing.T) {
	w := newWorld(t)
	w.create(aNode("big", "cpu=64 memory=64Gi pods=110"), aNode("small", "cpu=1 memory=1Gi pods=110"))
	app := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}
	soft := []corev1.WeightedPodAffinityTerm{{Weight: 100, PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: corev1.LabelHostname, LabelSelector: app}}}
	apart := func(name string) *corev1.Pod {
		p := aPod(name, "cpu=10m", "app", "x")
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: soft}}
		return p
	}
	near := aPod("near", "cpu=900m")
	near.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: soft}}
	w.create(apart("x0"), apart("x1"), apart("x2"))
	w.settle()
	require.NotEqual(t, w.nodeOf("x0"), w.nodeOf("x1"))
	require.NotEmpty(t, w.nodeOf("x2"), "a preference refuses nothing")
	for _, name := range []string{"x0", "x1", "x2"} {
		w.remove("pods", name)
	}
	friend := aPod("friend", "", "app", "x")
	friend.Spec.NodeName = "small"
	w.create(friend)
	w.create(near)
	w.settle()
	require.Equal(t, "small", w.nodeOf("near"))
}

func TestAffinityAcrossNamespacesByLabel(t *testing.T) {
	w := newWorld(t)
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, aNode("n1", "cpu=4 memory=8Gi pods=110"))
	friend, guest := aPod("friend", "", "app", "x"), aPod("guest", "")
	guest.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
		{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}}}}}
	w.create(friend, guest)
	w.settle()
	require.Empty(t, w.nodeOf("guest"))
	alter(w, "namespaces", "default", func(n *corev1.Namespace) { n.Labels = map[string]string{"team": "a"} })
	w.settle()
	require.Equal(t, "n1", w.nodeOf("guest"))
}

func TestSpreadsAnywayWhenItMust(t *testing.T) {
	w := newWorld(t)
	w.create(aNode("n1", "cpu=4 memory=8Gi pods=110"), aNode("n2", "cpu=4 memory=8Gi pods=1"))
	for i := range 3 {
		p := aPod(fmt.Sprintf("p%d", i), "", "app", "x")
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelHostname,
			WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}}}
		w.create(p)
	}
	w.settle()
	on := map[string]int{}
	for i := range 3 {
		on[w.nodeOf(fmt.Sprintf("p%d", i))]++
	}
	require.Equal(t, map[string]int{"n1": 2, "n2": 1}, on)
}

func TestANodeThatIsNotReadyGetsNothing(t *testing.T) {
	w := newWorld(t)
	n := aNode("n1", "cpu=4 memory=8Gi pods=110")
	n.Status.Conditions[0].Status = corev1.ConditionUnknown
	w.create(n, aPod("web", ""))
	w.settle()
	require.Equal(t, "Unschedulable: 0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }.", w.reason("web"))
	report(w, "nodes", "n1", func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionTrue })
	w.settle()
	require.Equal(t, "n1", w.nodeOf("web"))
}

func TestALostRaceIsDecidedAgain(t *testing.T) {
	w := newWorld(t)
	w.create(aNode("n1", "cpu=1 memory=1Gi pods=110"), aPod("web", "cpu=1"))
	lost := w.decide()
	require.Len(t, lost.Each, 1)
	w.append(events.Place(w.get("pods", "web"), events.Placement{Node: "n2"}, PodBound)) // by somebody else
	w.create(aPod("next", "cpu=1"))
	w.settle()
	require.Equal(t, "n1", w.nodeOf("next"), "the room that was given to web is free again")
}

// What a namespace's labels say changes whom pods keep away from, without any pod moving.
func TestCountsFollowNamespaceLabels(t *testing.T) {
	w := newWorld(t)
	label := func(team string) {
		alter(w, "namespaces", "default", func(n *corev1.Namespace) { n.Labels = map[string]string{"team": team} })
	}
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	for i := range 8 {
		w.create(aNode(fmt.Sprintf("n%d", i), "cpu=64 memory=64Gi pods=110"))
	}
	w.create(aPod("web", "", "app", "web"))
	w.settle()
	for i, want := range []int{0, 0, 0, 1, 0} {
		switch i {
		case 3:
			label("blue")
		case 4:
			label("red")
		}
		name := fmt.Sprintf("shy-%d", i)
		p := aPod(name, "")
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "blue"}}}}}}
		w.create(p)
		w.settle()
		require.Equal(t, want, w.explain(name).Why.Out[reasonApart], name)
	}
}

// Label keys mean another value on each pod: pods with the same rules may not be alike.
func TestPodsWithTheSameRulesMayNotBeAlike(t *testing.T) {
	w := newWorld(t)
	w.create(aNode("n1", "cpu=64 memory=64Gi pods=110"), aPod("old", "", "app", "web", "hash", "1"))
	w.settle()
	for _, hash := range []string{"1", "2"} {
		p := aPod("shy-"+hash, "", "hash", hash)
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, MatchLabelKeys: []string{"hash"}}}}}
		w.create(p)
	}
	w.settle()
	require.Empty(t, w.nodeOf("shy-1"))
	require.Equal(t, "n1", w.nodeOf("shy-2"))
}
