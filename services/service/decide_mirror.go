package service

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// leaderAnnotation marks Endpoints that serve as a lock.
const leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"

// mirror makes slices of Endpoints that somebody else keeps for a Service without a selector.
func mirror(in runner.Input, svc *corev1.Service, legacy *events.Object) []events.Proposal {
	if legacy == nil {
		return nil
	}
	manual := legacy.Typed().(*corev1.Endpoints)
	if !isMirrored(manual) {
		return deleteMirrored(in.State, legacy)
	}
	found := map[string]*group{}
	for i := range manual.Subsets {
		subset := &manual.Subsets[i]
		var ports []discoveryv1.EndpointPort
		for j := range subset.Ports {
			p := &subset.Ports[j]
			ports = append(ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &p.Port, AppProtocol: p.AppProtocol})
		}
		ready := subset.Addresses[:min(len(subset.Addresses), maxEndpoints)]
		mirrorAddresses(found, ports, ready, true)
		mirrorAddresses(found, ports, subset.NotReadyAddresses[:min(len(subset.NotReadyAddresses), maxEndpoints-len(ready))], false)
	}
	p := &packing{in: in, service: svc.Name, owner: legacy, managedBy: managedByMirror, labels: manual.Labels, annotations: mirroredAnnotations(manual),
		ownerRef: controllerRef("Endpoints", manual)}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		p.groups = append(p.groups, found[key])
	}
	return p.proposals()
}

// isMirrored says whether slices are to be made of Endpoints: not of this decider's own, not where somebody asked not to, and not of those that are a
// lock of a leader election.
func isMirrored(e *corev1.Endpoints) bool {
	_, lock := e.Annotations[leaderAnnotation]
	return e.Labels[labelManagedBy] != managedEndpoints && e.Labels[discoveryv1.LabelSkipMirror] != "true" && !lock
}

// mirroredAnnotations are those that slices take over from Endpoints, as in Kubernetes.
func mirroredAnnotations(e *corev1.Endpoints) map[string]string {
	annotations := maps.Clone(e.Annotations)
	delete(annotations, corev1.EndpointsLastChangeTriggerTime)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	return annotations
}

func mirrorAddresses(found map[string]*group, ports []discoveryv1.EndpointPort, addresses []corev1.EndpointAddress, ready bool) {
	for i := range addresses {
		a := &addresses[i]
		addressType := addressTypeOf(a.IP)
		key := signature(addressType, ports)
		if found[key] == nil {
			found[key] = &group{addressType: addressType, ports: ports}
		}
		endpoint := discoveryv1.Endpoint{Addresses: []string{a.IP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef: a.TargetRef, NodeName: a.NodeName}
		if a.Hostname != "" {
			endpoint.Hostname = &a.Hostname
		}
		found[key].endpoints = append(found[key].endpoints, endpoint)
	}
}

// deleteMirrored ends the slices of Endpoints that are not to be mirrored any more.
func deleteMirrored(state *events.State, legacy *events.Object) []events.Proposal {
	var out []events.Proposal
	for o := range state.Indexed(events.ByOwner, legacy.UID()) {
		if labelsOf(o)[discoveryv1.LabelManagedBy] == managedByMirror {
			out = append(out, events.Remove(o, SliceDeleted))
		}
	}
	return out
}
