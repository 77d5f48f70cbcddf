package transcript

import (
	"errors"
	"fmt"
	"path"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

// User is who does what a World's own methods do from outside.
const User = "user:tester"

// Apply creates or updates what a manifest of one object says, as the gateway would: defaulted and checked. A status that the
// manifest has is written too.
func (w *World) Apply(manifest []byte) error {
	var head metav1.TypeMeta
	if err := yaml.Unmarshal(manifest, &head); err != nil {
		return err
	}
	kind, ok := w.state.Registry().Kind(schema.FromAPIVersionAndKind(head.APIVersion, head.Kind))
	if !ok {
		return fmt.Errorf("no kind %s %s", head.APIVersion, head.Kind)
	}
	obj, _, err := kind.DecodeBody(manifest, runtime.ContentTypeYAML, metav1.FieldValidationStrict)
	if err != nil {
		return err
	}
	meta := obj.(metav1.Object)
	if kind.Namespaced && meta.GetNamespace() == "" {
		meta.SetNamespace(metav1.NamespaceDefault)
	}
	ref := events.Ref{Group: kind.GroupVersion.Group, Resource: kind.Resource, Namespace: meta.GetNamespace(), Name: meta.GetName()}
	if old, ok := w.state.Get(ref); ok {
		return w.update(old, obj)
	}
	created, _, err := kind.PrepareCreate(w.write(ref), obj)
	if err != nil {
		return err
	}
	proposals := []events.Proposal{events.Create(w.state, created, kind.KindName+"Created")}
	kind.SetStatus(created, obj)
	if empty := kind.New(); !kind.StatusEqual(created, empty) {
		proposals = append(proposals, events.ObserveNew(w.state, created, kind.KindName+"Observed"))
	}
	return w.Do(User, proposals...)
}

func (w *World) write(ref events.Ref) *schemas.Write {
	return &schemas.Write{Namespace: ref.Namespace, Now: w.now.Truncate(time.Second), ServiceFamilies: w.state.ServiceFamilies(), IngressClasses: w.state.IngressClasses,
		NewUID: func() types.UID { return events.DeriveUID(ref.String(), w.state.Revision()) }}
}

// update writes obj as the desired facet of old.
func (w *World) update(old *events.Object, obj runtime.Object) error {
	write := w.write(old.Ref)
	write.Name = old.Ref.Name
	meta := obj.(metav1.Object)
	meta.SetResourceVersion(old.Meta().GetResourceVersion())
	updated, _, err := old.Kind.PrepareUpdate(write, obj, old.Typed())
	if err != nil {
		return err
	}
	if old.Facet(events.Assigned) != nil {
		old.Kind.Unassign(updated)
	}
	return w.Do(User, events.Alter(old, updated, old.Kind.KindName+"Changed"))
}

// Patch changes the desired facet of ref by a merge patch, in YAML.
func (w *World) Patch(ref events.Ref, patch []byte) error {
	old, obj, err := w.patched(ref, patch)
	if err != nil {
		return err
	}
	return w.update(old, obj)
}

// PatchStatus changes the status of ref by a merge patch, in YAML.
func (w *World) PatchStatus(ref events.Ref, patch []byte) error {
	old, obj, err := w.patched(ref, patch)
	if err != nil {
		return err
	}
	return w.Do(User, events.Observe(old, obj, old.Kind.KindName+"Observed"))
}

func (w *World) patched(ref events.Ref, patch []byte) (*events.Object, runtime.Object, error) {
	old, ok := w.state.Get(ref)
	if !ok {
		return nil, nil, fmt.Errorf("there is no %s", ref)
	}
	body, err := yaml.YAMLToJSON(patch)
	if err != nil {
		return nil, nil, err
	}
	obj, _, err := old.Kind.ApplyPatch(types.MergePatchType, old.Typed(), body, metav1.FieldValidationStrict)
	return old, obj, err
}

// Delete does what a client's DELETE does.
func (w *World) Delete(ref events.Ref) error {
	o, ok := w.state.Get(ref)
	if !ok {
		return fmt.Errorf("there is no %s", ref)
	}
	policy := metav1.DeletePropagationBackground
	deletion, err := o.Kind.PrepareDelete(w.write(ref), o.Typed(), &metav1.DeleteOptions{PropagationPolicy: &policy})
	switch {
	case err != nil:
		return err
	case deletion.Remove:
		return w.Vanish(ref)
	case !deletion.Changed:
		return nil
	}
	if o.Facet(events.Assigned) != nil {
		o.Kind.Unassign(deletion.Object)
	}
	return w.Do(User, events.Alter(o, deletion.Object, o.Kind.KindName+"DeletionRequested"))
}

// Vanish removes ref at once, as when a node reports that a pod has ended.
func (w *World) Vanish(ref events.Ref) error {
	o, ok := w.state.Get(ref)
	if !ok {
		return fmt.Errorf("there is no %s", ref)
	}
	return w.Do(User, events.Remove(o, o.Kind.KindName+"Deleted"))
}

// Bind places a pod on a node, unless it is on one already.
func (w *World) Bind(ref events.Ref, node string) error {
	o, err := w.pod(ref)
	if err != nil || o.Typed().(*corev1.Pod).Spec.NodeName != "" {
		return err
	}
	return w.Do("service:scheduler", events.Place(o, events.Placement{Node: node}, "PodBound"))
}

// Report states a running pod's status: it has the phase, and is ready or not. Its containers ended with exitCode if the phase is a last one.
func (w *World) Report(ref events.Ref, phase corev1.PodPhase, ready bool, exitCode int32) error {
	o, err := w.pod(ref)
	if err != nil {
		return err
	}
	pod := o.Typed().(*corev1.Pod).DeepCopy()
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod.Status.Phase = phase
	condition := corev1.PodCondition{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(w.now)}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == status {
			condition.LastTransitionTime = c.LastTransitionTime
		}
	}
	pod.Status.Conditions = []corev1.PodCondition{condition}
	pod.Status.ContainerStatuses = nil
	for _, c := range pod.Spec.Containers {
		if phase == corev1.PodSucceeded || phase == corev1.PodFailed {
			ended := &corev1.ContainerStateTerminated{ExitCode: exitCode, FinishedAt: metav1.NewTime(w.now)}
			pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses,
				corev1.ContainerStatus{Name: c.Name, State: corev1.ContainerState{Terminated: ended}})
		}
	}
	return w.Do("node:"+pod.Spec.NodeName, events.Observe(o, pod, "PodReported"))
}

func (w *World) pod(ref events.Ref) (*events.Object, error) {
	o, ok := w.state.Get(ref)
	if !ok {
		return nil, fmt.Errorf("there is no %s", ref)
	}
	if _, ok := o.Typed().(*corev1.Pod); !ok {
		return nil, fmt.Errorf("%s is not a pod", ref)
	}
	return o, nil
}

// Find returns the objects whose names match a pattern such as "pods/default/web-*", in order; an error if there are none.
func (w *World) Find(pattern string) ([]events.Ref, error) {
	var found []events.Ref
	for _, gr := range w.state.Resources() {
		for o := range w.state.All(gr, "") {
			if ok, err := path.Match(pattern, o.Ref.String()); err != nil {
				return nil, err
			} else if ok {
				found = append(found, o.Ref)
			}
		}
	}
	if len(found) == 0 {
		return nil, errors.New("nothing matches " + pattern)
	}
	return found, nil
}
