package service

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// The managers that slices name, as in Kubernetes, so that its clients know them.
const (
	managedBySelector = "endpointslice-controller.k8s.io"
	managedByMirror   = "endpointslicemirroring-controller.k8s.io"
	managedEndpoints  = "endpoint-controller" // of Endpoints, under LabelManagedBy of package v1
	labelManagedBy    = "endpoints.kubernetes.io/managed-by"
)

// Decide brings the slices and the Endpoints of a Service in line with its pods.
func (e *Endpoints) Decide(in runner.Input) runner.Decision {
	owner, exists := in.State.Get(in.Key)
	legacy, _ := in.State.Get(events.Ref{Resource: "endpoints", Namespace: in.Key.Namespace, Name: in.Key.Name})
	if !exists {
		if legacy != nil && labelsOf(legacy)[labelManagedBy] == managedEndpoints {
			return runner.Decision{Each: []events.Proposal{events.Remove(legacy, EndpointsDeleted)}}
		}
		return runner.Decision{}
	}
	svc := owner.Typed().(*corev1.Service)
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return runner.Decision{}
	}
	var d runner.Decision
	var all []events.Proposal
	if len(svc.Spec.Selector) == 0 {
		all = mirror(in, svc, legacy)
	} else {
		groups := e.groups(in.State, svc)
		all = selected(in, owner, groups).proposals()
		if legacy != nil {
			all = append(all, deleteMirrored(in.State, legacy)...)
		}
		var proposals []events.Proposal
		proposals, d.Again = endpoints(in, svc, legacy, groups)
		all = append(all, proposals...)
	}
	for chunk := range slices.Chunk(all, events.MaxBatch) {
		d.Together = append(d.Together, chunk)
	}
	return d
}

// group is the pods of a Service for which its ports come to the same numbers.
type group struct {
	addressType discoveryv1.AddressType
	ports       []discoveryv1.EndpointPort
	endpoints   []discoveryv1.Endpoint
}

// signature tells groups apart.
func signature(addressType discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	var b strings.Builder
	b.WriteString(string(addressType))
	for _, p := range ports {
		fmt.Fprintf(&b, "|%s,%s,%d,%s", deref(p.Name), deref(p.Protocol), deref(p.Port), deref(p.AppProtocol))
	}
	return b.String()
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// groups gives the pods that a Service selects, grouped, in the order of their names.
func (e *Endpoints) groups(state *events.State, svc *corev1.Service) []*group {
	found := map[string]*group{}
	zones := map[string]*string{}
	for _, name := range e.selection.candidates(svc.Namespace, svc.Spec.Selector) {
		o, ok := state.Get(events.Ref{Resource: "pods", Namespace: svc.Namespace, Name: name})
		if !ok {
			continue
		}
		pod := o.Typed().(*corev1.Pod)
		if !matches(svc.Spec.Selector, pod.Labels) || isFinished(pod) || pod.Status.PodIP == "" {
			continue
		}
		endpoint := endpointOf(svc, pod)
		if pod.Spec.NodeName != "" {
			endpoint.Zone = zoneOf(state, pod.Spec.NodeName, zones)
		}
		ports := portsOf(svc, pod)
		addressType := addressTypeOf(pod.Status.PodIP)
		key := signature(addressType, ports)
		g := found[key]
		if g == nil {
			g = &group{addressType: addressType, ports: ports}
			found[key] = g
		}
		g.endpoints = append(g.endpoints, endpoint)
	}
	var out []*group
	for _, key := range slices.Sorted(maps.Keys(found)) {
		out = append(out, found[key])
	}
	return out
}

func addressTypeOf(address string) discoveryv1.AddressType {
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() {
		return discoveryv1.AddressTypeIPv6
	}
	return discoveryv1.AddressTypeIPv4
}

func zoneOf(state *events.State, node string, known map[string]*string) *string {
	zone, ok := known[node]
	if !ok {
		if o, exists := state.Get(events.Ref{Resource: "nodes", Name: node}); exists {
			if name := labelsOf(o)[corev1.LabelTopologyZone]; name != "" {
				zone = &name
			}
		}
		known[node] = zone
	}
	return zone
}

func endpointOf(svc *corev1.Service, pod *corev1.Pod) discoveryv1.Endpoint {
	serving, terminating := isReady(pod), pod.DeletionTimestamp != nil
	ready := svc.Spec.PublishNotReadyAddresses || serving && !terminating
	endpoint := discoveryv1.Endpoint{
		Addresses:  []string{pod.Status.PodIP},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if pod.Spec.NodeName != "" {
		endpoint.NodeName = &pod.Spec.NodeName
	}
	if pod.Spec.Hostname != "" && pod.Spec.Subdomain == svc.Name {
		endpoint.Hostname = &pod.Spec.Hostname
	}
	return endpoint
}

// portsOf gives the ports of a Service as they are in one pod. A named port that the pod hasn't got is left out.
func portsOf(svc *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	var ports []discoveryv1.EndpointPort
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if number, ok := targetPort(p, pod); ok {
			ports = append(ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &number, AppProtocol: p.AppProtocol})
		}
	}
	return ports
}

func targetPort(p *corev1.ServicePort, pod *corev1.Pod) (int32, bool) {
	if p.TargetPort.Type == intstr.Int {
		if p.TargetPort.IntVal == 0 {
			return p.Port, true
		}
		return p.TargetPort.IntVal, true
	}
	named := func(containers []corev1.Container, sidecarsOnly bool) (int32, bool) {
		for i := range containers {
			sidecar := deref(containers[i].RestartPolicy) == corev1.ContainerRestartPolicyAlways
			for _, port := range containers[i].Ports {
				if port.Name == p.TargetPort.StrVal && port.Protocol == p.Protocol && (sidecar || !sidecarsOnly) {
					return port.ContainerPort, true
				}
			}
		}
		return 0, false
	}
	if number, ok := named(pod.Spec.Containers, false); ok {
		return number, true
	}
	return named(pod.Spec.InitContainers, true)
}

// mirror makes slices of Endpoints that somebody else keeps for a Service without a selector.
func mirror(in runner.Input, svc *corev1.Service, legacy *events.Object) []events.Proposal {
	if legacy == nil {
		return nil
	}
	manual := legacy.Typed().(*corev1.Endpoints)
	if manual.Labels[labelManagedBy] == managedEndpoints || manual.Labels[discoveryv1.LabelSkipMirror] == "true" {
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
		mirrorAddresses(found, ports, subset.Addresses, true)
		mirrorAddresses(found, ports, subset.NotReadyAddresses, false)
	}
	p := &packing{in: in, service: svc.Name, owner: legacy, managedBy: managedByMirror, labels: manual.Labels,
		ownerRef: controllerRef("Endpoints", manual)}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		p.groups = append(p.groups, found[key])
	}
	return p.proposals()
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

func controllerRef(kind string, owner metav1.Object) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: "v1", Kind: kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: &yes, BlockOwnerDeletion: &yes}
}
