package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/schemas/addresspool"
	"github.com/wakehq/wake/schemas/ingressclass"
)

// bootstrapActor names in the ledger who wrote what every cluster begins with.
const bootstrapActor = "system:bootstrap"

// wakeStarted is the type of the event that records a start.
const wakeStarted = "WakeStarted"

// kubernetesService is the name of the service under which the API is found from within.
const kubernetesService = "kubernetes"

// BootstrapConfig is what a cluster begins with.
type BootstrapConfig struct {
	API          netip.AddrPort // where the API is served
	ServiceCIDRs []netip.Prefix // addresses of services; the first address of the first one becomes that of the service "kubernetes"
	Shared       bool           // there are other gateways: KeepEndpoints writes the endpoints of all
	Pool         []string       // ranges of addresses for load balancers, which become the pool "default"; empty: it stays as it is
}

// Bootstrap writes what every cluster begins with, as far as it isn't there: the namespaces, the service "kubernetes" with its endpoints, which
// it corrects when the API has moved, and the class of Ingresses that Wake serves. Then it records the start: it renews the Lease kube-system/wake. It must be called at every start, before the
// services run; several gateways may at once.
func Bootstrap(ctx context.Context, ledger events.Ledger, view *events.View, config BootstrapConfig) error {
	for _, obj := range config.objects() {
		if err := insist(ctx, ledger, view, func(state *events.State, now time.Time) (events.Proposal, error) { return ensure(state, obj, now) }); err != nil {
			return fmt.Errorf("writing what a cluster begins with: %w", err)
		}
	}
	if err := insist(ctx, ledger, view, config.pool); err != nil {
		return fmt.Errorf("writing the load balancers' addresses: %w", err)
	}
	if err := insist(ctx, ledger, view, started); err != nil {
		return fmt.Errorf("recording the start: %w", err)
	}
	return nil
}

// maxRefusals is how often an append may be refused though nobody was faster: a replicated ledger may do so, one that lost an event always does.
const maxRefusals = 20

// insist appends what word makes of the present, again and again while others are faster. A proposal without a type is none.
func insist(ctx context.Context, ledger events.Ledger, view *events.View, word func(state *events.State, now time.Time) (events.Proposal, error)) error {
	for refusals := 0; ; {
		state, now := view.State(), time.Now()
		p, err := word(state, now)
		if err != nil || p.Type == "" {
			return err
		}
		proposals := []events.Proposal{p}
		events.Audit{Actor: bootstrapActor, Basis: state.Revision(), At: now}.Sign(proposals)
		revision, err := ledger.Append(ctx, proposals...)
		conflict := errors.Is(err, events.ErrConflict)
		if refused := err; conflict {
			if revision, _, err = ledger.Last(ctx); err == nil && revision <= state.Revision() {
				refusals++
			}
			if refusals == maxRefusals {
				return fmt.Errorf("the ledger has something newer that it doesn't give, up to revision %d: an event can't be read any more (see wake verify): %w", revision, refused)
			}
		}
		if err == nil {
			_, err = view.WaitFor(ctx, revision)
		}
		if err != nil || !conflict {
			return err
		}
	}
}

// defaultPool is the pool whose ranges are given at the start.
const defaultPool = "default"

// pool puts the ranges that were given at the start into the pools, and leaves the other pools alone.
func (c BootstrapConfig) pool(state *events.State, now time.Time) (none events.Proposal, err error) {
	if len(c.Pool) == 0 {
		return none, nil
	}
	ref := events.Ref{Resource: "configmaps", Namespace: addresspool.Namespace, Name: addresspool.ConfigMap}
	kind, _ := state.Registry().ByStorage(ref.Group, ref.Resource)
	write := &schemas.Write{Namespace: ref.Namespace, Name: ref.Name, Now: now}
	old, exists := state.Get(ref)
	pools := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name}}
	if exists {
		pools = old.Typed().(*corev1.ConfigMap).DeepCopy()
	}
	ranges := strings.Join(c.Pool, ", ")
	if pools.Data[defaultPool] == ranges {
		return none, nil
	}
	if pools.Data == nil {
		pools.Data = map[string]string{}
	}
	pools.Data[defaultPool] = ranges
	if !exists {
		created, _, err := kind.PrepareCreate(write, pools)
		if err != nil {
			return none, err
		}
		return events.Create(state, created, kind.KindName+"Created"), nil
	}
	updated, _, err := kind.PrepareUpdate(write, withVersion(pools, old), old.Typed())
	if err != nil {
		return none, err
	}
	return events.Alter(old, updated, kind.KindName+"Changed", changedDesired(old.Typed(), updated)...), nil
}

