package service

import (
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// RefusedCondition is the type of the condition that a Service has while it can't have what it needs.
const RefusedCondition = "wake.dev/AddressRefused"

// Node ports, both inclusive. As in Kubernetes (KEP-3668) the low ones are left to those who ask for a certain port until the others run out.
const (
	firstNodePort     = 30000
	lastNodePort      = 32767
	askedForNodePorts = 86
)

// Decide completes a Service and brings its claims in line, in one batch.
func (a *Addresses) Decide(in runner.Input) runner.Decision {
	held := slices.SortedFunc(maps.Keys(a.claims[in.Key]), compareRefs)
	o, ok := in.State.Get(in.Key)
	if !ok {
		return runner.Decision{Each: release(in.State, held, nil)}
	}
	t := &allotment{ranges: a.ranges, state: in.State, owner: holder{in.Key, o.UID()}, held: held,
		svc: o.Typed().(*corev1.Service).DeepCopy(), needs: map[events.Ref]bool{}}
	t.trim()
	t.allotAddresses()
	t.allotPorts()
	now := metav1.NewTime(in.Now.Truncate(1e9))
	group := t.proposals(o, now)
	group = append(group, release(in.State, held, t.needs)...)
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

// allotment is what becomes of one Service.
type allotment struct {
	ranges  []netip.Prefix // of cluster IPs, the preferred family first
	state   *events.State
	owner   holder
	held    []events.Ref
	svc     *corev1.Service // completed as we go
	needs   map[events.Ref]bool
	refusal *metav1.Condition // the first
}

// trim drops what the type of the Service has no use for, as Kubernetes does when the type changes.
func (t *allotment) trim() {
	spec := &t.svc.Spec
	if spec.Type == corev1.ServiceTypeExternalName {
		spec.ClusterIP, spec.ClusterIPs, spec.IPFamilies, spec.IPFamilyPolicy = "", nil, nil, nil
	}
	if !usesNodePorts(spec) {
		for i := range spec.Ports {
			spec.Ports[i].NodePort = 0
		}
	}
	if !usesHealthPort(spec) {
		spec.HealthCheckNodePort = 0
	}
}

func usesNodePorts(spec *corev1.ServiceSpec) bool {
	return spec.Type == corev1.ServiceTypeNodePort || spec.Type == corev1.ServiceTypeLoadBalancer
}

func usesHealthPort(spec *corev1.ServiceSpec) bool {
	return spec.Type == corev1.ServiceTypeLoadBalancer && spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// allotAddresses gives the Service a cluster IP of each of its families: the one that it asks for, the one that it had, or a free one. Where one of
// them can't be had, none is given that it hasn't got yet.
func (t *allotment) allotAddresses() {
	spec := &t.svc.Spec
	if spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	wanted := spec.ClusterIPs
	if len(wanted) == 0 && spec.ClusterIP != "" {
		wanted = []string{spec.ClusterIP}
	}
	t.completeFamilies(wanted)
	if spec.ClusterIP == corev1.ClusterIPNone {
		spec.ClusterIPs = wanted
		return
	}
	for _, address := range wanted {
		t.claimAddress(address)
	}
	addresses := slices.Clone(wanted)
	for _, family := range spec.IPFamilies[min(len(wanted), len(spec.IPFamilies)):] {
		address := t.freeAddress(family)
		if address == "" {
			return
		}
		addresses = append(addresses, address)
	}
	for _, address := range addresses[len(wanted):] {
		t.needs[events.Ref{Group: addressesKind.Group, Resource: addressesKind.Resource, Name: address}] = true
	}
	spec.ClusterIP, spec.ClusterIPs = addresses[0], addresses
}

// completeFamilies says which families a Service has that came past the API, which would have said so.
func (t *allotment) completeFamilies(wanted []string) {
	spec := &t.svc.Spec
	if len(spec.IPFamilies) == 0 {
		for _, text := range wanted {
			if address, err := netip.ParseAddr(text); err == nil {
				spec.IPFamilies = append(spec.IPFamilies, familyOf(address))
			}
		}
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{familyOf(t.ranges[0].Addr())}
	}
	if spec.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicySingleStack
		if len(spec.IPFamilies) > 1 {
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		spec.IPFamilyPolicy = &policy
	}
}

func familyOf(address netip.Addr) corev1.IPFamily {
	if address.Is6() {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// rangeOf is where addresses of a family come from; false if the cluster has none.
func (t *allotment) rangeOf(family corev1.IPFamily) (netip.Prefix, bool) {
	for _, prefix := range t.ranges {
		if familyOf(prefix.Addr()) == family {
			return prefix, true
		}
	}
	return netip.Prefix{}, false
}

func (t *allotment) claimAddress(text string) {
	address, err := netip.ParseAddr(text)
	prefix, ok := t.rangeOf(familyOf(address))
	if err != nil || !ok || !prefix.Contains(address) {
		var ranges []string
		for _, prefix := range t.ranges {
			ranges = append(ranges, prefix.String())
		}
		t.refuse("ClusterIPOutOfRange", fmt.Sprintf("cluster IP %s is not within the service range %s", text, strings.Join(ranges, ", ")))
		return
	}
	if other, taken := t.claim(addressClaim(address)); taken {
		t.refuse("ClusterIPAlreadyAllocated", fmt.Sprintf("cluster IP %s belongs to %s", address, other))
	}
}

// claim notes that the Service needs a claim, unless another has it; then it says who.
func (t *allotment) claim(ref events.Ref) (other string, taken bool) {
	if claim, ok := t.state.Get(ref); ok {
		switch h, known := holderOf(claim); {
		case !known:
			return "another holder of " + ref.Resource + " " + ref.Name, true
		case h.service != t.owner.service:
			return fmt.Sprintf("service %s/%s", h.service.Namespace, h.service.Name), true
		}
	}
	t.needs[ref] = true
	return "", false
}

func (t *allotment) refuse(reason, message string) {
	if t.refusal == nil {
		t.refusal = &metav1.Condition{Type: RefusedCondition, Status: metav1.ConditionTrue, Reason: reason, Message: message,
			ObservedGeneration: t.svc.Generation}
	}
}

// mine says that this very Service holds a claim already, not an earlier one of its name.
func (t *allotment) mine(ref events.Ref) bool {
	claim, ok := t.state.Get(ref)
	h, _ := holderOf(claim)
	return ok && h == t.owner
}

// freeAddress finds an address that the Service had and doesn't name any more, or one that nobody has. Empty: there is none, and it was refused.
func (t *allotment) freeAddress(family corev1.IPFamily) string {
	prefix, ok := t.rangeOf(family)
	if !ok {
		t.refuse("ClusterIPsExhausted", fmt.Sprintf("this cluster has no %s addresses for services", family))
		return ""
	}
	for _, ref := range t.held {
		address, err := netip.ParseAddr(ref.Name)
		if ref.GroupResource() == addressesKind && err == nil && prefix.Contains(address) && t.mine(ref) && !t.needs[ref] {
			return ref.Name
		}
	}
	size := 1 << min(20, prefix.Addr().BitLen()-prefix.Bits())
	for offset := range order(size-1, min(max(16, size/16), 256), t.owner.uid) {
		address := plus(prefix.Addr(), offset)
		if _, taken := t.state.Get(addressClaim(address)); offset > 0 && !taken && !t.needs[addressClaim(address)] {
			return address.String()
		}
	}
	t.refuse("ClusterIPsExhausted", fmt.Sprintf("no address of %s is free (%d claims)", prefix, t.state.Count(addressesKind)))
	return ""
}

func plus(address netip.Addr, n int) netip.Addr {
	bytes := address.AsSlice()
	for i := len(bytes) - 1; i >= 0 && n > 0; i-- {
		n += int(bytes[i])
		bytes[i] = byte(n)
		n >>= 8
	}
	sum, _ := netip.AddrFromSlice(bytes)
	return sum
}

// order gives the numbers below size, those from low on first: from a place that seed decides around to it again, and then the low ones.
func order(size, low int, seed string) iter.Seq[int] {
	return func(yield func(int) bool) {
		if high := size - low; high > 0 {
			h := fnv.New64a()
			_, _ = h.Write([]byte(seed))
			start := int(h.Sum64() % uint64(high))
			for i := range high {
				if !yield(low + (start+i)%high) {
					return
				}
			}
		}
		for i := range min(low, size) {
			if !yield(i) {
				return
			}
		}
	}
}

// allotPorts gives the Service the node ports that its type calls for.
func (t *allotment) allotPorts() {
	spec := &t.svc.Spec
	for i := range spec.Ports {
		if port := spec.Ports[i].NodePort; port != 0 {
			t.claimPort(port)
		}
	}
	if spec.HealthCheckNodePort != 0 {
		t.claimPort(spec.HealthCheckNodePort)
	}
	if !usesNodePorts(spec) {
		return
	}
	if spec.Type == corev1.ServiceTypeNodePort || spec.AllocateLoadBalancerNodePorts == nil || *spec.AllocateLoadBalancerNodePorts {
		for i := range spec.Ports {
			if spec.Ports[i].NodePort == 0 {
				spec.Ports[i].NodePort = sharedPort(spec.Ports, i)
			}
			if spec.Ports[i].NodePort == 0 {
				spec.Ports[i].NodePort = t.freePort()
			}
		}
	}
	if usesHealthPort(spec) && spec.HealthCheckNodePort == 0 {
		spec.HealthCheckNodePort = t.freePort()
	}
}

func (t *allotment) claimPort(port int32) {
	if other, taken := t.claim(portClaim(port)); taken {
		t.refuse("PortAlreadyAllocated", fmt.Sprintf("node port %d belongs to %s", port, other))
	}
}

// sharedPort is the node port of an entry with the same port and another protocol: DNS' 53 over TCP and UDP gets one node port.
func sharedPort(ports []corev1.ServicePort, i int) int32 {
	shared := int32(0)
	for _, p := range ports {
		if p.Port == ports[i].Port && p.NodePort != 0 {
			if p.Protocol == ports[i].Protocol {
				return 0
			}
			shared = p.NodePort
		}
	}
	return shared
}

// freePort claims a port that the Service had and doesn't name any more, or one that nobody has. 0: there is none.
func (t *allotment) freePort() int32 {
	for _, ref := range t.held {
		if port, ok := claimedPort(ref); ok && t.mine(ref) && !t.needs[ref] {
			t.needs[ref] = true
			return port
		}
	}
	for offset := range order(lastNodePort-firstNodePort+1, askedForNodePorts, t.owner.uid) {
		port := int32(firstNodePort + offset)
		ref := portClaim(port)
		if _, taken := t.state.Get(ref); !taken && !t.needs[ref] {
			t.needs[ref] = true
			return port
		}
	}
	t.refuse("NodePortsExhausted", fmt.Sprintf("no node port of %d-%d is free", firstNodePort, lastNodePort))
	return 0
}

// proposals words the allotment: the Service, the claims that it hasn't got yet, its condition.
func (t *allotment) proposals(o *events.Object, now metav1.Time) []events.Proposal {
	var group []events.Proposal
	before := o.Typed().(*corev1.Service)
	if changed := changedAddresses(&before.Spec, &t.svc.Spec); len(changed) > 0 {
		group = append(group, events.Alter(o, t.svc, AddressAssigned, changed...))
	}
	for _, ref := range slices.SortedFunc(maps.Keys(t.needs), compareRefs) {
		if !t.mine(ref) {
			group = append(group, events.Create(t.state, newClaim(t.state, ref, t.owner, now), AddressClaimed))
		}
	}
	return append(group, t.condition(o, now)...)
}

func changedAddresses(before, after *corev1.ServiceSpec) []string {
	var changed []string
	differs := func(path string, a, b any) {
		if !equality.Semantic.DeepEqual(a, b) {
			changed = append(changed, path)
		}
	}
	differs("spec.clusterIP", before.ClusterIP, after.ClusterIP)
	differs("spec.clusterIPs", before.ClusterIPs, after.ClusterIPs)
	differs("spec.healthCheckNodePort", before.HealthCheckNodePort, after.HealthCheckNodePort)
	differs("spec.ipFamilies", before.IPFamilies, after.IPFamilies)
	differs("spec.ipFamilyPolicy", before.IPFamilyPolicy, after.IPFamilyPolicy)
	differs("spec.ports", before.Ports, after.Ports)
	return changed
}

// condition tells of a refusal, or takes it back. The first change of the condition is told to people too.
func (t *allotment) condition(o *events.Object, now metav1.Time) []events.Proposal {
	before := refusalOf(t.svc)
	switch {
	case before == nil && t.refusal == nil,
		before != nil && t.refusal != nil && before.Reason == t.refusal.Reason && before.Message == t.refusal.Message:
		return nil
	case t.refusal == nil:
		t.svc.Status.Conditions = slices.DeleteFunc(t.svc.Status.Conditions, isRefusal)
		return []events.Proposal{events.Observe(o, t.svc, AddressAccepted, "status.conditions")}
	}
	t.refusal.LastTransitionTime = now
	if before != nil {
		t.refusal.LastTransitionTime = before.LastTransitionTime
	}
	t.svc.Status.Conditions = append(slices.DeleteFunc(t.svc.Status.Conditions, isRefusal), *t.refusal)
	note := events.Note{Reason: t.refusal.Reason, Message: t.refusal.Message, Warning: true}
	return []events.Proposal{events.Observe(o, t.svc, AddressRefused, "status.conditions").With(note)}
}

func isRefusal(c metav1.Condition) bool { return c.Type == RefusedCondition }

func refusalOf(svc *corev1.Service) *metav1.Condition {
	if i := slices.IndexFunc(svc.Status.Conditions, isRefusal); i >= 0 {
		return &svc.Status.Conditions[i]
	}
	return nil
}
