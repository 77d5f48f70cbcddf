package simulation

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

// Report is what would come of a question. Times are counted from its beginning. What would happen without it too is left out, but for
// what is marked Anyway.
type Report struct {
	Question  []string        `json:"question"` // "node n3 were killed"
	Revision  events.Revision `json:"revision"` // of the state
	Time      time.Time       `json:"time"`     // at which it begins
	Simulated Span            `json:"simulated"`
	Converges *Span           `json:"converges,omitempty"` // when the last thing has happened; absent while things still happen at the end
	Steps     []Step          `json:"steps,omitempty"`
	Placed    []Placed        `json:"placed,omitempty"`
	Elsewhere []Elsewhere     `json:"elsewhere,omitempty"` // if the question is about the scheduler
	Evicted   []Evicted       `json:"evicted,omitempty"`
	Pending   []Waiting       `json:"pending,omitempty"` // pods that have no node at the end
	Blocked   []Waiting       `json:"blocked,omitempty"` // pods that have one and can't start there
	Ending    []Waiting       `json:"ending,omitempty"`  // pods whose node would have to say that they have ended, and can't
	Held      []Waiting       `json:"held,omitempty"`    // pods that a disruption budget keeps from being evicted
	Lost      []string        `json:"lost,omitempty"`    // pods that end and that nobody replaces
	Short     []Short         `json:"short,omitempty"`   // workloads that are short of replicas at the end
	Events    map[string]int  `json:"events,omitempty"`  // by type
	Warnings  []string        `json:"warnings,omitempty"`
	Hash      string          `json:"hash"` // of the state at the end
}

// Span is a length of time, written "5m40s".
type Span time.Duration

