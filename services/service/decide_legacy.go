package service

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

const (
	maxEndpoints  = 1000 // addresses of an Endpoints object, as in Kubernetes
	manyEndpoints = 100
	// manyEvery is how often an Endpoints object with more than manyEndpoints addresses is written at most: it is written whole, and
	// whoever has that many pods follows the slices.
	manyEvery = time.Second
)

// endpoints keeps the Endpoints object of a Service, the predecessor of its slices, and says when to look again. It knows one family: the first.
func endpoints(in runner.Input, svc *corev1.Service, legacy *events.Object, groups []*group) ([]events.Proposal, time.Time) {
	subsets, truncated := subsetsOf(svc, slices.DeleteFunc(slices.Clone(groups), func(g *group) bool { return g.addressType != addressTypesOf(svc)[0] }))
	labels := map[string]string{labelManagedBy: managedEndpoints}
	for key, value := range svc.Labels {
		if key != corev1.IsHeadlessService && key != labelManagedBy {
			labels[key] = value
		}
	}
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	if legacy == nil {
		ref := events.Ref{Resource: "endpoints", Namespace: svc.Namespace, Name: svc.Name}
		created := &corev1.Endpoints{Subsets: subsets, ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name, Labels: labels,
			UID: events.DeriveUID(svc.UID, ref, in.State.Slot(ref).Expect(events.Desired)), CreationTimestamp: metav1.NewTime(in.Now.Truncate(time.Second))}}
		markTruncated(created, truncated)
		return []events.Proposal{events.Create(in.State, created, EndpointsCreated)}, time.Time{}
	}
	before := legacy.Typed().(*corev1.Endpoints)
	after := *before // what isn't replaced is only read
	after.Labels, after.Subsets, after.Annotations = labels, subsets, maps.Clone(before.Annotations)
	markTruncated(&after, truncated)
	var changed []string
	if !equality.Semantic.DeepEqual(before.Subsets, after.Subsets) {
		changed = append(changed, "subsets")
	}
	if !maps.Equal(before.Labels, after.Labels) || !maps.Equal(before.Annotations, after.Annotations) {
		changed = append(changed, "metadata")
	}
	if len(changed) == 0 {
		return nil, time.Time{}
	}
	if next := legacy.Facet(events.Desired).At.Add(manyEvery); addresses(before.Subsets) > manyEndpoints && next.After(in.Now) {
		return nil, next
	}
	return []events.Proposal{events.Alter(legacy, &after, EndpointsChanged, changed...)}, time.Time{}
}

func markTruncated(e *corev1.Endpoints, truncated bool) {
	if !truncated {
		delete(e.Annotations, corev1.EndpointsOverCapacity)
		return
	}
	if e.Annotations == nil {
		e.Annotations = map[string]string{}
	}
	e.Annotations[corev1.EndpointsOverCapacity] = "truncated"
}

func addresses(subsets []corev1.EndpointSubset) (n int) {
	for i := range subsets {
		n += len(subsets[i].Addresses) + len(subsets[i].NotReadyAddresses)
	}
	return n
}

// subsetsOf words groups as subsets. If there are too many addresses, ready ones go first.
func subsetsOf(svc *corev1.Service, groups []*group) (subsets []corev1.EndpointSubset, truncated bool) {
	for _, g := range groups {
		if len(g.ports) == 0 && len(svc.Spec.Ports) > 0 {
			continue
		}
		subset := corev1.EndpointSubset{}
		for _, p := range g.ports {
			subset.Ports = append(subset.Ports, corev1.EndpointPort{Name: deref(p.Name), Port: deref(p.Port), Protocol: deref(p.Protocol), AppProtocol: p.AppProtocol})
		}
		for _, endpoint := range g.endpoints {
			address := corev1.EndpointAddress{IP: endpoint.Addresses[0], Hostname: deref(endpoint.Hostname), NodeName: endpoint.NodeName, TargetRef: endpoint.TargetRef}
			switch {
			case deref(endpoint.Conditions.Terminating) && !svc.Spec.PublishNotReadyAddresses:
			case *endpoint.Conditions.Ready:
				subset.Addresses = append(subset.Addresses, address)
			default:
				subset.NotReadyAddresses = append(subset.NotReadyAddresses, address)
			}
		}
		slices.SortFunc(subset.Addresses, byIP)
		slices.SortFunc(subset.NotReadyAddresses, byIP)
		if len(subset.Addresses)+len(subset.NotReadyAddresses) > 0 {
			subsets = append(subsets, subset)
		}
	}
	if addresses(subsets) <= maxEndpoints {
		return subsets, false
	}
	return truncate(subsets), true
}

func byIP(a, b corev1.EndpointAddress) int { return cmp.Compare(a.IP, b.IP) }

func truncate(subsets []corev1.EndpointSubset) []corev1.EndpointSubset {
	room := maxEndpoints
	take := func(list []corev1.EndpointAddress) []corev1.EndpointAddress {
		list = list[:min(len(list), room)]
		room -= len(list)
		return list
	}
	for i := range subsets {
		subsets[i].Addresses = take(subsets[i].Addresses)
	}
	for i := range subsets {
		subsets[i].NotReadyAddresses = take(subsets[i].NotReadyAddresses)
	}
	return slices.DeleteFunc(subsets, func(s corev1.EndpointSubset) bool { return len(s.Addresses)+len(s.NotReadyAddresses) == 0 })
}
