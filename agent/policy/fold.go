package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events/nodewire"
)

// fold holds what is known of policies, and the ruleset that follows from it.
type fold struct {
	policies  map[types.NamespacedName]*nodewire.Policy
	pods      map[types.NamespacedName]*isolated
	byUID     map[string]types.NamespacedName
	peers     map[PeerName]*nodewire.PolicyPeer
	addresses map[string][]netip.Addr // of pods, by UID
	owners    map[netip.Addr]string   // UIDs
	shared    map[string]*sharedChain
	naming    map[types.NamespacedName]map[string]bool // the shared chains that name a policy
	*ruleset
}

// isolated is a pod that policies isolate, and what is in the ruleset for it.
type isolated struct {
	*nodewire.PodPolicy
	entries []entry
	chains  []string // shared
}

// sharedChain is the chain of the pods that the same policies isolate in a direction.
type sharedChain struct {
	direction
	policies []types.NamespacedName
	users    int
}

func newFold() *fold {
	return &fold{
		policies: map[types.NamespacedName]*nodewire.Policy{}, pods: map[types.NamespacedName]*isolated{}, byUID: map[string]types.NamespacedName{},
		peers: map[PeerName]*nodewire.PolicyPeer{}, addresses: map[string][]netip.Addr{}, owners: map[netip.Addr]string{},
		shared: map[string]*sharedChain{}, naming: map[types.NamespacedName]map[string]bool{}, ruleset: newRuleset(),
	}
}

// apply takes a change in; its cost grows with what it names. A full change gives a new fold.
func (f *fold) apply(c Change) *fold {
	if c.Full {
		next := newFold()
		next.addresses, next.owners, next.all = f.addresses, f.owners, true
		f = next
	}
	for name, p := range c.Policies {
		f.setPolicy(name, p)
	}
	for name, p := range c.Peers {
		f.setPeer(name, p)
	}
	for uid, addresses := range c.Addresses {
		f.place(uid, addresses)
	}
	for name, p := range c.Pods {
		f.setPod(name, p)
	}
	return f
}

func (f *fold) setPolicy(name types.NamespacedName, p *nodewire.Policy) {
	before := f.policies[name]
	if p == nil {
		delete(f.policies, name)
	} else {
		f.policies[name] = p
	}
	for _, d := range []direction{ingress, egress} {
		if p == nil {
			f.dropChain(policyChainOf(d, name))
		} else {
			rules, sets := chainOf(d, rulesOf(p, d))
			f.setChain(policyChainOf(d, name), chain{comment: name.String(), rules: rules})
			for _, s := range sets {
				f.use(s, 1)
			}
		}
		if before != nil {
			_, sets := chainOf(d, rulesOf(before, d))
			for _, s := range sets {
				f.use(s, -1)
			}
		}
	}
	if (before == nil) != (p == nil) {
		for _, chainName := range sorted(f.naming[name]) {
			f.writeShared(chainName)
		}
	}
}

func rulesOf(p *nodewire.Policy, d direction) []nodewire.PolicyRule {
	if d == ingress {
		return p.Ingress
	}
	return p.Egress
}

func policyChainOf(d direction, name types.NamespacedName) string {
	return d.name + policyChain + short(name.String())
}

func (f *fold) setPeer(name PeerName, p *nodewire.PolicyPeer) {
	before := f.peers[name]
	if p == nil {
		delete(f.peers, name)
	} else {
		f.peers[name] = p
		for _, e := range entriesOf(name.Group, p) {
			f.add(e)
		}
	}
	if before != nil {
		for _, e := range entriesOf(name.Group, before) {
			f.remove(e)
		}
	}
}

func entriesOf(group string, p *nodewire.PolicyPeer) (entries []entry) {
	for _, addr := range p.Addresses {
		if p.Port == nil {
			entries = append(entries, entry{set: groupSet + group + familyOf(addr).suffix, key: addr.String()})
		} else {
			entries = append(entries, entry{set: targetSet + group + familyOf(addr).suffix, key: portKey(addr, *p.Port)})
		}
	}
	return entries
}

func portKey(addr netip.Addr, p nodewire.PolicyPort) string {
	return fmt.Sprintf("%s . %s . %d", addr, strings.ToLower(string(p.Protocol)), p.Port)
}

