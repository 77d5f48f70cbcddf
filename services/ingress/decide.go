package ingress

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// Decide brings an Ingress's status in line with the doors.
func (Ingress) Decide(in runner.Input) runner.Decision {
	o, ok := in.State.Get(in.Key)
	if !ok {
		return runner.Decision{}
	}
	ingress := o.Typed().(*networkingv1.Ingress)
	var addresses []string
	if in.State.IngressClasses().Has(ingress) {
		addresses = doors(in.State)
	}
	if last := o.Facet(events.Observed); len(addresses) == 0 && (last == nil || last.Actor != actor) {
		return runner.Decision{} // what there is, is somebody else's
	}
	after := *ingress // what isn't replaced is only read
	after.Status.LoadBalancer = networkingv1.IngressLoadBalancerStatus{}
	for _, address := range addresses {
		after.Status.LoadBalancer.Ingress = append(after.Status.LoadBalancer.Ingress, networkingv1.IngressLoadBalancerIngress{IP: address})
	}
	if equality.Semantic.DeepEqual(ingress.Status, after.Status) {
		return runner.Decision{}
	}
	what, note := Published, events.Note{Reason: "Published", Message: "Served at " + strings.Join(addresses, ", ")}
	if len(addresses) == 0 {
		what, note = Withdrawn, events.Note{Reason: "Withdrawn", Message: "Not served here any more"}
	}
	return runner.Decision{Each: []events.Proposal{events.Observe(o, &after, what, "status.loadBalancer").With(note)}}
}
