package ingress

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// backendKey names what a route leads to: a port of a Service, by number or by name, and how it is spoken to if an annotation says so.
type backendKey struct {
	service  types.NamespacedName
	number   int32
	name     string
	protocol protocol
}

// protocol is what a backend speaks.
type protocol string

const (
	plain     protocol = "http"
	encrypted protocol = "https"
	h2c       protocol = "h2c"
)

// protocolOf reads a Service's appProtocol, or an annotation; empty if it says nothing.
func protocolOf(text string) protocol {
	switch strings.ToLower(text) {
	case "http", "kubernetes.io/ws":
		return plain
	case "https", "kubernetes.io/wss":
		return encrypted
	case "grpc", "h2c", "kubernetes.io/h2c":
		return h2c
	}
	return ""
}

// endpoints is where a backend is now.
type endpoints struct {
	addresses []string // host:port, in order
	protocol  protocol
	why       string // there are none
}

// backend is a port of a Service. It stays the same while its endpoints change.
type backend struct {
	now  atomic.Pointer[endpoints]
	turn atomic.Uint64
}

func (b *backend) set(e *endpoints) { b.now.Store(e) }

// resolve finds a backend's endpoints.
func (f *fold) resolve(key backendKey) *endpoints {
	svc := f.catalog.Service(key.service)
	if svc == nil {
		return &endpoints{why: fmt.Sprintf("there is no service %s", key.service)}
	}
	at := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool {
		if key.name != "" {
			return p.Name == key.name
		}
		return p.Port == key.number && (p.Protocol == corev1.ProtocolTCP || p.Protocol == "")
	})
	if at < 0 {
		return &endpoints{why: fmt.Sprintf("service %s has no TCP port %s", key.service, key.port())}
	}
	port := &svc.Spec.Ports[at]
	e := &endpoints{protocol: key.protocol}
	if e.protocol == "" && port.AppProtocol != nil {
		e.protocol = protocolOf(*port.AppProtocol)
	}
	if e.protocol == "" {
		e.protocol = plain
	}
	slicesOf := f.catalog.Slices(key.service)
	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		if e.addresses = addressesOf(slicesOf, family, port.Name); len(e.addresses) > 0 {
			return e
		}
	}
	e.why = fmt.Sprintf("service %s has no endpoint that is ready", key.service)
	return e
}

func (k backendKey) port() string {
	if k.name != "" {
		return k.name
	}
	return strconv.Itoa(int(k.number))
}

// addressesOf gives the endpoints of a family that are ready; if none is, those that end and still serve.
func addressesOf(all []*discoveryv1.EndpointSlice, family discoveryv1.AddressType, portName string) []string {
	var ready, ending []string
	for _, slice := range all {
		number := int32(0)
		for _, p := range slice.Ports {
			if p.Port != nil && (p.Name == nil && portName == "" || p.Name != nil && *p.Name == portName) {
				number = *p.Port
			}
		}
		if slice.AddressType != family || number == 0 {
			continue
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if len(e.Addresses) == 0 {
				continue
			}
			address := net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(number)))
			switch c := e.Conditions; {
			case c.Ready == nil || *c.Ready:
				ready = append(ready, address)
			case c.Serving != nil && *c.Serving && c.Terminating != nil && *c.Terminating:
				ending = append(ending, address)
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	slices.Sort(ready)
	return slices.Compact(ready)
}

// choose gives the endpoint that a request is sent to, after those that it has tried: they take turns, and those that lately refused come last. Empty: there
// is no other.
func (b *backend) choose(e *endpoints, tried []string, refusing func(address string) bool) (chosen string) {
	if len(e.addresses) == 0 {
		return ""
	}
	first := int(b.turn.Add(1) % uint64(len(e.addresses)))
	for i := range e.addresses {
		address := e.addresses[(first+i)%len(e.addresses)]
		switch {
		case slices.Contains(tried, address):
		case !refusing(address):
			return address
		case chosen == "":
			chosen = address
		}
	}
	return chosen
}
