package agent

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/wakehq/wake/agent/plan"
	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/events/nodewire"
)

// objectStore holds what the cluster has told of other objects than pods. The agent's mutex guards it; the maps that it has handed out
// never change, so that decisions can be taken without the mutex.
type objectStore struct {
	revision    uint64 // grows with each slice
	namespaces  map[string]*namespace
	services    map[string]*corev1.Service // by namespace/name
	dirty       map[string]bool            // namespaces that this slice has changed
	addresses   map[string]netip.Addr      // to be announced, by the name of their object
	readdressed bool                       // this slice has changed them
}

// namespace holds the objects that the pods of one namespace may refer to.
type namespace struct {
	revision   uint64
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
	services   []*corev1.Service // nil: to be put together from the store's
}

func newObjectStore() *objectStore {
	return &objectStore{namespaces: map[string]*namespace{}, services: map[string]*corev1.Service{}, dirty: map[string]bool{}, addresses: map[string]netip.Addr{}}
}

// begin begins a slice; a full one replaces everything.
func (s *objectStore) begin(full bool) {
	clear(s.dirty)
	s.revision++
	s.readdressed = full
	if !full {
		return
	}
	clear(s.addresses)
	for name := range s.namespaces {
		s.namespaces[name] = &namespace{revision: s.revision}
		s.dirty[name] = true
	}
	clear(s.services)
}

// change returns a namespace for changing.
func (s *objectStore) change(name string) *namespace {
	n := s.namespaces[name]
	if n == nil {
		n = &namespace{}
		s.namespaces[name] = n
	}
	if !s.dirty[name] || n.configMaps == nil {
		s.dirty[name] = true
		n.configMaps, n.secrets = maps.Clone(n.configMaps), maps.Clone(n.secrets)
		if n.configMaps == nil {
			n.configMaps = map[string]*corev1.ConfigMap{}
		}
		if n.secrets == nil {
			n.secrets = map[string]*corev1.Secret{}
		}
	}
	n.revision = s.revision
	return n
}

// apply takes over one object, and adds to the change what the service proxy has to know.
func (s *objectStore) apply(o nodewire.Object, change *proxy.Change) error {
	switch o.Resource {
	case nodewire.ConfigMaps:
		cm := &corev1.ConfigMap{}
		if err := cm.Unmarshal(o.Data); err != nil {
			return err
		}
		put(s.change(o.Namespace).configMaps, o, cm)
	case nodewire.Secrets:
		secret := &corev1.Secret{}
		if err := secret.Unmarshal(o.Data); err != nil {
			return err
		}
		put(s.change(o.Namespace).secrets, o, secret)
	case nodewire.Services:
		service := &corev1.Service{}
		if err := service.Unmarshal(o.Data); err != nil {
			return err
		}
		s.putService(o, service)
		addService(change, o, service)
	case nodewire.EndpointSlices:
		endpoints := &discoveryv1.EndpointSlice{}
		if err := endpoints.Unmarshal(o.Data); err != nil {
			return err
		}
		addEndpoints(change, o, endpoints)
	case nodewire.IPAddresses:
		address, err := netip.ParseAddr(o.Name) // an IPAddress is named by what it is
		if err != nil {
			return err
		}
		put(s.addresses, o, address)
		s.readdressed = true
	}
	return nil
}

func put[T any](m map[string]T, o nodewire.Object, object T) {
	if o.Deleted {
		delete(m, o.Name)
	} else {
		m[o.Name] = object
	}
}

func (s *objectStore) putService(o nodewire.Object, service *corev1.Service) {
	key := o.Namespace + "/" + o.Name
	if o.Deleted {
		delete(s.services, key)
	} else {
		s.services[key] = service
	}
	for _, n := range s.namespaces {
		n.services = nil
	}
}

// of returns what a pod of the namespace may refer to.
func (s *objectStore) of(name string) plan.Objects {
	n := s.namespaces[name]
	if n == nil {
		n = &namespace{}
		s.namespaces[name] = n
	}
	if n.services == nil {
		n.services = []*corev1.Service{}
		for key, service := range s.services {
			if service.Namespace == name || key == "default/kubernetes" {
				n.services = append(n.services, service)
			}
		}
		slices.SortFunc(n.services, func(a, b *corev1.Service) int { return cmp.Compare(a.Name, b.Name) })
	}
	return plan.Objects{Revision: n.revision, ConfigMaps: n.configMaps, Secrets: n.secrets, Services: n.services}
}

// objectsOf returns what a pod of the namespace may refer to.
func (a *Agent) objectsOf(namespace string) plan.Objects {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.objects.of(namespace)
}
