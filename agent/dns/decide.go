package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// port is a port of a service or an endpoint. Name may be empty; protocol is tcp, udp or sctp.
type port struct {
	name, protocol string
	number         uint16
}

// endpoint is one address behind a name. The host is its label below the service, empty for a cluster IP; named says that the
// pod asked for the host, so that the address is called so in turn.
type endpoint struct {
	host  string
	named bool
	addr  netip.Addr
	ports []port
}

// entry is all that is answered about one service. It is never changed.
type entry struct {
	// external is what an ExternalName service is another name for, fully qualified and in lower case.
	external string
	// front are the cluster IPs, or the endpoints of a headless service.
	front []endpoint
	// addrs are the addresses of front, sorted and unique.
	addrs []netip.Addr
	// endpoints are sorted by host and address.
	endpoints []endpoint
}

func (e *entry) equal(other *entry) bool {
	same := func(a, b endpoint) bool {
		return a.host == b.host && a.named == b.named && a.addr == b.addr && slices.Equal(a.ports, b.ports)
	}
	return e.external == other.external && slices.EqualFunc(e.front, other.front, same) && slices.EqualFunc(e.endpoints, other.endpoints, same)
}

// decideEntry gives what is answered about a service, whatever the order of its slices; nil is nothing at all.
func decideEntry(svc *corev1.Service, eps []*discoveryv1.EndpointSlice) *entry {
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		target := strings.ToLower(strings.TrimSuffix(svc.Spec.ExternalName, "."))
		if target == "" {
			return nil
		}
		return &entry{external: target + "."}
	}
	e := &entry{endpoints: endpointsOf(svc, eps)}
	e.front = e.endpoints
	if svc.Spec.ClusterIP != corev1.ClusterIPNone {
		e.front = frontOf(svc)
	}
	for _, ep := range e.front {
		e.addrs = append(e.addrs, ep.addr)
	}
	slices.SortFunc(e.addrs, netip.Addr.Compare)
	e.addrs = slices.Compact(e.addrs)
	return e
}

// frontOf gives a service's cluster IPs; none before it has some.
func frontOf(svc *corev1.Service) []endpoint {
	var ports []port
	for _, p := range svc.Spec.Ports {
		ports = append(ports, port{strings.ToLower(p.Name), protocolOf(p.Protocol), uint16(p.Port)})
	}
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	var front []endpoint
	for _, ip := range ips {
		if addr, err := netip.ParseAddr(ip); err == nil {
			front = append(front, endpoint{addr: addr.Unmap(), ports: ports})
		}
	}
	return front
}

// endpointsOf gives the endpoints that may be answered: the ready ones, or all when the service says so.
func endpointsOf(svc *corev1.Service, eps []*discoveryv1.EndpointSlice) []endpoint {
	var all []endpoint
	for _, slice := range eps {
		if slice.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		ports := portsOf(slice)
		for i := range slice.Endpoints {
			ep := &slice.Endpoints[i]
			ready := ep.Conditions.Ready == nil || *ep.Conditions.Ready
			if !ready && !svc.Spec.PublishNotReadyAddresses {
				continue
			}
			for _, address := range ep.Addresses {
				if addr, err := netip.ParseAddr(address); err == nil {
					all = append(all, endpointOf(ep, addr.Unmap(), ports))
				}
			}
		}
	}
	slices.SortFunc(all, compareEndpoints)
	return mergePorts(all)
}

func endpointOf(ep *discoveryv1.Endpoint, addr netip.Addr, ports []port) endpoint {
	if ep.Hostname != nil && *ep.Hostname != "" {
		return endpoint{host: strings.ToLower(*ep.Hostname), named: true, addr: addr, ports: ports}
	}
	return endpoint{host: dashed(addr), addr: addr, ports: ports}
}

// dashed writes an address as a label: 10-1-2-3, fd00--1.
func dashed(addr netip.Addr) string {
	return strings.ReplaceAll(strings.ReplaceAll(addr.String(), ".", "-"), ":", "-")
}

// undashed reads such a label.
func undashed(label string) (netip.Addr, bool) {
	separator := ":"
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		separator = "."
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", separator))
	return addr, err == nil
}

func compareEndpoints(a, b endpoint) int {
	if order := cmp.Or(strings.Compare(a.host, b.host), a.addr.Compare(b.addr)); order != 0 {
		return order
	}
	if a.named != b.named {
		return map[bool]int{true: -1, false: 1}[a.named]
	}
	return slices.CompareFunc(a.ports, b.ports, comparePorts)
}

func comparePorts(a, b port) int {
	return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.protocol, b.protocol), cmp.Compare(a.number, b.number))
}

// mergePorts joins the sorted endpoints that several slices name with different ports.
func mergePorts(sorted []endpoint) []endpoint {
	out := sorted[:0]
	for _, ep := range sorted {
		last := len(out) - 1
		if last < 0 || out[last].host != ep.host || out[last].addr != ep.addr {
			out = append(out, ep)
			continue
		}
		ports := slices.Concat(out[last].ports, ep.ports)
		slices.SortFunc(ports, comparePorts)
		out[last].ports = slices.Compact(ports)
	}
	return slices.Clip(out)
}

func portsOf(slice *discoveryv1.EndpointSlice) []port {
	var ports []port
	for _, p := range slice.Ports {
		if p.Port == nil {
			continue
		}
		next := port{protocol: "tcp", number: uint16(*p.Port)}
		if p.Name != nil {
			next.name = strings.ToLower(*p.Name)
		}
		if p.Protocol != nil {
			next.protocol = protocolOf(*p.Protocol)
		}
		ports = append(ports, next)
	}
	slices.SortFunc(ports, comparePorts)
	return ports
}

func protocolOf(p corev1.Protocol) string {
	return strings.ToLower(string(cmp.Or(p, corev1.ProtocolTCP)))
}
