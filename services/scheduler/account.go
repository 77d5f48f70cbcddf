package scheduler

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/btree"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wakehq/wake/events"
)

// account is what scheduling needs to know of a state: what each node has and has given away, and which pods wait.
type account struct {
	nodes     []*node // by id; a free id holds nil
	freeIDs   []int32
	byName    map[string]*node
	existing  int            // nodes of which there is a Node object
	zones     map[string]int // how many existing nodes each has
	pods      map[events.Ref]*pod
	waiting   *btree.BTreeG[*pod]
	assumed   map[*pod]struct{} // placed by a decision, not yet by an event
	workloads map[string]*workload
	shapes    map[string]*shape
	changed   journal // nodes that may have become better places, or others
	given     journal // nodes that have become worse places

	namespaces map[string]labels.Set
	terms      map[string]*term
	spreads    map[string]*spread
	topology   uint64 // grows when a Node changes, from 1
	labels     map[string]*labelUse

	points     *points
	rankings   map[rankingKey]*ranking
	divisions  int    // of all rankings
	reviewed   uint64 // grows when pods already placed are counted otherwise without having moved, from 1
	decision   uint64 // counts decisions
	swept      uint64 // the decision that last looked for idle rankings
	shapesKept int    // at the last tidying
	unmemoised bool   // every decision looks at all nodes
}

// node is what is known under the name of a node.
type node struct {
	id          int32
	name        string
	hash        uint64
	object      *corev1.Node // nil while only pods speak of it
	taints      []corev1.Taint
	zone        string
	allocatable amounts
	requested   amounts
	scoredCPU   int64
	scoredMem   int64
	ports       map[hostPort]int
	pods        map[*pod]struct{}
	version     uint32 // of what object says
	given       uint32 // how often a pod was put here
}

// pod is a pod that takes from a node or waits for one.
type pod struct {
	ref      events.Ref
	object   *events.Object
	demand   *demand
	shape    *shape // of a waiting pod
	workload string // UID of the controlling owner
	node     *node  // nil while it waits
	priority int32
	created  time.Time
	desired  events.Revision
	labels   labels.Set
	leaving  bool // being deleted
	rules    *rules
	in       []*term // of which the pod is one, by key
}

// workload counts the pods of one owner.
type workload struct {
	pods   int
	byNode map[*node]int
	byZone map[string]int

	longWalks bool // looking for places takes too long in a ranking that other workloads share
}

func newAccount(c Config) *account {
	return &account{points: c.points(), reviewed: 1, labels: map[string]*labelUse{}, byName: map[string]*node{}, zones: map[string]int{}, pods: map[events.Ref]*pod{}, assumed: map[*pod]struct{}{},
		workloads: map[string]*workload{}, shapes: map[string]*shape{}, namespaces: map[string]labels.Set{}, terms: map[string]*term{},
		spreads: map[string]*spread{}, topology: 1, rankings: map[rankingKey]*ranking{}, decision: 1,
		waiting: btree.NewBTreeGOptions(waitsBefore, btree.Options{NoLocks: true})}
}

// waitsBefore orders by priority, then by age.
func waitsBefore(a, b *pod) bool {
	return cmp.Or(cmp.Compare(b.priority, a.priority), a.created.Compare(b.created), cmp.Compare(a.desired, b.desired),
		strings.Compare(a.ref.Namespace, b.ref.Namespace), strings.Compare(a.ref.Name, b.ref.Name)) < 0
}

// foldPod brings a pod's account up to date; o is nil when it is gone.
func (a *account) foldPod(ref events.Ref, o *events.Object) {
	known := a.pods[ref]
	var spec *corev1.Pod
	if o != nil {
		spec = o.Typed().(*corev1.Pod)
	}
	if spec == nil || !concerns(spec) {
		a.forget(known)
		return
	}
	desired := o.Expect(events.Desired)
	if known != nil && (known.desired != desired || known.object.UID() != o.UID()) {
		a.forget(known)
		known = nil
	}
	if known == nil {
		known = a.meet(ref, spec, desired)
	}
	known.object = o
	a.settle(known, spec)
}

// meet takes a pod into account that wasn't known in this form.
func (a *account) meet(ref events.Ref, spec *corev1.Pod, desired events.Revision) *pod {
	d := demandOf(spec)
	p := &pod{ref: ref, demand: &d, workload: workloadOf(spec), priority: priorityOf(spec), created: spec.CreationTimestamp.Time, desired: desired,
		labels: spec.Labels, leaving: spec.DeletionTimestamp != nil}
	for _, t := range a.terms {
		a.match(t, p)
	}
	a.pods[ref] = p
	p.rules = a.rulesOf(spec)
	return p
}

// settle puts a known pod where its object says that it is.
func (a *account) settle(p *pod, spec *corev1.Pod) {
	delete(a.assumed, p)
	if p.node != nil && p.node.name != spec.Spec.NodeName {
		a.lift(p)
	}
	if spec.Spec.NodeName == "" {
		if p.shape == nil {
			p.shape = a.shapeOf(spec, p.demand)
		}
		a.waiting.Set(p)
		return
	}
	if p.node == nil {
		a.put(p, a.nodeNamed(spec.Spec.NodeName))
	}
	a.waiting.Delete(p)
	p.shape = nil
}

func (a *account) forget(p *pod) {
	if p == nil {
		return
	}
	delete(a.assumed, p)
	if p.node != nil {
		a.lift(p)
	}
	a.waiting.Delete(p)
	delete(a.pods, p.ref)
	if p.rules != nil {
		for _, s := range p.rules.spread {
			a.dropSpread(s)
		}
		p.rules.terms(a.dropTerm)
	}
}

