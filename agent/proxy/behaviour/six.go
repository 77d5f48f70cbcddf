package behaviour

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/wakehq/wake/agent/proxy"
)

// Tests say IPv4 addresses throughout. In a world of IPv6, an address stands for that with the same last four bytes.
var sixes = netip.MustParsePrefix("fd00::/96")

// at gives an address, an address with a port, or a prefix as it is in this world.
func (k kind) at(text string) string {
	if !k.six {
		return text
	}
	embed := func(v4 netip.Addr) netip.Addr {
		bytes, four := sixes.Addr().As16(), v4.As4()
		copy(bytes[12:], four[:])
		return netip.AddrFrom16(bytes)
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return netip.PrefixFrom(embed(p.Addr()), p.Bits()+sixes.Bits()).String()
	}
	if p, err := netip.ParseAddrPort(text); err == nil {
		return netip.AddrPortFrom(embed(p.Addr()), p.Port()).String()
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		return embed(addr).String()
	}
	return text
}

// plain is the address that tests say for one of the world.
func plain(addr netip.Addr) netip.Addr {
	if addr = addr.Unmap(); !sixes.Contains(addr) {
		return addr
	}
	bytes := addr.As16()
	return netip.AddrFrom4([4]byte(bytes[12:]))
}

// translate words a change for this world.
func (k kind) translate(change proxy.Change) proxy.Change {
	if !k.six {
		return change
	}
	all := func(texts []string) []string {
		var out []string
		for _, text := range texts {
			out = append(out, k.at(text))
		}
		return out
	}
	services, slices := change.Services, change.SlicesPut
	change.Services, change.SlicesPut = nil, nil
	for _, svc := range services {
		svc = svc.DeepCopy()
		svc.Spec.ClusterIP, svc.Spec.ClusterIPs = k.at(svc.Spec.ClusterIP), all(svc.Spec.ClusterIPs)
		svc.Spec.ExternalIPs, svc.Spec.LoadBalancerSourceRanges = all(svc.Spec.ExternalIPs), all(svc.Spec.LoadBalancerSourceRanges)
		svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
		for i := range svc.Status.LoadBalancer.Ingress {
			svc.Status.LoadBalancer.Ingress[i].IP = k.at(svc.Status.LoadBalancer.Ingress[i].IP)
		}
		change.Services = append(change.Services, svc)
	}
	for _, slice := range slices {
		slice = slice.DeepCopy()
		slice.AddressType = discoveryv1.AddressTypeIPv6
		for i := range slice.Endpoints {
			slice.Endpoints[i].Addresses = all(slice.Endpoints[i].Addresses)
		}
		change.SlicesPut = append(change.SlicesPut, slice)
	}
	return change
}
