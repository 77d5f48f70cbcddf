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
		return runner.Decision{Each: retire(in.State, owner, legacy)}
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

// retire ends what was kept for a Service before it became a name of something outside.
func retire(state *events.State, owner, legacy *events.Object) []events.Proposal {
	var out []events.Proposal
	for o := range state.Indexed(events.ByOwner, owner.UID()) {
		if labelsOf(o)[discoveryv1.LabelManagedBy] == managedBySelector {
			out = append(out, events.Remove(o, SliceDeleted))
		}
	}
	if legacy != nil && labelsOf(legacy)[labelManagedBy] == managedEndpoints {
		out = append(out, events.Remove(legacy, EndpointsDeleted))
	}
	return out
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

// groups gives the pods that a Service selects, grouped, in the order of their names. A pod is in a group of each family that the Service and it have. Pods
// whose node isn't there any more are left out, unless the Service wants all there are.
func (e *Endpoints) groups(state *events.State, svc *corev1.Service) []*group {
	found := map[string]*group{}
	known := map[string]host{}
	families := addressTypesOf(svc)
	for _, name := range e.selection.candidates(svc.Namespace, svc.Spec.Selector) {
		o, ok := state.Get(events.Ref{Resource: "pods", Namespace: svc.Namespace, Name: name})
		if !ok {
			continue
		}
		pod := o.Typed().(*corev1.Pod)
		if !matches(svc.Spec.Selector, pod.Labels) || isFinished(pod) {
			continue
		}
		at := hostOf(state, pod.Spec.NodeName, known)
		if at.missing && !svc.Spec.PublishNotReadyAddresses {
			continue
		}
		for _, addressType := range families {
			address := addressOf(pod, addressType)
			if address == "" {
				continue
			}
			ports := portsOf(svc, pod)
			key := signature(addressType, ports)
			if found[key] == nil {
				found[key] = &group{addressType: addressType, ports: ports}
			}
			found[key].endpoints = append(found[key].endpoints, endpointOf(svc, pod, address, at))
		}
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

// addressTypesOf are the families of a Service's endpoints, the first one first.
func addressTypesOf(svc *corev1.Service) []discoveryv1.AddressType {
	var types []discoveryv1.AddressType
	for _, family := range svc.Spec.IPFamilies {
		types = append(types, discoveryv1.AddressType(family)) // both are called IPv4 and IPv6
	}
	if len(types) == 0 {
		types = append(types, addressTypeOf(svc.Spec.ClusterIP))
	}
	return types
}

// addressOf is a pod's address of a family; empty if it has none.
func addressOf(pod *corev1.Pod, addressType discoveryv1.AddressType) string {
	for _, ip := range pod.Status.PodIPs {
		if ip.IP != "" && addressTypeOf(ip.IP) == addressType {
			return ip.IP
		}
	}
	if pod.Status.PodIP != "" && addressTypeOf(pod.Status.PodIP) == addressType {
		return pod.Status.PodIP
	}
	return ""
}

// host is what matters of a node to the endpoints on it.
type host struct {
	zone          *string
	missing, lost bool
}

func hostOf(state *events.State, node string, known map[string]host) host {
	if node == "" {
		return host{}
	}
	h, ok := known[node]
	if !ok {
		o, exists := state.Get(events.Ref{Resource: "nodes", Name: node})
		h.missing = !exists
		if exists {
			h.lost = isLost(o)
			if name := labelsOf(o)[corev1.LabelTopologyZone]; name != "" {
				h.zone = &name
			}
		}
		known[node] = h
	}
	return h
}

func endpointOf(svc *corev1.Service, pod *corev1.Pod, address string, at host) discoveryv1.Endpoint {
	serving, terminating := isReady(pod) && !at.lost, pod.DeletionTimestamp != nil
	ready := svc.Spec.PublishNotReadyAddresses || serving && !terminating
	endpoint := discoveryv1.Endpoint{
		Addresses:  []string{address},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Zone:       at.zone,
	}
	if pod.Spec.NodeName != "" {
		endpoint.NodeName = &pod.Spec.NodeName
	}
	if pod.Spec.Hostname != "" && pod.Spec.Subdomain == svc.Name {
		endpoint.Hostname = &pod.Spec.Hostname
	}
	endpoint.Hints = hintsOf(svc, &endpoint)
	return endpoint
}

// hintsOf says whom an endpoint is for, where the Service prefers close ones (KEP-4444, KEP-3015): for clients in its zone, and on its node too. Only ready
// ones are hinted at.
func hintsOf(svc *corev1.Service, endpoint *discoveryv1.Endpoint) *discoveryv1.EndpointHints {
	hints := &discoveryv1.EndpointHints{}
	switch deref(svc.Spec.TrafficDistribution) {
	case corev1.ServiceTrafficDistributionPreferSameNode:
		if endpoint.NodeName != nil {
			hints.ForNodes = []discoveryv1.ForNode{{Name: *endpoint.NodeName}}
		}
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone:
	default:
		return nil
	}
	if endpoint.Zone != nil {
		hints.ForZones = []discoveryv1.ForZone{{Name: *endpoint.Zone}}
	}
	if !*endpoint.Conditions.Ready || len(hints.ForNodes)+len(hints.ForZones) == 0 {
		return nil
	}
	return hints
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

func controllerRef(kind string, owner metav1.Object) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: "v1", Kind: kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: &yes, BlockOwnerDeletion: &yes}
}
