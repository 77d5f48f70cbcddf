// Package proxytest makes random Services and EndpointSlices for property tests of the service proxy and its
// backends.
//
//   - They collide on purpose: few names, addresses and ports, so that several services claim one key, slices
//     arrive before their service, and endpoints move between slices.
package proxytest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/agent/proxy"
)

// Comparers let cmp.Diff compare virtual servers.
var Comparers = []cmp.Option{cmp.Comparer(func(a, b proxy.VirtualServer) bool { return a.Equal(b) })}

// Cluster holds the objects that a sequence of changes has led to.
type Cluster struct {
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName]*discoveryv1.EndpointSlice
}

// NewCluster gives an empty cluster.
func NewCluster() *Cluster {
	return &Cluster{
		services: map[types.NamespacedName]*corev1.Service{},
		slices:   map[types.NamespacedName]*discoveryv1.EndpointSlice{},
	}
}

// Everything is the full change that leads to the cluster at once.
func (c *Cluster) Everything() proxy.Change {
	return proxy.Change{
		Full:      true,
		Services:  slices.SortedFunc(maps.Values(c.services), func(a, b *corev1.Service) int { return strings.Compare(a.Name, b.Name) }),
		SlicesPut: slices.SortedFunc(maps.Values(c.slices), func(a, b *discoveryv1.EndpointSlice) int { return strings.Compare(a.Name, b.Name) }),
	}
}

// Change draws a change, seldom a full one, and takes it in.
func (c *Cluster) Change(t *rapid.T) proxy.Change {
	var change proxy.Change
	for range rapid.IntRange(1, 3).Draw(t, "objects") {
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0:
			name := serviceName(t)
			delete(c.services, name)
			if !slices.ContainsFunc(change.Services, func(s *corev1.Service) bool { return s.Name == name.Name }) {
				change.ServicesGone = append(change.ServicesGone, name)
			} else {
				return c.Everything()
			}
		case 1:
			name := sliceName(t)
			delete(c.slices, name)
			if !slices.ContainsFunc(change.SlicesPut, func(s *discoveryv1.EndpointSlice) bool { return s.Name == name.Name }) {
				change.SlicesGone = append(change.SlicesGone, name)
			} else {
				return c.Everything()
			}
		case 2, 3:
			svc := service(t)
			c.services[types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}] = svc
			change.Services = append(change.Services, svc)
		default:
			slice := slice(t)
			c.slices[types.NamespacedName{Namespace: slice.Namespace, Name: slice.Name}] = slice
			change.SlicesPut = append(change.SlicesPut, slice)
		}
	}
	return change
}

func serviceName(t *rapid.T) types.NamespacedName {
	return types.NamespacedName{Namespace: "default", Name: fmt.Sprintf("s%d", rapid.IntRange(0, 4).Draw(t, "service"))}
}

func sliceName(t *rapid.T) types.NamespacedName {
	return types.NamespacedName{Namespace: "default", Name: fmt.Sprintf("e%d", rapid.IntRange(0, 6).Draw(t, "slice"))}
}

func service(t *rapid.T) *corev1.Service {
	name := serviceName(t)
	ip := rapid.SampledFrom([]string{"10.96.0.1", "10.96.0.2", "10.96.0.3", "None", "fd00::1"}).Draw(t, "ip")
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: name.Namespace, Name: name.Name,
			CreationTimestamp: metav1.Time{Time: time.Unix(rapid.Int64Range(0, 2).Draw(t, "created"), 0)},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: ip, ClusterIPs: []string{ip},
			ExternalIPs: rapid.SliceOfN(rapid.SampledFrom([]string{"198.51.100.1", "10.96.0.1"}), 0, 2).Draw(t, "external"),
			SessionAffinity: rapid.SampledFrom([]corev1.ServiceAffinity{
				corev1.ServiceAffinityNone, corev1.ServiceAffinityClientIP,
			}).Draw(t, "affinity"),
			ExternalTrafficPolicy: rapid.SampledFrom([]corev1.ServiceExternalTrafficPolicy{
				corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal,
			}).Draw(t, "policy"),
		},
	}
	for i := range rapid.IntRange(1, 2).Draw(t, "ports") {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{
			Name:     fmt.Sprintf("p%d", i),
			Protocol: rapid.SampledFrom([]corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP}).Draw(t, "protocol"),
			Port:     rapid.Int32Range(80, 81).Draw(t, "port"),
			NodePort: rapid.SampledFrom([]int32{0, 30080, 30081}).Draw(t, "node port"),
		})
	}
	return svc
}

func slice(t *rapid.T) *discoveryv1.EndpointSlice {
	name := sliceName(t)
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: name.Namespace, Name: name.Name,
			Labels: map[string]string{discoveryv1.LabelServiceName: serviceName(t).Name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "slice ports") {
		name, port := fmt.Sprintf("p%d", i), rapid.Int32Range(8080, 8081).Draw(t, "target port")
		protocol := rapid.SampledFrom([]corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP}).Draw(t, "slice protocol")
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &port})
	}
	for range rapid.IntRange(0, 4).Draw(t, "endpoints") {
		node := rapid.SampledFrom([]string{"node-a", "node-b"}).Draw(t, "node")
		ready, terminating := rapid.Bool().Draw(t, "ready"), rapid.Bool().Draw(t, "terminating")
		addr := netip.AddrFrom4([4]byte{10, 88, 0, byte(rapid.IntRange(2, 7).Draw(t, "pod"))})
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{addr.String()}, NodeName: &node,
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &terminating, Terminating: &terminating},
		})
	}
	return s
}
