package simulation

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

// User is who asks what if.
const User = "user:what-if"

// write says of a request what the schemas want to know. Identities follow from the state, so that they are the same every time.
func (s *Simulation) write(ref events.Ref) *schemas.Write {
	return &schemas.Write{Namespace: ref.Namespace, Name: ref.Name, Now: s.now,
		NewUID:        func() types.UID { return events.DeriveUID(ref, s.state.Revision()) },
		Suffix:        func() string { return events.DeriveSuffix(ref, s.state.Revision()) },
		PriorityClass: s.priorityClass, ServiceFamilies: s.state.ServiceFamilies(), IngressClasses: s.state.IngressClasses}
}

// priorityClass finds a class by name; the empty name stands for the default one, the lowest if there are several, as in Kubernetes.
func (s *Simulation) priorityClass(name string) *schedulingv1.PriorityClass {
	var found *schedulingv1.PriorityClass
	for o := range s.state.All(events.GroupResource{Group: schedulingv1.GroupName, Resource: "priorityclasses"}, "") {
		class := o.Typed().(*schedulingv1.PriorityClass)
		switch {
		case name != "" && class.Name == name:
			return class
		case name == "" && class.GlobalDefault && (found == nil || class.Value < found.Value):
			found = class
		}
	}
	return found
}

// Apply does what "kubectl apply" does with a manifest: it creates what there isn't and brings the rest in line, in order. Objects without a
// namespace are put into the given one. It returns what it wrote, and what the API would warn of. The error is the API's, and names the manifest.
func (s *Simulation) Apply(m Manifest, namespace string) (written []events.Ref, warnings []string, err error) {
	documents, err := m.documents(s.state.Registry())
	if err != nil {
		return nil, nil, err
	}
	for _, d := range documents {
		ref, warned, err := s.applyOne(&d, namespace)
		warnings = append(warnings, warned...)
		if err != nil {
			return written, warnings, fmt.Errorf("%s, %s %s: %w", m.Name, d.Kind, cmp.Or(d.Name, d.GenerateName), err)
		}
		written = append(written, ref)
	}
	return written, warnings, nil
}

func (s *Simulation) applyOne(d *document, namespace string) (events.Ref, []string, error) {
	stored := d.kind.Storage
	ref := events.Ref{Group: stored.GroupVersion.Group, Resource: stored.Resource, Namespace: d.Namespace, Name: d.Name}
	if d.kind.Namespaced && ref.Namespace == "" {
		ref.Namespace = cmp.Or(namespace, metav1.NamespaceDefault)
	}
	obj, warnings, err := d.kind.DecodeBody(d.body, runtime.ContentTypeJSON, metav1.FieldValidationStrict)
	if err != nil {
		return ref, warnings, err
	}
	obj.(metav1.Object).SetNamespace(ref.Namespace)
	old, exists := s.state.Get(ref)
	if !exists || d.Name == "" {
		ref, more, err := s.create(d.kind, ref, obj)
		return ref, append(warnings, more...), err
	}
	patched, err := merged(d, old)
	if err != nil {
		return ref, warnings, err
	}
	more, err := s.update(d.kind, old, patched, old.Kind.KindName+"Changed")
	return ref, append(warnings, more...), err
}

// create creates an object, as a POST does.
func (s *Simulation) create(kind *schemas.Kind, ref events.Ref, obj runtime.Object) (events.Ref, []string, error) {
	if err := s.checkNamespace(kind, ref); err != nil {
		return ref, nil, err
	}
	write := s.write(ref)
	write.Name = ""
	created, warnings, err := kind.PrepareCreate(write, obj)
	if err != nil {
		return ref, warnings, err
	}
	ref.Name = created.(metav1.Object).GetName()
	if _, taken := s.state.Get(ref); taken {
		return ref, warnings, apierrors.NewAlreadyExists(kind.GroupResource(), ref.Name)
	}
	p := events.Create(s.state, created, kind.KindName+"Created")
	proposals := []events.Proposal{p}
	if kind.HasStatus {
		silent, err := kind.Decode(p.Payload, nil)
		if err != nil {
			return ref, warnings, err
		}
		if !kind.StatusEqual(silent, created) { // such as a node's
			proposals = append(proposals, events.ObserveNew(s.state, created, kind.KindName+"StatusChanged"))
		}
	}
	return ref, warnings, s.Do(User, proposals...)
}

