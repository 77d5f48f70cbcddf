package ipvs

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"github.com/cloudflare/ipvs"
	"github.com/cloudflare/ipvs/netmask"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/proxy"
)

var numbers = map[corev1.Protocol]ipvs.Protocol{
	corev1.ProtocolTCP: ipvs.TCP, corev1.ProtocolUDP: ipvs.UDP, corev1.ProtocolSCTP: ipvs.SCTP,
}

// message names a service to the kernel, with its settings.
func message(key proxy.Key, s service) ipvs.Service {
	f := familyOf(key.Addr.Addr())
	return ipvs.Service{
		Address: key.Addr.Addr(), Port: key.Addr.Port(), Protocol: numbers[key.Protocol], Family: f.number,
		Netmask:   netmask.MaskFrom(f.bits, f.bits), // each client address sticks for itself
		Scheduler: s.scheduler, Flags: s.flags, Timeout: s.stickFor,
	}
}

func destination(endpoint netip.AddrPort, weight uint32) ipvs.Destination {
	return ipvs.Destination{
		Address: endpoint.Addr(), Port: endpoint.Port(), Family: familyOf(endpoint.Addr()).number, FwdMethod: ipvs.Masquerade, Weight: weight,
	}
}

// send carries out an operation.
func (b *Backend) send(op operation) error {
	s := message(op.key, op.service)
	switch op.do {
	case addService:
		return b.client.CreateService(s)
	case changeService:
		return b.client.UpdateService(s)
	case removeService:
		return b.client.RemoveService(s)
	case addEndpoint:
		return b.client.CreateDestination(s, destination(op.endpoint, op.weight))
	case weighEndpoint:
		return b.client.UpdateDestination(s, destination(op.endpoint, op.weight))
	case removeEndpoint:
		return b.client.RemoveDestination(s, destination(op.endpoint, op.weight))
	default:
		return fmt.Errorf("unknown operation %q", op.do)
	}
}

// missing says whether an error means that there is no such service or endpoint.
func missing(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// parseService reads a service of the kernel and says whether it can be one of ours.
func parseService(found ipvs.Service) (proxy.Key, service, bool) {
	if found.FWMark != 0 || !found.Address.IsValid() {
		return proxy.Key{}, service{}, false
	}
	for protocol, number := range numbers {
		if number == found.Protocol {
			s := service{scheduler: found.Scheduler, flags: found.Flags &^ ipvs.ServiceHashed}
			if s.flags&ipvs.ServicePersistent != 0 {
				s.stickFor = found.Timeout
			}
			return proxy.Key{Addr: netip.AddrPortFrom(found.Address, found.Port), Protocol: protocol}, s, true
		}
	}
	return proxy.Key{}, service{}, false
}

// strange is the weight of an endpoint that somebody set up in a way that isn't ours: any weight differs.
const strange = 1 << 31

// endpoints gives the weights of a service's endpoints, and those of weight 0 without a connection.
func (b *Backend) endpoints(key proxy.Key) (weights map[netip.AddrPort]uint32, idle map[netip.AddrPort]bool, err error) {
	found, err := b.client.Destinations(message(key, service{}))
	if err != nil && !missing(err) {
		return nil, nil, fmt.Errorf("listing the endpoints of IPVS service %s: %w", key, err)
	}
	weights, idle = map[netip.AddrPort]uint32{}, map[netip.AddrPort]bool{}
	for _, d := range found {
		endpoint := netip.AddrPortFrom(d.Address, d.Port)
		weights[endpoint] = d.Weight
		if d.FwdMethod != ipvs.Masquerade {
			weights[endpoint] = strange
		}
		if d.Weight == 0 && d.ActiveConnections == 0 && d.InactiveConnections == 0 {
			idle[endpoint] = true
		}
	}
	return weights, idle, nil
}
