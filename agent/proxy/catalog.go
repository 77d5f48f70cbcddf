package proxy

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Change is what happened to the objects that the proxy follows. Objects must not be modified afterwards.
type Change struct {
	Services     []*corev1.Service
	ServicesGone []types.NamespacedName
	SlicesPut    []*discoveryv1.EndpointSlice
	SlicesGone   []types.NamespacedName
	// Zone is the node's own, if it is told; empty: it is in none.
	Zone *string
	// Full says that Services and SlicesPut are all there is: everything else is gone.
	Full bool
}

// Catalog holds the services that are known and the slices of their endpoints. Slices may arrive before their service and outlive it.
type Catalog struct {
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName]*discoveryv1.EndpointSlice
	slicesOf map[types.NamespacedName]map[types.NamespacedName]bool // the names of a service's slices
}

// NewCatalog returns one that holds nothing.
func NewCatalog() *Catalog {
	return &Catalog{
		services: map[types.NamespacedName]*corev1.Service{},
		slices:   map[types.NamespacedName]*discoveryv1.EndpointSlice{},
		slicesOf: map[types.NamespacedName]map[types.NamespacedName]bool{},
	}
}

// Service returns a service; nil if there is none of that name.
func (c *Catalog) Service(name types.NamespacedName) *corev1.Service { return c.services[name] }

// Slices returns the slices of a service, in no order.
func (c *Catalog) Slices(service types.NamespacedName) []*discoveryv1.EndpointSlice {
	all := make([]*discoveryv1.EndpointSlice, 0, len(c.slicesOf[service]))
	for name := range c.slicesOf[service] {
		all = append(all, c.slices[name])
	}
	return all
}

// All returns everything that is known as one full change, in no order.
func (c *Catalog) All() Change {
	return Change{Full: true, Services: slices.Collect(maps.Values(c.services)), SlicesPut: slices.Collect(maps.Values(c.slices))}
}

// Apply takes in a change and names the services that it is about. Its cost grows with what the change names, and only for a full one with what is known.
func (c *Catalog) Apply(change Change) (touched map[types.NamespacedName]bool) {
	touched = map[types.NamespacedName]bool{}
	if change.Full {
		change.ServicesGone = absent(c.services, change.Services)
		change.SlicesGone = absent(c.slices, change.SlicesPut)
	}
	for _, name := range change.ServicesGone {
		delete(c.services, name)
		touched[name] = true
	}
	for _, svc := range change.Services {
		c.services[nameOf(svc)] = svc
		touched[nameOf(svc)] = true
	}
	for _, name := range change.SlicesGone {
		c.dropSlice(name, touched)
	}
	for _, slice := range change.SlicesPut {
		c.putSlice(slice, touched)
	}
	return touched
}

// named is what services and slices have in common.
type named interface {
	GetNamespace() string
	GetName() string
}

func nameOf(object named) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
}

// absent gives the names that are known but not among the objects.
func absent[T named](known map[types.NamespacedName]T, objects []T) []types.NamespacedName {
	kept := make(map[types.NamespacedName]bool, len(objects))
	for _, object := range objects {
		kept[nameOf(object)] = true
	}
	var gone []types.NamespacedName
	for name := range known {
		if !kept[name] {
			gone = append(gone, name)
		}
	}
	return gone
}

// serviceOf names the service that a slice belongs to.
func serviceOf(slice *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
}

func (c *Catalog) dropSlice(name types.NamespacedName, touched map[types.NamespacedName]bool) {
	slice := c.slices[name]
	if slice == nil {
		return
	}
	service := serviceOf(slice)
	delete(c.slices, name)
	delete(c.slicesOf[service], name)
	if len(c.slicesOf[service]) == 0 {
		delete(c.slicesOf, service)
	}
	touched[service] = true
}

func (c *Catalog) putSlice(slice *discoveryv1.EndpointSlice, touched map[types.NamespacedName]bool) {
	name, service := nameOf(slice), serviceOf(slice)
	c.dropSlice(name, touched) // its label may have named another service before
	c.slices[name] = slice
	if c.slicesOf[service] == nil {
		c.slicesOf[service] = map[types.NamespacedName]bool{}
	}
	c.slicesOf[service][name] = true
	touched[service] = true
}
