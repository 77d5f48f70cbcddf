package proxy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// proxyNameLabel marks services that some other proxy handles (KEP-2447).
const proxyNameLabel = "service.kubernetes.io/service-proxy-name"

// rank orders what a claim on a key rests on; the lowest wins. Cluster IPs come first, so that nobody takes
// over a service by naming its cluster IP as an external IP.
type rank uint8

const (
	byClusterIP rank = iota
	byExternalIP
	byNodePort
)

// claim is a virtual server that a service asks for. Several services may ask for one key.
type claim struct {
	server  VirtualServer
	rank    rank
	created time.Time
}

// compareClaims orders the claims on one key, the winner first.
func compareClaims(a, b claim) int {
	return cmp.Or(
		cmp.Compare(a.rank, b.rank),
		a.created.Compare(b.created),
		strings.Compare(a.server.Service.Namespace, b.server.Service.Namespace),
		strings.Compare(a.server.Service.Name, b.server.Service.Name),
		strings.Compare(a.server.Port, b.server.Port),
	)
}

// endpoint is one address of an EndpointSlice, as far as choosing needs it.
type endpoint struct {
	addr               netip.AddrPort
	ready, terminating bool // terminating: still serving, but on its way out
	local              bool
	hints              *discoveryv1.EndpointHints
}

// decideClaims gives the virtual servers that a service asks for on a node, at most one per key.
func decideClaims(node Node, svc *corev1.Service, eps []*discoveryv1.EndpointSlice) []claim {
	if _, foreign := svc.Labels[proxyNameLabel]; foreign || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	clusterIPs := parseAddrs(cmp.Or(strings.Join(svc.Spec.ClusterIPs, ","), svc.Spec.ClusterIP))
	if len(clusterIPs) == 0 { // headless, or not allocated yet
		return nil
	}
	var claims []claim
	seen := map[Key]bool{}
	for i := range svc.Spec.Ports {
		port := &svc.Spec.Ports[i]
		add := func(by rank, addr netip.Addr, number int32, guard bool) {
			c := decideClaim(node, svc, port, eps, by, netip.AddrPortFrom(addr, uint16(number)))
			if guard {
				c.server.Guarded, c.server.Sources = decideSources(svc, addr)
			}
			if !seen[c.server.Key] {
				seen[c.server.Key] = true
				claims = append(claims, c)
			}
		}
		for _, addr := range clusterIPs {
			add(byClusterIP, addr, port.Port, false)
		}
		for _, addr := range parseAddrs(strings.Join(svc.Spec.ExternalIPs, ",")) {
			add(byExternalIP, addr, port.Port, false)
		}
		for _, addr := range balancerAddrs(svc) {
			add(byExternalIP, addr, port.Port, true)
		}
		if port.NodePort != 0 {
			for _, addr := range node.Addrs {
				if servesFamily(clusterIPs, addr) {
					add(byNodePort, addr, port.NodePort, false)
				}
			}
		}
	}
	return claims
}

// balancerAddrs are the addresses of a load balancer that packets still have when they come here.
func balancerAddrs(svc *corev1.Service) []netip.Addr {
	var addrs []netip.Addr
	for _, ingress := range svc.Status.LoadBalancer.Ingress {
		if ingress.IPMode == nil || *ingress.IPMode == corev1.LoadBalancerIPModeVIP {
			addrs = append(addrs, parseAddrs(ingress.IP)...)
		}
	}
	return addrs
}

// decideSources says whether only some clients may use a load balancer's address, and which. What is said for one address family leaves nobody of the other.
func decideSources(svc *corev1.Service, addr netip.Addr) (guarded bool, sources []netip.Prefix) {
	if len(svc.Spec.LoadBalancerSourceRanges) == 0 {
		return false, nil
	}
	for _, text := range svc.Spec.LoadBalancerSourceRanges {
		if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil && p.Addr().Is4() == addr.Is4() {
			sources = append(sources, p.Masked())
		}
	}
	slices.SortFunc(sources, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	apart := sources[:0]
	for _, p := range sources {
		if last := len(apart) - 1; last < 0 || !apart[last].Overlaps(p) { // the wider comes first
			apart = append(apart, p)
		}
	}
	if len(apart) == 1 && apart[0].Bits() == 0 {
		return false, nil
	}
	return true, apart
}

// servesFamily says whether one of the cluster IPs has the family of addr.
func servesFamily(clusterIPs []netip.Addr, addr netip.Addr) bool {
	return slices.ContainsFunc(clusterIPs, func(ip netip.Addr) bool { return ip.Is4() == addr.Is4() })
}

// parseAddrs reads comma-separated addresses and leaves out what is none, such as the None of headless services.
func parseAddrs(list string) []netip.Addr {
	var addrs []netip.Addr
	for text := range strings.SplitSeq(list, ",") {
		if addr, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}

// decideClaim gives the virtual server of one port of a service at one address.
func decideClaim(node Node, svc *corev1.Service, port *corev1.ServicePort, eps []*discoveryv1.EndpointSlice, by rank,
	addr netip.AddrPort,
) claim {
	external := by != byClusterIP
	local := external && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal ||
		!external && svc.Spec.InternalTrafficPolicy != nil &&
			*svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	protocol := cmp.Or(port.Protocol, corev1.ProtocolTCP)
	all := matchEndpoints(node, port.Name, protocol, addr.Addr().Is4(), eps)
	server := VirtualServer{
		Key:            Key{Addr: addr, Protocol: protocol},
		Service:        types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name},
		Port:           port.Name,
		Endpoints:      decideEndpoints(node, all, local),
		Affinity:       affinity(svc),
		PreserveSource: external && local,
	}
	if local && len(server.Endpoints) == 0 && len(decideEndpoints(node, all, false)) > 0 {
		server.Unserved = Drop
	}
	return claim{server: server, rank: by, created: svc.CreationTimestamp.Time}
}

// affinity is how long a service keeps a client with its endpoint.
func affinity(svc *corev1.Service) time.Duration {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := corev1.DefaultClientIPServiceAffinitySeconds
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		seconds = *c.ClientIP.TimeoutSeconds
	}
	return time.Duration(seconds) * time.Second
}

