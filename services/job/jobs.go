package job

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/owned"
)

// actor is the name under which this package's decider writes.
const actor = "job"

var (
	jobKind = events.GroupResource{Group: batchv1.GroupName, Resource: "jobs"}
	podKind = events.GroupResource{Resource: "pods"}
)

// jobs decides about Jobs.
type jobs struct {
	orphans *owned.Orphans
}

// New returns the decider of Jobs.
func New() runner.Decider { return &jobs{orphans: owned.NewOrphans(podKind)} }

// Name implements runner.Decider.
func (d *jobs) Name() string { return actor }

// Fold implements runner.Folder.
func (d *jobs) Fold(c events.Change) { d.orphans.Fold(c) }

// Keys implements runner.Decider: a Job that changed or is gone, or the one whose pod did.
func (d *jobs) Keys(c events.Change, s *events.State) []events.Ref {
	switch ref := c.Ref(); ref.GroupResource() {
	case jobKind:
		return []events.Ref{ref}
	case podKind:
		if c.Old != nil && c.New != nil && !podMatters(c.Old, c.New) {
			return nil
		}
		keys := append(owningJob(nil, c.Old), owningJob(nil, c.New)...)
		if c.New != nil && metav1.GetControllerOfNoCopy(c.New.Meta()) == nil {
			for o := range s.All(jobKind, ref.Namespace) {
				selector, err := metav1.LabelSelectorAsSelector(o.Typed().(*batchv1.Job).Spec.Selector)
				if err == nil && selector.Matches(labels.Set(c.New.Meta().GetLabels())) {
					keys = append(keys, o.Ref)
				}
			}
		}
		return keys
	}
	return nil
}

// podMatters says that a pod's change may change its Job's mind or status.
func podMatters(before, after *events.Object) bool {
	if before.Expect(events.Desired) != after.Expect(events.Desired) {
		return true
	}
	was, is := before.Typed().(*corev1.Pod), after.Typed().(*corev1.Pod)
	return owned.Finished(was) != owned.Finished(is) || owned.Ready(was) != owned.Ready(is) || restarts(was) != restarts(is)
}

// restarts counts how often containers of pod were started again.
func restarts(pod *corev1.Pod) (n int32) {
	for _, statuses := range [...][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			n += statuses[i].RestartCount
		}
	}
	return n
}

func owningJob(keys []events.Ref, pod *events.Object) []events.Ref {
	if pod == nil {
		return keys
	}
	owner := metav1.GetControllerOfNoCopy(pod.Meta())
	if owner == nil || owner.Kind != "Job" || owner.APIVersion != batchv1.SchemeGroupVersion.String() {
		return keys
	}
	return append(keys, events.Ref{Group: batchv1.GroupName, Resource: "jobs", Namespace: pod.Ref.Namespace, Name: owner.Name})
}
