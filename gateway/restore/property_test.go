package restore_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/gateway/restore"
)

// happen lets something happen to one of a few objects in one of two namespaces.
func happen(t *rapid.T, w *world) {
	ns := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "namespace")
	if _, ok := w.state.Get(ref("namespaces", "", ns)); !ok {
		w.create(namespace(ns))
		return
	}
	name := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name")
	resource := rapid.SampledFrom([]string{"configmaps", "services", "deployments", "replicasets", "namespaces"}).Draw(t, "resource")
	where := ref(resource, ns, name)
	if resource == "deployments" || resource == "replicasets" {
		where.Group = "apps"
	}
	o, ok := w.state.Get(where)
	switch {
	case resource == "namespaces":
		w.empty(ns)
	case !ok:
		if obj := born(t, w, where); obj != nil {
			w.create(obj)
		}
	case rapid.Bool().Draw(t, "remove"):
		w.remove(o)
	default:
		vary(t, w, o)
	}
}

// born returns a new object, nil if it can't be there yet.
func born(t *rapid.T, w *world, where events.Ref) runtime.Object {
	switch where.Resource {
	case "configmaps":
		return configMap(where.Namespace, where.Name, "0")
	case "deployments":
		return deployment(where.Namespace, where.Name)
	case "replicasets":
		if owner, ok := w.state.Get(events.Ref{Group: "apps", Resource: "deployments", Namespace: where.Namespace, Name: where.Name}); ok {
			return replicaSet(owner, where.Name)
		}
		return nil
	}
	// An address and a port that are free, as the API would see to.
	number := rapid.IntRange(1, 4).Draw(t, "address")
	address, port := "10.96.0."+string(rune('0'+number)), int32(30000+number)
	for o := range w.state.All(events.GroupResource{Resource: "services"}, "") {
		if s := o.Typed().(*corev1.Service); s.Spec.ClusterIP == address || s.Spec.Ports[0].NodePort == port {
			return nil
		}
	}
	return service(where.Namespace, where.Name, address, port)
}

func vary(t *rapid.T, w *world, o *events.Object) {
	value := rapid.SampledFrom([]string{"1", "2"}).Draw(t, "value")
	switch o.Typed().(type) {
	case *corev1.ConfigMap:
		edit(w, o, func(c *corev1.ConfigMap) { c.Data = map[string]string{"key": value} })
	case *appsv1.Deployment:
		edit(w, o, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "demo:" + value })
	case *appsv1.ReplicaSet:
		edit(w, o, func(s *appsv1.ReplicaSet) { s.Annotations = map[string]string{"a": value} })
	case *corev1.Service:
		edit(w, o, func(s *corev1.Service) { s.Labels = map[string]string{"a": value} })
	}
}

// content is what of an object restoring promises to bring back.
func content(t require.TestingT, o *events.Object) map[string]any {
	u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o.Typed())
	require.NoError(t, err)
	delete(u, "status")
	m := u["metadata"].(map[string]any)
	for _, key := range []string{"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "ownerReferences"} {
		delete(m, key)
	}
	if o.Ref.Resource == "services" { // may belong to another by now
		spec := u["spec"].(map[string]any)
		delete(spec, "clusterIP")
		delete(spec, "clusterIPs")
		for _, port := range spec["ports"].([]any) {
			delete(port.(map[string]any), "nodePort")
		}
	}
	return u
}

func selection(t *rapid.T, w *world, past *events.State) (restore.Selection, func(events.Ref) bool) {
	ns := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "restored namespace")
	switch rapid.SampledFrom([]string{"namespace", "kind", "one"}).Draw(t, "selection") {
	case "kind":
		gr := events.GroupResource{Resource: "configmaps"}
		return restore.Selection{Kind: gr, In: ns}, func(r events.Ref) bool { return r.GroupResource() == gr && r.Namespace == ns }
	case "one":
		for _, gr := range past.Resources() {
			for o := range past.All(gr, "") {
				if !o.IsNote() && rapid.Bool().Draw(t, "this") && (w.options.Owned || o.Kind.KindName != "ReplicaSet") {
					return only(o.Ref), func(r events.Ref) bool { return r == o.Ref || w.options.Owned && r.Namespace == o.Ref.Namespace }
				}
			}
		}
	}
	return restore.Selection{Namespace: ns}, func(r events.Ref) bool {
		return r.Namespace == ns || r == ref("namespaces", "", ns)
	}
}

// Whatever has happened: what is restored is again what it was, nothing else is touched, nothing is left to be collected as garbage, and restoring
// again is nothing.
func TestWhatIsRestoredIsWhatItWas(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		w.options = restore.Options{Owned: rapid.Bool().Draw(rt, "owned"), Prune: rapid.Bool().Draw(rt, "prune")}
		for range rapid.IntRange(1, 40).Draw(rt, "events") {
			happen(rt, w)
		}
		at := events.Revision(rapid.IntRange(0, len(w.pasts)-1).Draw(rt, "at"))
		past, before := w.pasts[at], w.state.Fork()
		s, selected := selection(rt, w, past)
		plan, err := w.plan(at, s)
		if err != nil {
			var absent *restore.NotFoundError
			require.ErrorAs(rt, err, &absent)
			return
		}
		if len(plan.Blocked()) > 0 {
			for _, step := range plan.Blocked() {
				require.Contains(rt, step.Reason, "its namespace is gone")
			}
			return
		}
		if proposals := plan.Proposals(); len(proposals) > 0 {
			w.append(proposals...)
		}
		checkRestored(rt, w, plan, past)
		for _, p := range plan.Proposals() {
			require.True(rt, selected(p.Ref), "%s isn't selected", p.Ref)
		}
		again, err := w.plan(at, s)
		require.NoError(rt, err)
		for _, p := range again.Proposals() { // addresses that another service has given up are free only then
			require.True(rt, p.Ref.Resource == "services" && slices.ContainsFunc(plan.Steps, func(s restore.Step) bool {
				return s.Ref.Resource == "services" && s.Ref != p.Ref && (s.Action == restore.Delete || s.Action == restore.Change)
			}), "%s again: %v", p.Ref, actions(again))
		}
		if at == before.Revision() {
			for _, p := range plan.Proposals() {
				require.Equal(rt, []string{"metadata.ownerReferences"}, p.Changed, "nothing has happened since, and %s is but let go by an owner that is gone", p.Ref)
			}
		}
	})
}

func checkRestored(t *rapid.T, w *world, plan *restore.Plan, past *events.State) {
	for _, step := range plan.Steps {
		now, live := w.state.Get(step.Ref)
		switch step.Action {
		case restore.Delete:
			require.False(t, live, "%s", step.Ref)
		case restore.Create, restore.Change, restore.Unchanged:
			require.True(t, live, "%s", step.Ref)
			was, _ := past.Get(step.Ref)
			require.Equal(t, content(t, was), content(t, now), "%s", step.Ref)
			for _, owner := range now.Meta().GetOwnerReferences() {
				if step.Action == restore.Unchanged {
					continue
				}
				o, ok := w.state.Get(events.Ref{Group: "apps", Resource: "deployments", Namespace: now.Ref.Namespace, Name: owner.Name})
				require.True(t, ok && types.UID(o.UID()) == owner.UID, "%s names an owner that isn't there", step.Ref)
			}
		}
	}
}
