package namespace

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/owned"
)

const (
	maxGroup    = 500             // objects that one decision deletes
	statusEvery = 2 * time.Second // how often the conditions are written at most
)

// Decide furnishes an active namespace, empties one that is being deleted, and sweeps up in one that has ended.
func (n Namespace) Decide(in runner.Input) runner.Decision {
	o, exists := in.State.Get(in.Key)
	switch {
	case exists && o.Meta().GetDeletionTimestamp() == nil:
		return n.furnish(in, o)
	case exists:
		return empty(in, o)
	case in.State.Slot(in.Key) != nil:
		return deletions(in, survey(in.State, in.Key.Name), runner.Cause{})
	}
	return runner.Decision{}
}

// furnish creates what every namespace has.
func (n Namespace) furnish(in runner.Input, o *events.Object) (d runner.Decision) {
	home := in.Key.Name
	birth := func(ref events.Ref) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: home, Name: ref.Name, CreationTimestamp: metav1.NewTime(in.Now.Truncate(time.Second)),
			UID: events.DeriveUID(o.UID(), ref, in.State.Slot(ref).Expect(events.Desired))}
	}
	if ref := accountRef(home); !has(in.State, ref) {
		d.Each = append(d.Each, events.Create(in.State, &corev1.ServiceAccount{ObjectMeta: birth(ref)}, ServiceAccountCreated))
	}
	ref, data := certificateRef(home), map[string]string{"ca.crt": n.certificate}
	if old, ok := in.State.Get(ref); !ok {
		created := &corev1.ConfigMap{ObjectMeta: birth(ref), Data: data}
		created.Annotations = map[string]string{"kubernetes.io/description": "The certificate by which a pod knows the cluster's API."}
		d.Each = append(d.Each, events.Create(in.State, created, RootCertCreated))
	} else if before := old.Typed().(*corev1.ConfigMap); before.DeletionTimestamp == nil && !equality.Semantic.DeepEqual(before.Data, data) {
		restored := before.DeepCopy()
		restored.Data = data
		d.Each = append(d.Each, events.Alter(old, restored, RootCertRestored, "data"))
	}
	return d
}

func has(state *events.State, ref events.Ref) bool {
	_, ok := state.Get(ref)
	return ok
}

// contents is what lies in a namespace, in the order in which it goes.
type contents struct{ makers, pods, rest []*events.Object }

// survey finds all that lies in a namespace. Notes aren't objects of their own and don't count.
func survey(state *events.State, namespace string) (c contents) {
	for _, gr := range state.Resources() {
		for o := range state.All(gr, namespace) {
			switch {
			case !o.Kind.Namespaced || o.IsNote():
			case gr.Resource == "pods" && gr.Group == "":
				c.pods = append(c.pods, o)
			case gr.Group == "apps" || gr.Group == "batch" || gr.Resource == "replicationcontrollers":
				c.makers = append(c.makers, o)
			default:
				c.rest = append(c.rest, o)
			}
		}
	}
	return c
}

func (c contents) all() []*events.Object { return slices.Concat(c.makers, c.pods, c.rest) }

// deletions deletes what may go now, and looks again if that was not all. The zero cause is what asked for the decision.
func deletions(in runner.Input, c contents, cause runner.Cause) (d runner.Decision) {
	may := slices.Concat(c.makers, c.pods)
	if len(c.pods) == 0 {
		may = append(may, c.rest...)
	}
	for _, o := range may {
		if len(d.Each) == maxGroup {
			d.Again = in.Now.Add(time.Millisecond)
			break
		}
		if p, ok := owned.Delete(o, metav1.DeletePropagationBackground, in.Now); ok {
			p.Cause, p.Correlation = cause.Revision, cause.Correlation
			d.Each = append(d.Each, p)
		}
	}
	return d
}

// empty deletes what a namespace contains, says what it waits for, and ends it when nothing is left.
func empty(in runner.Input, o *events.Object) runner.Decision {
	asked := o.Facet(events.Desired)
	c := survey(in.State, o.Ref.Name)
	if left := c.all(); len(left) > 0 {
		d := deletions(in, c, runner.Cause{Revision: asked.Revision, Correlation: asked.Chain()})
		if len(d.Each) == 0 {
			d = wait(in, o, left)
		}
		return d
	}
	ns := o.Typed().(*corev1.Namespace).DeepCopy()
	ns.Spec.Finalizers = slices.DeleteFunc(ns.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	switch {
	case o.Kind.Removable(ns):
		return runner.Decision{Each: []events.Proposal{events.Remove(o, Deleted)}}
	case len(ns.Spec.Finalizers) < len(o.Typed().(*corev1.Namespace).Spec.Finalizers):
		return runner.Decision{Each: []events.Proposal{events.Alter(o, ns, Finalized, "spec.finalizers")}}
	}
	return runner.Decision{}
}

// wait says what a namespace still contains, but not more often than people read.
func wait(in runner.Input, o *events.Object, left []*events.Object) runner.Decision {
	ns := o.Typed().(*corev1.Namespace).DeepCopy()
	changed := false
	for _, c := range remaining(left) {
		changed = set(ns, c, in.Now) || changed
	}
	if !changed {
		return runner.Decision{}
	}
	if said := o.Facet(events.Observed); said != nil && said.At.Add(statusEvery).After(in.Now) {
		return runner.Decision{Again: said.At.Add(statusEvery)}
	}
	return runner.Decision{Each: []events.Proposal{events.Observe(o, ns, ContentRemaining, "status.conditions")}}
}

// remaining words what is left, as Kubernetes does.
func remaining(left []*events.Object) []corev1.NamespaceCondition {
	kinds, finalizers := map[string]int{}, map[string]int{}
	for _, o := range left {
		kinds[o.Ref.GroupResource().String()]++
		for _, f := range o.Meta().GetFinalizers() {
			finalizers[f]++
		}
	}
	content := corev1.NamespaceCondition{Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionTrue, Reason: "SomeResourcesRemain",
		Message: "Some resources are remaining: " + counts(kinds, "%s has %d resource instances")}
	held := corev1.NamespaceCondition{Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionFalse, Reason: "ContentHasNoFinalizers",
		Message: "All content-preserving finalizers finished"}
	if len(finalizers) > 0 {
		held.Status, held.Reason = corev1.ConditionTrue, "SomeFinalizersRemain"
		held.Message = "Some content in the namespace has finalizers remaining: " + counts(finalizers, "%s in %d resource instances")
	}
	return []corev1.NamespaceCondition{content, held}
}

func counts(of map[string]int, format string) string {
	var words []string
	for name, n := range of {
		words = append(words, fmt.Sprintf(format, name, n))
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

// set sets a condition and says whether it differs.
func set(ns *corev1.Namespace, c corev1.NamespaceCondition, now time.Time) bool {
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	for i := range ns.Status.Conditions {
		old := &ns.Status.Conditions[i]
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		differs := old.Status != c.Status || old.Reason != c.Reason || old.Message != c.Message
		*old = c
		return differs
	}
	ns.Status.Conditions = append(ns.Status.Conditions, c)
	return true
}
