package ipvs

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/cloudflare/ipvs"

	"github.com/wakehq/wake/agent/proxy"
)

// fakeIPVS keeps services as strictly as the kernel does. It stands in for it where every single step is looked at; the behaviour suite asks
// the real one.
type fakeIPVS struct {
	services map[proxy.Key]ipvs.Service
	weights  map[proxy.Key]map[netip.AddrPort]ipvs.Destination
	// open are the connections that endpoints have.
	open map[string]uint32
	// sent is called with each change that succeeds, in words.
	sent func(words string)
	fail error
}

func newFakeIPVS(sent func(string)) *fakeIPVS {
	return &fakeIPVS{
		services: map[proxy.Key]ipvs.Service{}, weights: map[proxy.Key]map[netip.AddrPort]ipvs.Destination{},
		open: map[string]uint32{}, sent: sent,
	}
}

func openKey(key proxy.Key, endpoint netip.AddrPort) string {
	return key.String() + " " + endpoint.String()
}

func keyOf(s ipvs.Service) proxy.Key {
	key, _, ok := parseService(s)
	if !ok {
		panic(fmt.Sprintf("not a service of ours: %+v", s))
	}
	return key
}

func (f *fakeIPVS) tell(format string, args ...any) error {
	if f.sent != nil {
		f.sent(fmt.Sprintf(format, args...))
	}
	return nil
}

func (*fakeIPVS) Info() (ipvs.Info, error) { return ipvs.Info{}, nil }

func (f *fakeIPVS) Services() ([]ipvs.ServiceExtended, error) {
	var all []ipvs.ServiceExtended
	for _, s := range f.services {
		s.Flags |= ipvs.ServiceHashed
		all = append(all, ipvs.ServiceExtended{Service: s})
	}
	if len(all) == 0 {
		return nil, os.ErrNotExist
	}
	return all, nil
}

func (*fakeIPVS) Service(ipvs.Service) (ipvs.ServiceExtended, error) { panic("not used") }

func (f *fakeIPVS) CreateService(s ipvs.Service) error {
	key := keyOf(s)
	if _, there := f.services[key]; there {
		return syscall.EEXIST
	}
	if f.fail != nil {
		return f.fail
	}
	f.services[key], f.weights[key] = s, map[netip.AddrPort]ipvs.Destination{}
	return f.tell("ipvs: add service %s %s %s timeout=%d", key, s.Scheduler, s.Flags, s.Timeout)
}

func (f *fakeIPVS) UpdateService(s ipvs.Service) error {
	key := keyOf(s)
	if _, there := f.services[key]; !there {
		return syscall.ESRCH
	}
	f.services[key] = s
	return f.tell("ipvs: set service %s %s %s timeout=%d", key, s.Scheduler, s.Flags, s.Timeout)
}

func (f *fakeIPVS) RemoveService(s ipvs.Service) error {
	key := keyOf(s)
	if _, there := f.services[key]; !there {
		return syscall.ESRCH
	}
	delete(f.services, key)
	delete(f.weights, key)
	return f.tell("ipvs: remove service %s", key)
}

func (f *fakeIPVS) Destinations(s ipvs.Service) ([]ipvs.DestinationExtended, error) {
	var all []ipvs.DestinationExtended
	key := keyOf(s)
	for endpoint, d := range f.weights[key] {
		all = append(all, ipvs.DestinationExtended{Destination: d, ActiveConnections: f.open[openKey(key, endpoint)]})
	}
	if len(all) == 0 {
		return nil, os.ErrNotExist
	}
	return all, nil
}

func (f *fakeIPVS) CreateDestination(s ipvs.Service, d ipvs.Destination) error {
	return f.put(s, d, false, "add")
}

func (f *fakeIPVS) UpdateDestination(s ipvs.Service, d ipvs.Destination) error {
	return f.put(s, d, true, "set")
}

func (f *fakeIPVS) put(s ipvs.Service, d ipvs.Destination, want bool, verb string) error {
	key, endpoint := keyOf(s), netip.AddrPortFrom(d.Address, d.Port)
	if _, there := f.services[key]; !there {
		return syscall.ESRCH
	}
	switch _, there := f.weights[key][endpoint]; {
	case there && !want:
		return syscall.EEXIST
	case !there && want:
		return syscall.ENOENT
	}
	f.weights[key][endpoint] = d
	return f.tell("ipvs: %s endpoint %s %s %s weight=%d", verb, key, endpoint, d.FwdMethod, d.Weight)
}

func (f *fakeIPVS) RemoveDestination(s ipvs.Service, d ipvs.Destination) error {
	key, endpoint := keyOf(s), netip.AddrPortFrom(d.Address, d.Port)
	if _, there := f.weights[key][endpoint]; !there {
		return syscall.ENOENT
	}
	delete(f.weights[key], endpoint)
	return f.tell("ipvs: remove endpoint %s %s", key, endpoint)
}

// contents shows every service with its endpoints, without those that drain.
func (f *fakeIPVS) contents() []string {
	var lines []string
	for key, s := range f.services {
		words := []string{key.String(), s.Scheduler, s.Flags.String(), fmt.Sprint(s.Timeout)}
		for _, endpoint := range f.serving(key) {
			words = append(words, endpoint.String())
		}
		if len(words) > 4 {
			lines = append(lines, strings.Join(words, " "))
		}
	}
	slices.Sort(lines)
	return lines
}

// serving are the endpoints that get new connections.
func (f *fakeIPVS) serving(key proxy.Key) []netip.AddrPort {
	var all []netip.AddrPort
	for endpoint, d := range f.weights[key] {
		if d.Weight > 0 {
			all = append(all, endpoint)
		}
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	return all
}

// noKernel records whose flows should be forgotten.
type noKernel struct{ forgotten func(words string) }

func (n noKernel) ForgetFlows(current map[proxy.Key][]netip.AddrPort) error {
	var lines []string
	for key, endpoints := range current {
		lines = append(lines, fmt.Sprintf("forget flows of %s but those to %v", key, endpoints))
	}
	slices.Sort(lines)
	for _, line := range lines {
		n.forgotten(line)
	}
	return nil
}
func (noKernel) lead(Config) error                           { return nil }
func (noKernel) unlead(Config) error                         { return nil }
func (noKernel) settle() error                               { return nil }
func (noKernel) Generation() (uint32, error)                 { return 0, nil }
func (noKernel) Rules(uint8, string) (int, error)            { return 0, nil }
func (noKernel) Elements(uint8, string, string) (int, error) { return 0, nil }
