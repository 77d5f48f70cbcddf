package ingress

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/events/nodewire"
)

// Change is what a node learned of Ingresses, of Secrets that they name, of Services and of their endpoints. A full one replaces everything.
type Change struct {
	Full    bool              `json:"full,omitempty"`
	Objects []nodewire.Object `json:"objects"`
}

// fold holds what is known, and the backends that follow from it.
type fold struct {
	log       *slog.Logger
	ingresses map[types.NamespacedName]*networkingv1.Ingress
	secrets   map[types.NamespacedName]*tls.Certificate // of those that hold one
	catalog   *proxy.Catalog
	backends  map[backendKey]*backend
	of        map[types.NamespacedName]map[backendKey]bool // by Service
}

func newFold(log *slog.Logger) *fold {
	return &fold{log: log, ingresses: map[types.NamespacedName]*networkingv1.Ingress{}, secrets: map[types.NamespacedName]*tls.Certificate{},
		catalog: proxy.NewCatalog(), backends: map[backendKey]*backend{}, of: map[types.NamespacedName]map[backendKey]bool{}}
}

// apply takes a change in. Backends are brought up to date at once; routes says that the table has to be made anew. An object that can't be read is left out:
// the others must not suffer for it.
func (f *fold) apply(c Change) (routes bool) {
	services := proxy.Change{Full: c.Full}
	if c.Full {
		clear(f.ingresses)
		clear(f.secrets)
	}
	routes = c.Full
	for _, o := range c.Objects {
		name := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
		var err error
		switch o.Resource {
		case nodewire.Ingresses:
			routes = true
			err = put(f.ingresses, name, o, &networkingv1.Ingress{})
		case nodewire.Secrets:
			routes = true
			err = f.putSecret(name, o)
		case nodewire.Services:
			err = addService(&services, name, o)
		case nodewire.EndpointSlices:
			err = addSlice(&services, name, o)
		}
		if err != nil {
			f.log.Error("an object can't be read", "resource", o.Resource, "name", name.String(), "error", err)
		}
	}
	for service := range f.catalog.Apply(services) {
		for key := range f.of[service] {
			f.backends[key].set(f.resolve(key))
		}
	}
	return routes
}

type decodable[T any] interface {
	*T
	Unmarshal(data []byte) error
}

func put[T any, P decodable[T]](m map[types.NamespacedName]P, name types.NamespacedName, o nodewire.Object, into P) error {
	if o.Deleted {
		delete(m, name)
		return nil
	}
	err := into.Unmarshal(o.Data)
	if err == nil {
		m[name] = into
	}
	return err
}

// putSecret takes in a certificate. A Secret without one is as good as none.
func (f *fold) putSecret(name types.NamespacedName, o nodewire.Object) error {
	delete(f.secrets, name)
	if o.Deleted {
		return nil
	}
	var secret corev1.Secret
	if err := secret.Unmarshal(o.Data); err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		f.log.Warn("a Secret that an Ingress names holds no certificate and key (tls.crt, tls.key); the default certificate is shown", "secret", name.String(), "error", err)
		return nil
	}
	f.secrets[name] = &pair
	return nil
}

func addService(c *proxy.Change, name types.NamespacedName, o nodewire.Object) error {
	if o.Deleted {
		c.ServicesGone = append(c.ServicesGone, name)
		return nil
	}
	svc := &corev1.Service{}
	err := svc.Unmarshal(o.Data)
	if err == nil {
		c.Services = append(c.Services, svc)
	}
	return err
}

func addSlice(c *proxy.Change, name types.NamespacedName, o nodewire.Object) error {
	if o.Deleted {
		c.SlicesGone = append(c.SlicesGone, name)
		return nil
	}
	slice := &discoveryv1.EndpointSlice{}
	err := slice.Unmarshal(o.Data)
	if err == nil {
		c.SlicesPut = append(c.SlicesPut, slice)
	}
	return err
}

// table makes the routes anew, from the oldest Ingress to the newest, and forgets backends that none leads to.
func (f *fold) table() *table {
	before := f.backends
	f.backends, f.of = map[backendKey]*backend{}, map[types.NamespacedName]map[backendKey]bool{}
	all := make([]*networkingv1.Ingress, 0, len(f.ingresses))
	for _, i := range f.ingresses {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b *networkingv1.Ingress) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
	})
	t := newTable()
	for _, i := range all {
		t.add(i, func(name string) *tls.Certificate {
			return f.secrets[types.NamespacedName{Namespace: i.Namespace, Name: name}]
		},
			func(key backendKey) *backend { return f.backend(before, key) })
	}
	t.finish()
	return t
}

// backend gives the one of a key: that of before, if there was one.
func (f *fold) backend(before map[backendKey]*backend, key backendKey) *backend {
	if b := f.backends[key]; b != nil {
		return b
	}
	b := before[key]
	if b == nil {
		b = &backend{}
		b.set(f.resolve(key))
	}
	f.backends[key] = b
	if f.of[key.service] == nil {
		f.of[key.service] = map[backendKey]bool{}
	}
	f.of[key.service][key] = true
	return b
}
