package loadbalancer

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas/addresspool"
)

// The annotations by which a Service asks for a pool or for addresses (one of each family, apart by a comma), with the names that MetalLB has for them.
const (
	PoolAnnotation      = "wake.dev/load-balancer-pool"
	AddressesAnnotation = "wake.dev/load-balancer-ips"
	metalPool           = "metallb.io/address-pool"
	metalAddresses      = "metallb.io/loadBalancerIPs"
)

// maxTried is how many addresses of a range are looked at.
const maxTried = 1 << 16

// allotment is what becomes of one Service.
type allotment struct {
	state *events.State
	owner holder
	svc   *corev1.Service
	held  []events.Ref

	pools   []addresspool.Pool
	broken  string            // what is wrong with the pools' configuration
	ranges  []netip.Prefix    // of cluster IPs, which no load balancer may have
	refusal *metav1.Condition // the first
}

func familyOf(address netip.Addr) corev1.IPFamily {
	if address.Is6() {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// read reads the pools.
func (a *allotment) read() {
	a.ranges = a.state.ServiceRanges()
	o, ok := a.state.Get(events.Ref{Resource: configMaps.Resource, Namespace: addresspool.Namespace, Name: addresspool.ConfigMap})
	if !ok {
		return
	}
	pools, errs := addresspool.Parse(o.Typed().(*corev1.ConfigMap).Data)
	a.pools = pools
	if len(errs) > 0 {
		a.broken = errs.ToAggregate().Error()
	}
}

func (a *allotment) refuse(reason, format string, args ...any) {
	if a.refusal == nil {
		a.refusal = &metav1.Condition{Status: metav1.ConditionTrue, Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
}

// mine says that this very Service holds a claim already, not an earlier one of its name.
func (a *allotment) mine(ref events.Ref) bool {
	claim, ok := a.state.Get(ref)
	h, _ := holderOf(claim)
	return ok && h == a.owner
}

func (a *allotment) annotation(ours, theirs string) string {
	return cmp.Or(a.svc.Annotations[ours], a.svc.Annotations[theirs])
}

// allot gives the addresses that the Service is to have: of each of its families one. None if it is refused what it can't do without.
func (a *allotment) allot() []netip.Addr {
	families := a.svc.Spec.IPFamilies
	if len(families) == 0 {
		families = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	wishes, ok := a.wishes()
	if !ok {
		return nil
	}
	var addresses []netip.Addr
	var misses int
	for _, family := range families {
		address, ok := a.address(family, wishes)
		if ok {
			addresses = append(addresses, address)
		} else {
			misses++
		}
	}
	prefers := a.svc.Spec.IPFamilyPolicy != nil && *a.svc.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyPreferDualStack
	switch {
	case misses == 0, prefers && len(addresses) > 0, len(wishes) > 0 && len(addresses) == len(wishes):
		a.refusal = nil
		return addresses
	}
	return nil
}

// wishes are the addresses that the Service asks for; false if it can't be understood.
func (a *allotment) wishes() ([]netip.Addr, bool) {
	text := cmp.Or(a.annotation(AddressesAnnotation, metalAddresses), a.svc.Spec.LoadBalancerIP)
	if text == "" {
		return nil, true
	}
	var wishes []netip.Addr
	for part := range strings.SplitSeq(text, ",") {
		address, err := netip.ParseAddr(strings.TrimSpace(part))
		if err != nil {
			a.refuse("InvalidAddress", "%q is no IP address", part)
			return nil, false
		}
		if !slices.Contains(a.svc.Spec.IPFamilies, familyOf(address)) {
			a.refuse("InvalidAddress", "%s is %s, and the service has %s only", address, familyOf(address), a.svc.Spec.IPFamilies)
			return nil, false
		}
		wishes = append(wishes, address)
	}
	return wishes, true
}

// address gives the Service's address of a family: the one that it asks for, the one that it has, or a free one.
func (a *allotment) address(family corev1.IPFamily, wishes []netip.Addr) (netip.Addr, bool) {
	if len(wishes) > 0 {
		i := slices.IndexFunc(wishes, func(w netip.Addr) bool { return familyOf(w) == family })
		if i < 0 {
			return netip.Addr{}, false
		}
		return wishes[i], a.may(wishes[i])
	}
	wanted := a.annotation(PoolAnnotation, metalPool)
	for _, ref := range a.held {
		address, err := netip.ParseAddr(ref.Name)
		if err != nil || familyOf(address) != family || !a.mine(ref) {
			continue
		}
		pool, ok := a.poolOf(address)
		if !ok && a.broken != "" || ok && pool.Serves(a.svc.Namespace) && (wanted == "" || wanted == pool.Name) {
			return address, true
		}
	}
	return a.free(family, wanted)
}

func (a *allotment) poolOf(address netip.Addr) (addresspool.Pool, bool) {
	for _, pool := range a.pools {
		if pool.Contains(address) && !slices.ContainsFunc(a.ranges, func(p netip.Prefix) bool { return p.Contains(address) }) {
			return pool, true
		}
	}
	return addresspool.Pool{}, false
}

// may says whether the Service can have the address that it asks for.
func (a *allotment) may(address netip.Addr) bool {
	if a.mine(claimOf(address)) && a.broken != "" {
		return true
	}
	pool, ok := a.poolOf(address)
	switch {
	case !ok:
		a.refuse("AddressNotInPool", "%s is in no pool%s", address, a.hint())
	case !pool.Serves(a.svc.Namespace):
		a.refuse("PoolNotAllowed", "%s is of pool %s, which serves namespaces %s only", address, pool.Name, strings.Join(pool.Namespaces, ", "))
	default:
		other, taken := a.taken(address)
		if taken {
			a.refuse("AddressAlreadyAllocated", "%s belongs to %s", address, other)
		}
		return !taken
	}
	return false
}

// taken says whether another holds an address, and who.
func (a *allotment) taken(address netip.Addr) (other string, taken bool) {
	claim, ok := a.state.Get(claimOf(address))
	if !ok {
		return "", false
	}
	h, known := holderOf(claim)
	if !known {
		return "another holder of ipaddress " + address.String(), true
	}
	return fmt.Sprintf("service %s/%s", h.service.Namespace, h.service.Name), h.service != a.owner.service
}

// free finds an address that nobody has, in the pool that the Service asks for or in any that is open to all.
func (a *allotment) free(family corev1.IPFamily, wanted string) (netip.Addr, bool) {
	var tried []string
	known := false
	for _, pool := range a.pools {
		known = known || pool.Name == wanted
		if wanted == "" && !pool.AutoAssign || wanted != "" && pool.Name != wanted || !pool.Serves(a.svc.Namespace) {
			continue
		}
		for _, r := range pool.Ranges {
			if familyOf(r.First) != family {
				continue
			}
			tried = append(tried, r.String()+" of pool "+pool.Name)
			if address, ok := a.freeIn(pool, r); ok {
				return address, true
			}
		}
	}
	switch {
	case len(tried) > 0:
		a.refuse("PoolExhausted", "no %s address is free in %s: widen a pool in configmap %s/%s, or delete a service", family, strings.Join(tried, ", "),
			addresspool.Namespace, addresspool.ConfigMap)
	case wanted != "" && !known:
		a.refuse("NoSuchPool", "there is no pool %q%s", wanted, a.hint())
	case len(a.pools) == 0:
		a.refuse("NoPool", "no addresses are set aside for load balancers%s", a.hint())
	default:
		a.refuse("NoPool", "no pool has %s addresses for services of namespace %s that don't name it%s", family, a.svc.Namespace, a.hint())
	}
	return netip.Addr{}, false
}

func (a *allotment) freeIn(pool addresspool.Pool, r addresspool.Range) (netip.Addr, bool) {
	address := r.First
	for n := 0; n < maxTried && r.Contains(address); n++ {
		if of, ok := a.poolOf(address); ok && of.Name == pool.Name {
			if _, taken := a.state.Get(claimOf(address)); !taken {
				return address, true
			}
		}
		address = address.Next()
	}
	return netip.Addr{}, false
}

// hint says what there is and what would help.
func (a *allotment) hint() string {
	switch {
	case a.broken != "":
		return fmt.Sprintf(" (configmap %s/%s has errors: %s)", addresspool.Namespace, addresspool.ConfigMap, a.broken)
	case len(a.pools) == 0:
		return fmt.Sprintf(": kubectl -n %s create configmap %s --from-literal=default=<first address>-<last address>", addresspool.Namespace, addresspool.ConfigMap)
	}
	var all []string
	for _, pool := range a.pools {
		all = append(all, pool.String())
	}
	return "; there is " + strings.Join(all, ", ")
}
