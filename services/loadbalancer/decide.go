package loadbalancer

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// The conditions of a Service that this decider writes.
const (
	PendingCondition   = "wake.dev/LoadBalancerPending"   // True while it can't have an address
	AnnouncedCondition = "wake.dev/LoadBalancerAnnounced" // which nodes announce its addresses
)

// Decide gives a Service its addresses and each address its announcer, in one batch.
func (l *LoadBalancer) Decide(in runner.Input) runner.Decision {
	held := slices.SortedFunc(maps.Keys(l.claims[in.Key]), compareRefs)
	o, ok := in.State.Get(in.Key)
	if !ok {
		return runner.Decision{Each: release(in.State, held, nil)}
	}
	svc := o.Typed().(*corev1.Service)
	var group []events.Proposal
	if isOurs(svc) {
		group = serve(in, o, held)
	} else {
		group = retire(in, o, held)
	}
	if len(group) == 0 {
		return runner.Decision{}
	}
	return runner.Decision{Together: [][]events.Proposal{group}}
}

// release gives up the claims that are not needed.
func release(state *events.State, held []events.Ref, needs map[events.Ref]bool) []events.Proposal {
	var out []events.Proposal
	for _, ref := range held {
		if claim, ok := state.Get(ref); ok && !needs[ref] {
			out = append(out, events.Remove(claim, AddressReleased))
		}
	}
	return out
}

// serve gives a Service what it wants.
func serve(in runner.Input, o *events.Object, held []events.Ref) []events.Proposal {
	svc := o.Typed().(*corev1.Service)
	a := &allotment{state: in.State, owner: holder{in.Key, o.UID()}, svc: svc, held: held}
	a.read()
	if len(a.pools) == 0 && len(a.broken) == 0 && len(held) == 0 && len(svc.Status.LoadBalancer.Ingress) > 0 {
		return nil // somebody else's
	}
	addresses := a.allot()
	now := metav1.NewTime(in.Now.Truncate(1e9))
	var group []events.Proposal
	needs, announcers := map[events.Ref]bool{}, make([]string, len(addresses))
	for i, address := range addresses {
		ref := claimOf(address)
		needs[ref] = true
		claim, exists := in.State.Get(ref)
		mine := exists && a.mine(ref)
		current := ""
		if mine {
			current = announcerOf(claim)
		}
		announcers[i] = a.announcer(address, current)
		switch {
		case !mine:
			group = append(group, events.Create(in.State, newClaim(in.State, address, a.owner, announcers[i], now), AddressClaimed))
		case announcers[i] != current:
			group = append(group, move(claim, announcers[i]))
		}
	}
	group = append(group, release(in.State, held, needs)...)
	after := statusOf(svc, addresses, announcers, a.refusal, now)
	return append(group, report(o, after)...)
}

// retire takes back what a Service has that isn't, or isn't any more, to get its address here. What another class's load balancer wrote stays.
func retire(in runner.Input, o *events.Object, held []events.Ref) []events.Proposal {
	group := release(in.State, held, nil)
	svc := o.Typed().(*corev1.Service)
	after := svc.Status.DeepCopy()
	after.Conditions = slices.DeleteFunc(after.Conditions, func(c metav1.Condition) bool { return c.Type == PendingCondition || c.Type == AnnouncedCondition })
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		after.LoadBalancer = corev1.LoadBalancerStatus{}
	}
	after.LoadBalancer.Ingress = slices.DeleteFunc(after.LoadBalancer.Ingress, func(i corev1.LoadBalancerIngress) bool {
		address, err := netip.ParseAddr(i.IP)
		return err == nil && slices.Contains(held, claimOf(address))
	})
	return append(group, report(o, *after)...)
}

// statusOf is a Service's status with these addresses.
func statusOf(svc *corev1.Service, addresses []netip.Addr, announcers []string, refusal *metav1.Condition, now metav1.Time) corev1.ServiceStatus {
	after := *svc.Status.DeepCopy()
	after.LoadBalancer = corev1.LoadBalancerStatus{}
	vip := corev1.LoadBalancerIPModeVIP
	for _, address := range addresses {
		after.LoadBalancer.Ingress = append(after.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: address.String(), IPMode: &vip})
	}
	setCondition(&after, PendingCondition, refusal, svc.Generation, now)
	setCondition(&after, AnnouncedCondition, announcement(addresses, announcers), svc.Generation, now)
	return after
}

// announcement words who announces which address; nil if there is nothing to announce.
func announcement(addresses []netip.Addr, announcers []string) *metav1.Condition {
	if len(addresses) == 0 {
		return nil
	}
	c := &metav1.Condition{Status: metav1.ConditionTrue, Reason: "NodeAssigned"}
	words := make([]string, 0, len(addresses))
	for i, address := range addresses {
		if announcers[i] == "" {
			c.Status, c.Reason = metav1.ConditionFalse, "NoNode"
		}
		words = append(words, address.String()+" on "+cmp.Or(announcers[i], "no node: none is ready that may announce it"))
	}
	c.Message = strings.Join(words, ", ")
	return c
}

// setCondition replaces the condition of a type; nil removes it.
func setCondition(status *corev1.ServiceStatus, of string, c *metav1.Condition, generation int64, now metav1.Time) {
	i := slices.IndexFunc(status.Conditions, func(c metav1.Condition) bool { return c.Type == of })
	switch {
	case c == nil && i >= 0:
		status.Conditions = slices.Delete(status.Conditions, i, i+1)
		return
	case c == nil:
		return
	case i >= 0 && status.Conditions[i].Status == c.Status && status.Conditions[i].Reason == c.Reason && status.Conditions[i].Message == c.Message:
		return
	}
	c.Type, c.LastTransitionTime, c.ObservedGeneration = of, now, generation
	if i < 0 {
		status.Conditions = append(status.Conditions, *c)
		return
	}
	if status.Conditions[i].Status == c.Status {
		c.LastTransitionTime = status.Conditions[i].LastTransitionTime
	}
	status.Conditions[i] = *c
}

func conditionOf(svc *corev1.Service, of string) *metav1.Condition {
	if i := slices.IndexFunc(svc.Status.Conditions, func(c metav1.Condition) bool { return c.Type == of }); i >= 0 {
		return &svc.Status.Conditions[i]
	}
	return nil
}
