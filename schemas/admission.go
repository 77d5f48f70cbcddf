package schemas

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
	"k8s.io/kubernetes/pkg/apis/scheduling"
	schedulinghelper "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/utils/ptr"
)

// evictAfter is how long a pod stays on a node that is not ready or not reachable, unless it says otherwise.
const evictAfter = 300 // seconds

// admitPod fills in what Kubernetes' admission plugins give every pod: ServiceAccount, Priority, DefaultTolerationSeconds.
func admitPod(w *Write, obj runtime.Object) error {
	pod := obj.(*core.Pod)
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = "default"
	}
	if err := prioritise(w, pod); err != nil {
		return err
	}
	for _, taint := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		tolerated := slices.ContainsFunc(pod.Spec.Tolerations, func(t core.Toleration) bool {
			return (t.Key == taint || t.Key == "") && (t.Effect == core.TaintEffectNoExecute || t.Effect == "")
		})
		if !tolerated {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, core.Toleration{Key: taint, Operator: core.TolerationOpExists,
				Effect: core.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](evictAfter)})
		}
	}
	return nil
}

// prioritise works out a pod's priority from its class.
func prioritise(w *Write, pod *core.Pod) error {
	forbidden := func(format string, args ...any) error {
		return apierrors.NewForbidden(core.Resource("pods"), pod.Name, fmt.Errorf(format, args...))
	}
	class, err := priorityClass(w, pod.Spec.PriorityClassName)
	if err != nil {
		return forbidden("%w", err)
	}
	if pod.Spec.Priority != nil && *pod.Spec.Priority != class.Value {
		return forbidden("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d "+
			"from the given PriorityClass name", *pod.Spec.Priority, class.Value)
	}
	policy := core.PreemptionPolicy(ptr.Deref(class.PreemptionPolicy, corev1.PreemptLowerPriority))
	if pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy != policy {
		return forbidden("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s "+
			"from the given PriorityClass name", *pod.Spec.PreemptionPolicy, policy)
	}
	pod.Spec.PriorityClassName, pod.Spec.Priority, pod.Spec.PreemptionPolicy = class.Name, &class.Value, &policy
	return nil
}

// priorityClass finds the class of that name; for the empty name the default, or none with the value 0.
func priorityClass(w *Write, name string) (*schedulingv1.PriorityClass, error) {
	for _, class := range schedulinghelper.SystemPriorityClasses() {
		if name != "" && class.Name == name {
			return class, nil
		}
	}
	if w.PriorityClass != nil {
		if class := w.PriorityClass(name); class != nil {
			return class, nil
		}
	}
	if name == "" {
		return &schedulingv1.PriorityClass{Value: scheduling.DefaultPriorityWhenNoDefaultClassExists}, nil
	}
	return nil, fmt.Errorf("no PriorityClass with name %v was found", name)
}

// completePod gives a pod on which nobody has reported yet the status with which pods begin.
func completePod(obj runtime.Object) {
	pod := obj.(*corev1.Pod)
	if pod.Status.Phase == "" {
		pod.Status.Phase = corev1.PodPending
	}
	if pod.Status.QOSClass == "" {
		pod.Status.QOSClass = qos.ComputePodQOS(pod)
	}
	gated := func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled }
	if len(pod.Spec.SchedulingGates) > 0 && !slices.ContainsFunc(pod.Status.Conditions, gated) {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
			Reason: corev1.PodReasonSchedulingGated, Message: "Scheduling is blocked due to non-empty scheduling gates"})
	}
}

// Unassign clears, in place, the node that the scheduler chose, so that an object read whole can be written as desired again. obj is in the
// storage version.
func (k *Kind) Unassign(obj runtime.Object) {
	if pod, ok := obj.(*corev1.Pod); ok {
		pod.Spec.NodeName = ""
	}
}

// admitNamespace labels a namespace with its name, as the API promises.
func admitNamespace(_ *Write, obj runtime.Object) error {
	ns := obj.(*core.Namespace)
	if ns.Labels == nil {
		ns.Labels = map[string]string{}
	}
	if ns.Name != "" {
		ns.Labels[corev1.LabelMetadataName] = ns.Name
	}
	return nil
}

// completeNamespace derives a namespace's phase: it follows from whether it is being deleted.
func completeNamespace(obj runtime.Object) {
	ns := obj.(*corev1.Namespace)
	ns.Status.Phase = corev1.NamespaceActive
	if ns.DeletionTimestamp != nil {
		ns.Status.Phase = corev1.NamespaceTerminating
	}
}

func namespaceHeld(obj runtime.Object) bool { return len(obj.(*corev1.Namespace).Spec.Finalizers) > 0 }

// completeVolume gives a volume that nobody has looked at yet its first phase.
func completeVolume(obj runtime.Object) {
	volume := obj.(*corev1.PersistentVolume)
	if volume.Status.Phase == "" {
		volume.Status.Phase, volume.Status.LastPhaseTransitionTime = corev1.VolumePending, volume.CreationTimestamp.DeepCopy()
	}
}

func completeClaim(obj runtime.Object) {
	claim := obj.(*corev1.PersistentVolumeClaim)
	if claim.Status.Phase == "" {
		claim.Status.Phase = corev1.ClaimPending
	}
}
