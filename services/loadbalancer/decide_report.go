package loadbalancer

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

// report proposes a Service's new status, as the event that says best what has become of it, with a note for people; nothing if it is as it was.
func report(o *events.Object, after corev1.ServiceStatus) []events.Proposal {
	svc := o.Typed().(*corev1.Service)
	var changed []string
	ingress := !equality.Semantic.DeepEqual(svc.Status.LoadBalancer, after.LoadBalancer)
	if ingress {
		changed = append(changed, "status.loadBalancer")
	}
	if !equality.Semantic.DeepEqual(svc.Status.Conditions, after.Conditions) {
		changed = append(changed, "status.conditions")
	}
	if len(changed) == 0 {
		return nil
	}
	updated := *svc // what isn't replaced is only read
	updated.Status = after
	pending, announced := conditionOf(&updated, PendingCondition), conditionOf(&updated, AnnouncedCondition)
	switch {
	case ingress && len(after.LoadBalancer.Ingress) > 0:
		note := events.Note{Reason: "IPAllocated", Message: "Assigned " + addressesOf(after)}
		if announced != nil {
			note.Message += "; announced: " + announced.Message
		}
		return []events.Proposal{events.Observe(o, &updated, Assigned, changed...).With(note)}
	case pending != nil && !sameWord(conditionOf(svc, PendingCondition), pending):
		return []events.Proposal{events.Observe(o, &updated, Refused, changed...).With(events.Note{Reason: pending.Reason, Message: pending.Message, Warning: true})}
	case ingress:
		return []events.Proposal{events.Observe(o, &updated, Withdrawn, changed...).With(events.Note{Reason: "IPReleased", Message: "Withdrew " + addressesOf(svc.Status)})}
	case announced != nil:
		note := events.Note{Reason: announced.Reason, Message: "Announced: " + announced.Message, Warning: announced.Status != "True"}
		return []events.Proposal{events.Observe(o, &updated, Announced, changed...).With(note)}
	}
	return []events.Proposal{events.Observe(o, &updated, Announced, changed...)}
}

func addressesOf(status corev1.ServiceStatus) string {
	var all []string
	for _, i := range status.LoadBalancer.Ingress {
		all = append(all, i.IP+i.Hostname)
	}
	return strings.Join(all, ", ")
}

// move gives an address another announcer.
func move(claim *events.Object, announcer string) events.Proposal {
	after := claim.Typed().(*networkingv1.IPAddress).DeepCopy()
	if announcer == "" {
		delete(after.Annotations, events.AnnouncedBy)
	} else {
		if after.Annotations == nil {
			after.Annotations = map[string]string{}
		}
		after.Annotations[events.AnnouncedBy] = announcer
	}
	return events.Alter(claim, after, AnnouncerMoved, "metadata.annotations")
}

// sameWord says that two conditions tell people the same.
func sameWord(a, b *metav1.Condition) bool {
	return a != nil && b != nil && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
}