// concerns says whether a pod takes from its node, or waits for this scheduler to give it one.
func concerns(p *corev1.Pod) bool {
	switch {
	case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
		return false
	case p.Spec.NodeName != "":
		return true
	default:
		return p.DeletionTimestamp == nil && (p.Spec.SchedulerName == "" || p.Spec.SchedulerName == corev1.DefaultSchedulerName)
	}
}

func workloadOf(p *corev1.Pod) string {
	if owner := metav1.GetControllerOf(p); owner != nil {
		return string(owner.UID)
	}
	return ""
}

func priorityOf(p *corev1.Pod) int32 {
	if p.Spec.Priority != nil {
		return *p.Spec.Priority
	}
	return 0
}

// foldNode brings a node's account up to date; object is nil when the Node is gone.
func (a *account) foldNode(name string, object *corev1.Node) {
	n := a.nodeNamed(name)
	if object != nil && n.object != nil && !nodeDiffers(n.object, object) {
		return
	}
	if n.object != nil {
		a.existing--
		if a.zones[n.zone]--; a.zones[n.zone] == 0 {
			delete(a.zones, n.zone)
		}
	}
	a.countDomains(n, -1)
	n.object, n.zone, n.taints, n.allocatable = object, "", nil, amounts{}
	if object != nil {
		n.zone, n.taints, n.allocatable = object.Labels[corev1.LabelTopologyZone], taintsOf(object), amountsOf(object.Status.Allocatable)
		a.existing++
		a.zones[n.zone]++
	}
	a.countDomains(n, 1)
	n.version++
	a.topology++
	a.changed.note(n.id)
	a.release(n)
}

// nodeDiffers says whether two reports of a Node differ in what scheduling looks at. Most heartbeats don't.
func nodeDiffers(a, b *corev1.Node) bool {
	return a.Spec.Unschedulable != b.Spec.Unschedulable || !maps.Equal(a.Labels, b.Labels) ||
		!equality.Semantic.DeepEqual(a.Status.Allocatable, b.Status.Allocatable) || !slices.Equal(taintKeys(a), taintKeys(b))
}

func taintKeys(n *corev1.Node) []corev1.Taint {
	taints := taintsOf(n)
	for i := range taints {
		taints[i].TimeAdded = nil
	}
	return taints
}

func (a *account) nodeNamed(name string) *node {
	if n := a.byName[name]; n != nil {
		return n
	}
	n := &node{id: int32(len(a.nodes)), name: name, hash: hashText(name), ports: map[hostPort]int{}, pods: map[*pod]struct{}{}}
	if last := len(a.freeIDs) - 1; last >= 0 {
		n.id, a.freeIDs = a.freeIDs[last], a.freeIDs[:last]
		a.nodes[n.id] = n
	} else {
		a.nodes = append(a.nodes, n)
	}
	a.byName[name] = n
	return n
}

// release gives up what is known under a name that nothing speaks of any more.
func (a *account) release(n *node) {
	if n.object == nil && len(n.pods) == 0 {
		delete(a.byName, n.name)
		a.nodes[n.id] = nil
		a.freeIDs = append(a.freeIDs, n.id)
	}
}

// put counts a pod against a node.
func (a *account) put(p *pod, n *node) {
	p.node = n
	n.pods[p] = struct{}{}
	n.given++
	if a.count(p, n, 1); a.points.rises() {
		a.changed.note(n.id)
	} else {
		a.given.note(n.id)
	}
}

// lift takes a pod off its node again.
func (a *account) lift(p *pod) {
	n := p.node
	p.node = nil
	delete(n.pods, p)
	a.count(p, n, -1)
	a.changed.note(n.id)
	a.release(n)
}

func (a *account) count(p *pod, n *node, sign int64) {
	n.requested.add(&p.demand.amounts, sign)
	n.scoredCPU += sign * p.demand.scoredCPU
	n.scoredMem += sign * p.demand.scoredMemory
	for _, port := range p.demand.ports {
		if n.ports[port] += int(sign); n.ports[port] == 0 {
			delete(n.ports, port)
		}
	}
	a.countWorkload(p, n, int(sign))
	countTerms(p, n, int(sign))
}

func (a *account) countWorkload(p *pod, n *node, sign int) {
	if p.workload == "" {
		return
	}
	w := a.workloads[p.workload]
	if w == nil {
		w = &workload{byNode: map[*node]int{}, byZone: map[string]int{}}
		a.workloads[p.workload] = w
	}
	if w.byNode[n] += sign; w.byNode[n] == 0 {
		delete(w.byNode, n)
	}
	if n.object != nil {
		w.byZone[n.zone] += sign
	}
	if w.pods += sign; w.pods == 0 {
		delete(a.workloads, p.workload)
	}
}

// countDomains counts the pods on a node sign times in its zone and other domains: before and after these change.
func (a *account) countDomains(n *node, sign int) {
	for p := range n.pods {
		if p.workload != "" && n.object != nil {
			a.workloads[p.workload].byZone[n.zone] += sign
		}
		countTerms(p, n, sign)
	}
}

// assume counts a waiting pod against the node that a decision gave it, until an event says so or retract takes it back.
func (a *account) assume(p *pod, n *node) {
	a.put(p, n)
	a.assumed[p] = struct{}{}
}

// retract takes back what decisions gave and no event confirmed: somebody else was faster.
func (a *account) retract() {
	for p := range a.assumed {
		delete(a.assumed, p)
		a.lift(p)
	}
}

// shapeOf returns the shape of a pod, one for all that ask for the same.
func (a *account) shapeOf(p *corev1.Pod, d *demand) *shape {
	key := shapeKey(p, d)
	s := a.shapes[key]
	if s == nil {
		s = newShape(p, *d, hashText(key), a.points)
		a.shapes[key] = s
	}
	return s
}
