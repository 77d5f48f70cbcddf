package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/wakehq/wake/events"
)

// endpointsEvery is how often the endpoints of the service "kubernetes" are looked at, even if no gateway has come or gone.
const endpointsEvery = 5 * time.Second

// Peers are the gateways of a cluster.
type Peers interface {
	// Gateways returns where the gateways that run are reached, this one included, and whether it is this one that writes them down. It is too early to tell as long
	// as settled is false.
	Gateways() (all []netip.AddrPort, first, settled bool)
	// Moved returns a channel that is closed when one comes or goes.
	Moved() <-chan struct{}
}

// KeepEndpoints has the service "kubernetes" lead to the gateways that run, until ctx ends.
func KeepEndpoints(ctx context.Context, ledger events.Ledger, view *events.View, peers Peers, log *slog.Logger) error {
	for {
		moved := peers.Moved()
		if all, first, settled := peers.Gateways(); first && settled {
			if err := writeEndpoints(ctx, ledger, view, all); err != nil && ctx.Err() == nil {
				log.Warn("the endpoints of the service kubernetes could not be written; trying again", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		case <-time.After(endpointsEvery):
		}
	}
}

func writeEndpoints(ctx context.Context, ledger events.Ledger, view *events.View, all []netip.AddrPort) error {
	wanted := endpointsOf(all)
	if len(wanted) == 0 {
		return nil
	}
	slicesWanted := map[string]bool{}
	for _, obj := range wanted {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
			slicesWanted[slice.Name] = true
		}
		if err := insist(ctx, ledger, view, func(state *events.State, now time.Time) (events.Proposal, error) { return ensure(state, obj, now) }); err != nil {
			return err
		}
	}
	for o := range view.State().All(events.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"}, metav1.NamespaceDefault) {
		if o.Meta().GetLabels()[discoveryv1.LabelServiceName] != kubernetesService || slicesWanted[o.Ref.Name] || o.Meta().GetLabels()[gatewaysLabel] == "" {
			continue
		}
		if err := insist(ctx, ledger, view, func(state *events.State, _ time.Time) (none events.Proposal, _ error) {
			if o, ok := state.Get(o.Ref); ok {
				return events.Remove(o, "EndpointSliceDeleted"), nil
			}
			return none, nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// gatewaysLabel marks the slices that KeepEndpoints makes for gateways beside those at the first one's port.
const gatewaysLabel = "wake.dev/gateways"

// endpointsOf words where the API is reached, as endpoints of the service "kubernetes": an Endpoints, and a slice for each port. Loopback addresses are left out: from within
// a pod that would be the pod itself.
func endpointsOf(all []netip.AddrPort) []runtime.Object {
	all = slices.DeleteFunc(slices.Clone(all), func(a netip.AddrPort) bool {
		return !a.IsValid() || a.Addr().IsLoopback() || a.Addr().IsUnspecified()
	})
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	all = slices.Compact(all)
	byPort := map[uint16][]netip.AddrPort{}
	var ports []uint16
	for _, a := range all {
		if byPort[a.Port()] == nil {
			ports = append(ports, a.Port())
		}
		byPort[a.Port()] = append(byPort[a.Port()], a)
	}
	slices.Sort(ports)
	endpoints := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: kubernetesService,
		Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"}}}
	objects := []runtime.Object{endpoints}
	for i, port := range ports {
		subset := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: "https", Port: int32(port), Protocol: corev1.ProtocolTCP}}}
		for _, a := range byPort[port] {
			subset.Addresses = append(subset.Addresses, corev1.EndpointAddress{IP: a.Addr().String()})
		}
		endpoints.Subsets = append(endpoints.Subsets, subset)
		objects = append(objects, endpointSlice(byPort[port], i > 0))
	}
	return objects
}

// endpointSlice is for gateways at one port; another one beside the slice "kubernetes" is named by its port.
func endpointSlice(at []netip.AddrPort, another bool) *discoveryv1.EndpointSlice {
	port := at[0].Port()
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: kubernetesService,
			Labels: map[string]string{discoveryv1.LabelServiceName: kubernetesService}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To(int32(port)), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	if another {
		slice.Name = fmt.Sprintf("%s-%d", kubernetesService, port)
		slice.Labels[gatewaysLabel] = strconv.Itoa(int(port))
	}
	if at[0].Addr().Is6() {
		slice.AddressType = discoveryv1.AddressTypeIPv6
	}
	for _, a := range at {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{a.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}})
	}
	return slice
}