// place takes over the addresses of a pod. They may have been another's, who has ended without our having seen it.
func (f *fold) place(uid string, addresses []netip.Addr) {
	if slices.Equal(f.addresses[uid], addresses) {
		return
	}
	for _, addr := range f.addresses[uid] {
		if f.owners[addr] == uid {
			delete(f.owners, addr)
		}
	}
	delete(f.addresses, uid)
	for _, addr := range addresses {
		if other := f.owners[addr]; other != "" && other != uid {
			f.addresses[other] = slices.DeleteFunc(slices.Clone(f.addresses[other]), func(a netip.Addr) bool { return a == addr })
			f.refresh(other)
		}
		f.owners[addr] = uid
	}
	if len(addresses) > 0 {
		f.addresses[uid] = addresses
	}
	f.refresh(uid)
}

// refresh brings the entries of a pod in line with its addresses.
func (f *fold) refresh(uid string) {
	name, known := f.byUID[uid]
	if p := f.pods[name]; known && p != nil && p.UID == uid {
		f.setPod(name, p.PodPolicy)
	}
}

func (f *fold) setPod(name types.NamespacedName, p *nodewire.PodPolicy) {
	before := f.pods[name]
	if p == nil {
		delete(f.pods, name)
	} else {
		pod := &isolated{PodPolicy: p}
		f.pods[name] = pod
		f.byUID[p.UID] = name
		f.isolate(name.Namespace, pod)
	}
	if before == nil {
		return
	}
	for _, e := range before.entries {
		f.remove(e)
	}
	for _, chainName := range before.chains {
		f.releaseShared(chainName)
	}
	if p == nil || p.UID != before.UID {
		delete(f.byUID, before.UID)
	}
}

// isolate adds what a pod needs to the ruleset.
func (f *fold) isolate(namespace string, p *isolated) {
	jumps := map[string]string{}
	for _, d := range []direction{ingress, egress} {
		names := p.Ingress
		if d == egress {
			names = p.Egress
		}
		if len(names) == 0 {
			continue
		}
		at := f.useShared(d, namespace, names)
		p.chains = append(p.chains, at)
		jumps[d.name] = "jump " + at
	}
	for _, addr := range f.addresses[p.UID] {
		suffix := familyOf(addr).suffix
		for _, d := range []direction{ingress, egress} {
			if jumps[d.name] != "" {
				p.entries = append(p.entries, entry{d.name + suffix, addr.String(), jumps[d.name]}, entry{isolatedSet + d.name + suffix, addr.String(), ""})
			}
		}
		p.entries = append(p.entries, entry{selfSet + suffix, addr.String() + " . " + addr.String(), ""})
		for _, port := range p.Ports {
			p.entries = append(p.entries, entry{namedSet(port.Protocol, port.Name) + suffix, portKey(addr, port), ""})
		}
	}
	for _, e := range p.entries {
		f.add(e)
	}
}

func (f *fold) useShared(d direction, namespace string, names []string) string {
	at := d.name + sharedChains + short(namespace+"/"+strings.Join(names, ","))
	s := f.shared[at]
	if s == nil {
		s = &sharedChain{direction: d}
		f.shared[at] = s
		for _, name := range names {
			policy := types.NamespacedName{Namespace: namespace, Name: name}
			s.policies = append(s.policies, policy)
			if f.naming[policy] == nil {
				f.naming[policy] = map[string]bool{}
			}
			f.naming[policy][at] = true
		}
		f.writeShared(at)
	}
	s.users++
	return at
}

// writeShared words a shared chain. A policy that isn't known yet allows nothing.
func (f *fold) writeShared(at string) {
	s := f.shared[at]
	var c chain
	for _, name := range s.policies {
		if f.policies[name] != nil {
			c.rules = append(c.rules, "jump "+policyChainOf(s.direction, name))
		}
	}
	f.setChain(at, c)
}

func (f *fold) releaseShared(at string) {
	s := f.shared[at]
	if s.users--; s.users > 0 {
		return
	}
	delete(f.shared, at)
	f.dropChain(at)
	for _, name := range s.policies {
		delete(f.naming[name], at)
		if len(f.naming[name]) == 0 {
			delete(f.naming, name)
		}
	}
}