// started renews the Lease that tells when the cluster was started last, and how often it was before.
func started(state *events.State, now time.Time) (none events.Proposal, err error) {
	ref := events.StartLease()
	kind, ok := state.Registry().ByStorage(ref.Group, ref.Resource)
	if !ok {
		return none, fmt.Errorf("%s is of no kind that is stored", ref)
	}
	write := &schemas.Write{Namespace: ref.Namespace, Name: ref.Name, Now: now}
	at, starts := metav1.NewMicroTime(now.Truncate(time.Millisecond)), int32(0)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name}}
	old, exists := state.Get(ref)
	if exists {
		lease = old.Typed().(*coordinationv1.Lease).DeepCopy()
		starts = ptr.Deref(lease.Spec.LeaseTransitions, 0) + 1
	}
	lease.Spec.HolderIdentity, lease.Spec.AcquireTime, lease.Spec.RenewTime, lease.Spec.LeaseTransitions = ptr.To(ref.Name), &at, &at, &starts
	if !exists {
		created, _, err := kind.PrepareCreate(write, lease)
		if err != nil {
			return none, err
		}
		return events.Create(state, created, wakeStarted), nil
	}
	updated, _, err := kind.PrepareUpdate(write, lease, old.Typed())
	if err != nil {
		return none, err
	}
	return events.Alter(old, updated, wakeStarted, changedDesired(old.Typed(), updated)...), nil
}

// ensure proposes obj if there is none; endpoints are corrected too.
func ensure(state *events.State, obj runtime.Object, now time.Time) (none events.Proposal, err error) {
	ref, err := state.RefOf(obj)
	if err != nil {
		return none, err
	}
	kind, ok := state.Registry().ByStorage(ref.Group, ref.Resource)
	if !ok {
		return none, fmt.Errorf("%s is of no kind that is stored", ref)
	}
	write := &schemas.Write{Namespace: ref.Namespace, Name: ref.Name, Now: now, ServiceFamilies: state.ServiceFamilies()}
	o, exists := state.Get(ref)
	if !exists {
		created, _, err := kind.PrepareCreate(write, obj)
		if err != nil {
			return none, err
		}
		return events.Create(state, created, kind.KindName+"Created"), nil
	}
	switch obj.(type) {
	case *corev1.Endpoints, *discoveryv1.EndpointSlice:
	default:
		return none, nil
	}
	updated, _, err := kind.PrepareUpdate(write, withVersion(obj, o), o.Typed())
	if err != nil {
		return none, err
	}
	p := events.Alter(o, updated, kind.KindName+"Changed", changedDesired(o.Typed(), updated)...)
	if bytes.Equal(p.Payload, o.Facet(events.Desired).Payload) {
		return none, nil
	}
	return p, nil
}

func withVersion(obj runtime.Object, o *events.Object) runtime.Object {
	if m, ok := obj.(metav1.Object); ok {
		m.SetResourceVersion(o.Meta().GetResourceVersion())
	}
	return obj
}

func (c BootstrapConfig) objects() []runtime.Object {
	objects := make([]runtime.Object, 0, 9)
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	if len(c.ServiceCIDRs) == 0 {
		return objects
	}
	objects = append(objects, c.serviceCIDR(), c.service(), ingressClass())
	if !c.Shared {
		objects = append(objects, endpointsOf([]netip.AddrPort{c.API})...)
	}
	return objects
}

// ingressClass is the class of Ingresses that the nodes serve. It is the default one until somebody says otherwise.
func ingressClass() *networkingv1.IngressClass {
	return &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: ingressclass.Name, Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec:       networkingv1.IngressClassSpec{Controller: ingressclass.Controller},
	}
}

// serviceCIDR tells everybody of the ranges, under the name that Kubernetes gives its default.
func (c BootstrapConfig) serviceCIDR() *networkingv1.ServiceCIDR {
	cidr := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: events.DefaultServiceCIDR().Name}}
	for _, prefix := range c.ServiceCIDRs {
		cidr.Spec.CIDRs = append(cidr.Spec.CIDRs, prefix.Masked().String())
	}
	return cidr
}

func (c BootstrapConfig) service() *corev1.Service {
	address := c.ServiceCIDRs[0].Masked().Addr().Next().String()
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: kubernetesService,
			Labels: map[string]string{"component": "apiserver", "provider": kubernetesService}},
		Spec: corev1.ServiceSpec{
			ClusterIP: address, ClusterIPs: []string{address},
			Ports: []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt32(int32(c.API.Port()))}},
		},
	}
}