// MarshalJSON implements json.Marshaler.
func (s Span) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// String rounds: to the millisecond below a second, to the second from a minute on.
func (s Span) String() string {
	d := time.Duration(s)
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// Placed is a pod that is given a node.
type Placed struct {
	Pod  string `json:"pod"`
	Node string `json:"node"`
	At   Span   `json:"at"`
}

// Elsewhere is a pod that the present scheduler would give another node; Present is empty if it would give it none.
type Elsewhere struct {
	Pod     string `json:"pod"`
	Node    string `json:"node"`
	Present string `json:"present,omitempty"`
}

// Evicted is a pod that is asked to leave its node.
type Evicted = Placed

// Waiting is a pod, and what it waits for.
type Waiting struct {
	Pod    string `json:"pod"`
	Node   string `json:"node,omitempty"`
	Why    string `json:"why"`
	Anyway bool   `json:"anyway,omitempty"` // it would without the question, too
}

// Short is a workload that has less than it wants.
type Short struct {
	Object string `json:"object"`
	Want   int32  `json:"want"`
	Have   int32  `json:"have"`    // available, be they of the newest template or not
	New    int32  `json:"updated"` // of the newest template, be they available or not
	Why    string `json:"why,omitempty"`
	Anyway bool   `json:"anyway,omitempty"`
}

// Nothing says that the question makes no difference.
func (r *Report) Nothing() bool { return len(r.Events) == 0 && len(r.Steps) == 0 }

// report compares two runs.
func (q *Question) report(state *events.State, alone, asked *outcome) *Report {
	r := &Report{Question: q.words(), Revision: state.Revision(), Time: asked.start, Simulated: Span(asked.Elapsed()), Warnings: asked.warnings,
		Hash: asked.State().Hash(), Events: map[string]int{}}
	end, last := Span(0), time.Duration(0)
	for _, h := range without(asked.all, alone.all, func(h happening) happening { return h }) {
		r.Events[h.eventType]++
		end = max(end, Span(h.at))
	}
	for _, h := range asked.all {
		last = max(last, h.at)
	}
	if asked.Elapsed()-last > min(time.Minute, asked.Elapsed()/2) {
		r.Converges = &end
	}
	facts := without(asked.facts, alone.facts, likeness)
	r.Steps = steps(facts)
	for _, f := range facts {
		switch f.what {
		case PodPlaced, PodReplaced:
			r.Placed = append(r.Placed, Placed{name(f.ref), f.node, Span(f.at)})
		case PodEvicted:
			r.Evicted = append(r.Evicted, Evicted{name(f.ref), f.node, Span(f.at)})
		}
		if (f.what == PodEvicted || f.what == PodGone) && !hasOwner(state, f.ref) && !slices.Contains(q.Delete, f.ref) {
			r.Lost = append(r.Lost, name(f.ref))
		}
	}
	r.remains(alone.State(), asked.State(), q)
	return r
}

// compare tells what is placed elsewhere than in a run with the present scheduler.
func (r *Report) compare(same *outcome) {
	nodes := map[string]string{}
	for _, f := range same.facts {
		if f.what == PodPlaced || f.what == PodReplaced {
			nodes[name(f.ref)] = f.node
		}
	}
	for _, p := range r.Placed {
		if present := nodes[p.Pod]; present != p.Node {
			r.Elsewhere = append(r.Elsewhere, Elsewhere{Pod: p.Pod, Node: p.Node, Present: present})
		}
	}
}

// hasOwner says that something controls a pod, and so replaces it.
func hasOwner(state *events.State, ref events.Ref) bool {
	o, ok := state.Get(ref)
	return !ok || metav1.GetControllerOfNoCopy(o.Meta()) != nil
}

// likeness is what two runs have of a fact in common: not the generated names, and not when they give up on a rollout that was stuck before.
func likeness(f fact) fact {
	f.ref.Name = ""
	if f.what == RolloutStuck {
		f.at, f.why = 0, ""
	}
	return f
}

// without leaves out what is in the other list too, as key sees it. The same at another time is not the same.
func without[T comparable](all, others []T, key func(T) T) (rest []T) {
	count := map[T]int{}
	for _, one := range others {
		count[key(one)]++
	}
	for _, one := range all {
		if k := key(one); count[k] > 0 {
			count[k]--
			continue
		}
		rest = append(rest, one)
	}
	return rest
}

// remains tells how things stand at the end.
func (r *Report) remains(alone, asked *events.State, q *Question) {
	for o := range asked.All(podsKind, "") {
		pod := podOf(o)
		w, list := Waiting{Pod: name(o.Ref), Node: pod.Spec.NodeName}, (*[]Waiting)(nil)
		switch {
		case podEnded(pod):
			continue
		case pod.DeletionTimestamp != nil:
			list, w.Why = &r.Ending, "its node does not answer"
			if len(pod.Finalizers) > 0 {
				w.Why = "finalizers hold it: " + fmt.Sprint(pod.Finalizers)
			}
		case pod.Spec.NodeName == "":
			list, w.Why = &r.Pending, cmp.Or(unplaced(pod), "the scheduler has said nothing about it")
		case blockedBy(pod) != "":
			list, w.Why = &r.Blocked, blockedBy(pod)
		case slices.Contains(q.Drain, pod.Spec.NodeName):
			if budget := budgetIn(asked, o); budget != "" {
				list, w.Why = &r.Held, budget
			}
		}
		if list != nil {
			w.Anyway = list != &r.Held && isSo(alone, o, pod)
			*list = append(*list, w)
		}
	}
	before := map[string]Short{}
	for _, s := range shorts(alone) {
		before[s.Object] = s
	}
	for _, s := range shorts(asked) {
		was, known := before[s.Object]
		s.Anyway = known && was.Want == s.Want && was.Have <= s.Have && was.New <= s.New
		r.Short = append(r.Short, s)
	}
}

func budgetIn(state *events.State, o *events.Object) string {
	s := Simulation{state: state}
	if budget := s.budgetAgainst(o); budget != nil {
		return fmt.Sprintf("disruption budget %s allows no disruption", budget.Name)
	}
	return ""
}

// isSo says that a pod is in the same plight in another state.
func isSo(state *events.State, o *events.Object, pod *corev1.Pod) bool {
	other, ok := state.Get(o.Ref)
	if !ok || other.UID() != o.UID() {
		return false
	}
	was := podOf(other)
	return (was.DeletionTimestamp == nil) == (pod.DeletionTimestamp == nil) && was.Spec.NodeName == pod.Spec.NodeName &&
		(blockedBy(was) == "") == (blockedBy(pod) == "")
}

// shorts lists the workloads that don't have what they want.
func shorts(state *events.State) (out []Short) {
	add := func(ref events.Ref, want *int32, have, updated int32, why string) {
		n := int32(1)
		if want != nil {
			n = *want
		}
		if min(have, updated) < n {
			out = append(out, Short{Object: short(ref), Want: n, Have: have, New: updated, Why: why})
		}
	}
	for o := range state.All(events.GroupResource{Group: appsv1.GroupName, Resource: "deployments"}, "") {
		d := o.Typed().(*appsv1.Deployment)
		if !d.Spec.Paused {
			add(o.Ref, d.Spec.Replicas, d.Status.AvailableReplicas, d.Status.UpdatedReplicas, stuck(d))
		}
	}
	for o := range state.All(events.GroupResource{Group: appsv1.GroupName, Resource: "replicasets"}, "") {
		if set := o.Typed().(*appsv1.ReplicaSet); metav1.GetControllerOfNoCopy(set) == nil {
			add(o.Ref, set.Spec.Replicas, set.Status.AvailableReplicas, set.Status.Replicas, "")
		}
	}
	for o := range state.All(events.GroupResource{Resource: "replicationcontrollers"}, "") {
		set := o.Typed().(*corev1.ReplicationController)
		add(o.Ref, set.Spec.Replicas, set.Status.AvailableReplicas, set.Status.Replicas, "")
	}
	return out
}