// checkNamespace refuses objects for a namespace that isn't there or is on its way out.
func (s *Simulation) checkNamespace(kind *schemas.Kind, ref events.Ref) error {
	if !kind.Namespaced {
		return nil
	}
	namespaces := schema.GroupResource{Resource: "namespaces"}
	o, ok := s.state.Get(events.Ref{Resource: namespaces.Resource, Name: ref.Namespace})
	if !ok {
		return apierrors.NewNotFound(namespaces, ref.Namespace)
	}
	if o.Meta().GetDeletionTimestamp() != nil {
		return apierrors.NewForbidden(kind.GroupResource(), ref.Name, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", ref.Namespace))
	}
	return nil
}

// merged is what applying a document makes of an object. What was applied before and isn't in the document any more goes, the rest that others set
// stays: by the annotation in which kubectl keeps what it applied last, or by who owns which field if it was applied by the server.
func merged(d *document, old *events.Object) (runtime.Object, error) {
	live, err := d.kind.Convert(old.Typed())
	if err != nil {
		return nil, err
	}
	m := live.(metav1.Object)
	last, known := m.GetAnnotations()[corev1.LastAppliedConfigAnnotation]
	if !known {
		for _, entry := range m.GetManagedFields() {
			if entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" {
				applied, _, err := d.kind.Apply(live, d.body, entry.Manager, true, "", metav1.FieldValidationStrict)
				return applied, err
			}
		}
	}
	current, err := json.Marshal(live)
	if err != nil {
		return nil, err
	}
	modified, err := withLastApplied(d.body)
	if err != nil {
		return nil, err
	}
	lookup, err := strategicpatch.NewPatchMetaFromStruct(d.kind.New())
	if err != nil {
		return nil, err
	}
	patch, err := strategicpatch.CreateThreeWayMergePatch([]byte(last), modified, current, lookup, true)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	patched, _, err := d.kind.ApplyPatch(types.StrategicMergePatchType, old.Typed(), patch, metav1.FieldValidationStrict)
	return patched, err
}

// withLastApplied notes in a document what is applied, as kubectl does.
func withLastApplied(body []byte) ([]byte, error) {
	var content map[string]any
	if err := json.Unmarshal(body, &content); err != nil {
		return nil, err
	}
	metadata, _ := content["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
		metadata["annotations"] = annotations
	}
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	plain, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	annotations[corev1.LastAppliedConfigAnnotation] = string(plain) + "\n"
	return json.Marshal(content)
}

// update makes old's metadata and spec those of obj, as a PUT does. What changes nothing makes no event.
func (s *Simulation) update(kind *schemas.Kind, old *events.Object, obj runtime.Object, eventType string) ([]string, error) {
	if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.NodeName == "" && old.Facet(events.Assigned) != nil {
		pod = pod.DeepCopy()
		pod.Spec.NodeName = old.Typed().(*corev1.Pod).Spec.NodeName
		obj = pod
	}
	prepared, warnings, err := kind.PrepareUpdate(s.write(old.Ref), obj, old.Typed())
	if err != nil {
		return warnings, err
	}
	if old.Kind.Removable(prepared) {
		return warnings, s.Do(User, events.Remove(old, old.Kind.KindName+"Deleted"))
	}
	if old.Facet(events.Assigned) != nil {
		old.Kind.Unassign(prepared)
	}
	p := events.Alter(old, prepared, eventType, "spec")
	if bytes.Equal(p.Payload, old.Facet(events.Desired).Payload) {
		return warnings, nil
	}
	return warnings, s.Do(User, p)
}

func (s *Simulation) find(ref events.Ref) (*events.Object, error) {
	o, ok := s.state.Get(ref)
	if !ok || o.IsNote() {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: ref.Group, Resource: ref.Resource}, ref.Name)
	}
	return o, nil
}

// Delete does what "kubectl delete" does: what an object owns goes with it, in the background.
func (s *Simulation) Delete(ref events.Ref) error {
	o, err := s.find(ref)
	if err != nil {
		return err
	}
	policy := metav1.DeletePropagationBackground
	return s.delete(o, &metav1.DeleteOptions{PropagationPolicy: &policy})
}

func (s *Simulation) delete(o *events.Object, options *metav1.DeleteOptions) error {
	deletion, err := o.Kind.PrepareDelete(s.write(o.Ref), o.Typed(), options)
	switch {
	case err != nil:
		return err
	case deletion.Remove:
		return s.Do(User, events.Remove(o, o.Kind.KindName+"Deleted"))
	case !deletion.Changed:
		return nil
	}
	desired := deletion.Object.DeepCopyObject()
	if o.Facet(events.Assigned) != nil {
		o.Kind.Unassign(desired)
	}
	return s.Do(User, events.Alter(o, desired, o.Kind.KindName+"DeletionRequested", "metadata.deletionTimestamp"))
}

// Scale sets how many replicas there are to be.
func (s *Simulation) Scale(ref events.Ref, replicas int32) error {
	o, err := s.find(ref)
	if err != nil {
		return err
	}
	obj, err := o.Kind.SetScale(o.Typed(), &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: ref.Name, Namespace: ref.Namespace},
		Spec: autoscalingv1.ScaleSpec{Replicas: replicas}})
	if err != nil {
		return err
	}
	_, err = s.update(o.Kind, o, obj, o.Kind.KindName+"Scaled")
	return err
}
