package restore

import (
	"fmt"
	"maps"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/wakehq/wake/events"
)

// claims are the addresses and node ports that services have, and which service has them.
type claims struct {
	addresses map[string]string
	ports     map[int32]string
}

// takenBy returns what the services of a state have.
func takenBy(state *events.State) claims {
	c := claims{addresses: map[string]string{}, ports: map[int32]string{}}
	for o := range state.All(events.GroupResource{Resource: "services"}, "") {
		service, ok := o.Typed().(*corev1.Service)
		if !ok {
			continue
		}
		name := service.Namespace + "/" + service.Name
		for _, address := range service.Spec.ClusterIPs {
			c.addresses[address] = name
		}
		for _, port := range service.Spec.Ports {
			c.ports[port.NodePort] = name
		}
	}
	return c
}

// yield takes from a service the addresses and node ports that another one has by now, so that it is given new ones, and tells of it.
func (c claims) yield(service *corev1.Service) (reasons []string) {
	spec, self := &service.Spec, service.Namespace+"/"+service.Name
	for _, address := range spec.ClusterIPs {
		if holder, taken := c.addresses[address]; taken && holder != self && address != corev1.ClusterIPNone {
			reasons = append(reasons, fmt.Sprintf("with a new cluster IP: service %s has %s", holder, address))
			spec.ClusterIP, spec.ClusterIPs = "", nil
			break
		}
	}
	for i := range spec.Ports {
		if holder, taken := c.ports[spec.Ports[i].NodePort]; taken && holder != self && spec.Ports[i].NodePort != 0 {
			reasons = append(reasons, fmt.Sprintf("with a new node port: service %s has %d", holder, spec.Ports[i].NodePort))
			spec.Ports[i].NodePort = 0
		}
	}
	spec.HealthCheckNodePort = 0
	return reasons
}

// forget takes from a new object what was given to the old one because of its UID.
func forget(target runtime.Object) {
	if job, ok := target.(*batchv1.Job); ok && !ptr.Deref(job.Spec.ManualSelector, false) {
		job.Spec.Selector = nil
		for _, labels := range []map[string]string{job.Labels, job.Spec.Template.Labels} {
			maps.DeleteFunc(labels, func(key, _ string) bool {
				return slices.Contains([]string{"controller-uid", batchv1.ControllerUidLabel, "job-name", batchv1.JobNameLabel}, key)
			})
		}
	}
}

// inherit gives an object that is there what it has by itself and can't give up, and tells of what it won't get back.
func (p *planner) inherit(target, now runtime.Object) (reasons []string) {
	switch then := target.(type) {
	case *corev1.Service:
		has := now.(*corev1.Service)
		reasons = p.taken.yield(then)
		if has.Spec.ClusterIP != "" && then.Spec.ClusterIP != corev1.ClusterIPNone && has.Spec.ClusterIP != corev1.ClusterIPNone {
			then.Spec.ClusterIP, then.Spec.ClusterIPs = has.Spec.ClusterIP, slices.Clone(has.Spec.ClusterIPs)
		}
		then.Spec.HealthCheckNodePort = has.Spec.HealthCheckNodePort
	case *corev1.Pod:
		then.Spec.NodeName = now.(*corev1.Pod).Spec.NodeName
	case *batchv1.Job:
		has := now.(*batchv1.Job)
		if !ptr.Deref(then.Spec.ManualSelector, false) {
			then.Labels, then.Spec.Template.Labels = maps.Clone(then.Labels), maps.Clone(then.Spec.Template.Labels)
			forget(then)
			then.Spec.Selector = has.Spec.Selector.DeepCopy()
			inheritLabels(then.Spec.Template.Labels, has.Spec.Template.Labels)
			inheritLabels(then.Labels, has.Labels)
		}
	}
	return reasons
}

func inheritLabels(into, from map[string]string) {
	for _, key := range []string{"controller-uid", batchv1.ControllerUidLabel, "job-name", batchv1.JobNameLabel} {
		if value, ok := from[key]; ok && into != nil {
			into[key] = value
		}
	}
}