// matchEndpoints collects the endpoints behind a named port, as far as they can serve at all.
func matchEndpoints(node Node, name string, protocol corev1.Protocol, v4 bool, eps []*discoveryv1.EndpointSlice) []endpoint {
	family := discoveryv1.AddressTypeIPv6
	if v4 {
		family = discoveryv1.AddressTypeIPv4
	}
	var found []endpoint
	for _, slice := range eps {
		if slice.AddressType != family {
			continue
		}
		for _, port := range slice.Ports {
			if port.Port == nil || value(port.Name, "") != name || value(port.Protocol, corev1.ProtocolTCP) != protocol {
				continue
			}
			for i := range slice.Endpoints {
				if ep, ok := readEndpoint(node, &slice.Endpoints[i], uint16(*port.Port)); ok {
					found = append(found, ep)
				}
			}
		}
	}
	return found
}

// readEndpoint reads an endpoint and says whether it may be used in some case. Its first address counts, the
// others are the same pod (KEP-752). Unset conditions mean ready and not terminating.
func readEndpoint(node Node, ep *discoveryv1.Endpoint, port uint16) (endpoint, bool) {
	if len(ep.Addresses) == 0 {
		return endpoint{}, false
	}
	addr, err := netip.ParseAddr(ep.Addresses[0])
	if err != nil {
		return endpoint{}, false
	}
	ready := value(ep.Conditions.Ready, true)
	e := endpoint{
		addr:        netip.AddrPortFrom(addr.Unmap(), port),
		ready:       ready,
		terminating: value(ep.Conditions.Serving, ready) && value(ep.Conditions.Terminating, false),
		local:       value(ep.NodeName, "") == node.Name,
		hints:       ep.Hints,
	}
	return e, e.ready || e.terminating
}

// decideEndpoints chooses who gets new connections: the ready endpoints, else those that still serve while they
// terminate (KEP-1669); only this node's where the policy is Local, and otherwise those that are meant for this node or its zone, if there are any.
func decideEndpoints(node Node, all []endpoint, local bool) []netip.AddrPort {
	meant := func(endpoint) bool { return true }
	if !local {
		meant = decideHints(node, all)
	}
	var ready, terminating []netip.AddrPort
	for _, ep := range all {
		switch {
		case local && !ep.local:
		case ep.ready && meant(ep):
			ready = append(ready, ep.addr)
		case ep.terminating:
			terminating = append(terminating, ep.addr)
		}
	}
	chosen := ready
	if len(ready) == 0 {
		chosen = terminating
	}
	slices.SortFunc(chosen, netip.AddrPort.Compare)
	return slices.Compact(chosen)
}

// decideHints says which of the ready endpoints this node is to use: those with a hint for it, or else for its zone. As with kube-proxy, hints count when
// every ready endpoint has one of that sort and one of them is meant.
func decideHints(node Node, all []endpoint) func(endpoint) bool {
	forNode := func(ep endpoint) bool {
		return slices.ContainsFunc(ep.hints.ForNodes, func(n discoveryv1.ForNode) bool { return n.Name == node.Name })
	}
	forZone := func(ep endpoint) bool {
		return slices.ContainsFunc(ep.hints.ForZones, func(z discoveryv1.ForZone) bool { return z.Name == node.Zone })
	}
	nodes, zones, anyNode, anyZone := true, node.Zone != "", false, false
	for _, ep := range all {
		if !ep.ready {
			continue
		}
		hints := value(ep.hints, discoveryv1.EndpointHints{})
		nodes, zones = nodes && len(hints.ForNodes) > 0, zones && len(hints.ForZones) > 0
		anyNode, anyZone = anyNode || nodes && forNode(ep), anyZone || zones && forZone(ep)
	}
	switch {
	case nodes && anyNode:
		return forNode
	case zones && anyZone:
		return forZone
	}
	return func(endpoint) bool { return true }
}

// value is what p points at, or other for nil.
func value[T any](p *T, other T) T {
	if p == nil {
		return other
	}
	return *p
}
