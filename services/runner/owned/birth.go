package owned

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

// maxBaseBytes is what a generated name keeps of its base: five letters more make 63, the length of a DNS label.
const maxBaseBytes = 58

var (
	pods            = events.GroupResource{Resource: "pods"}
	priorityClasses = events.GroupResource{Group: schedulingv1.GroupName, Resource: "priorityclasses"}
)

// Birth makes pods from a template: defaulting, admission and validation are done once, each pod only adds its name. The pods share what the
// template says: they are to be encoded, not changed.
type Birth struct {
	state  *events.State
	pod    *corev1.Pod
	base   string
	parts  []any
	count  int
	chosen map[string]bool
}

// Parent is what a pod is made for.
type Parent struct {
	Reference metav1.OwnerReference
	Namespace string
	Base      string // what the names of its pods begin with: "web-"
}

// NewBirth prepares pods of parent. Their names and UIDs follow from the parent and the state's revision. An error says why the API would
// refuse such a pod, in Kubernetes' words.
func NewBirth(s *events.State, template *corev1.PodTemplateSpec, parent Parent, now time.Time) (*Birth, error) {
	base := parent.Base[:min(len(parent.Base), maxBaseBytes)]
	kind, _ := s.Registry().ByStorage(pods.Group, pods.Resource)
	write := schemas.Write{Namespace: parent.Namespace, Now: now.Truncate(time.Second),
		NewUID:        func() types.UID { return parent.Reference.UID }, // Next gives each its own
		Suffix:        func() string { return "xxxxx" },
		PriorityClass: func(name string) *schedulingv1.PriorityClass { return priorityClass(s, name) }}
	prepared, _, err := kind.PrepareCreate(&write, &corev1.Pod{Spec: template.Spec, ObjectMeta: metav1.ObjectMeta{Namespace: parent.Namespace,
		GenerateName: base, Labels: template.Labels, Annotations: template.Annotations, Finalizers: template.Finalizers,
		OwnerReferences: []metav1.OwnerReference{parent.Reference}}})
	if err != nil {
		return nil, err
	}
	return &Birth{state: s, pod: prepared.(*corev1.Pod), base: base, parts: []any{string(parent.Reference.UID), s.Revision()},
		chosen: map[string]bool{}}, nil
}

// Next returns one more pod, with a name that is free.
func (b *Birth) Next() *corev1.Pod { return b.named(b.base) }

// NextOf is Next for a pod whose name begins differently from the others'.
func (b *Birth) NextOf(base string) *corev1.Pod {
	pod := b.named(base[:min(len(base), maxBaseBytes)])
	pod.GenerateName = base
	return pod
}

func (b *Birth) named(base string) *corev1.Pod {
	pod := *b.pod
	for {
		b.count++
		pod.Name = base + events.DeriveSuffix(append(b.parts, b.count)...)
		_, taken := b.state.Get(events.Ref{Resource: pods.Resource, Namespace: pod.Namespace, Name: pod.Name})
		if !taken && !b.chosen[pod.Name] {
			b.chosen[pod.Name] = true
			pod.UID = events.DeriveUID(append(b.parts, b.count)...)
			return &pod
		}
	}
}

// priorityClass finds a class by its name, or for the empty name the default one: of several the one of the lowest priority.
func priorityClass(s *events.State, name string) *schedulingv1.PriorityClass {
	if name != "" {
		if o, ok := s.Get(events.Ref{Group: priorityClasses.Group, Resource: priorityClasses.Resource, Name: name}); ok {
			return o.Typed().(*schedulingv1.PriorityClass)
		}
		return nil
	}
	var lowest *schedulingv1.PriorityClass
	for o := range s.All(priorityClasses, "") {
		if class := o.Typed().(*schedulingv1.PriorityClass); class.GlobalDefault && (lowest == nil || class.Value < lowest.Value) {
			lowest = class
		}
	}
	return lowest
}
