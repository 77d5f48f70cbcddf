package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events/nodewire"
)

// Change is what a node learned of policies. Nil stands for what is gone. A full one replaces everything, but for the pods' addresses.
type Change struct {
	Full      bool
	Policies  map[types.NamespacedName]*nodewire.Policy
	Pods      map[types.NamespacedName]*nodewire.PodPolicy
	Peers     map[PeerName]*nodewire.PolicyPeer
	Addresses map[string][]netip.Addr // of the node's pods, by UID
	Bridge    *Bridge                 // where the pods are now; nil: where they were
}

// Bridge is the device that the node's pods are on, empty if they are on none, and the networks that their addresses are of.
type Bridge struct {
	Device string
	Nets   []netip.Prefix
}

func (b Bridge) equal(other Bridge) bool {
	return b.Device == other.Device && slices.Equal(b.Nets, other.Nets)
}

// PeerName names a member of a group.
type PeerName struct{ Group, Name string }

// Empty says that there is nothing to learn.
func (c *Change) Empty() bool {
	return !c.Full && c.Bridge == nil && len(c.Policies)+len(c.Pods)+len(c.Peers)+len(c.Addresses) == 0
}

// Add takes in an object of a slice, if it has to do with policies.
func (c *Change) Add(o nodewire.Object) error {
	name := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
	switch o.Resource {
	case nodewire.Policies:
		return add(&c.Policies, name, o)
	case nodewire.PodPolicies:
		return add(&c.Pods, name, o)
	case nodewire.PolicyPeers:
		return add(&c.Peers, PeerName{o.Namespace, o.Name}, o)
	}
	return nil
}

func add[K comparable, V any](to *map[K]*V, key K, o nodewire.Object) error {
	if *to == nil {
		*to = map[K]*V{}
	}
	(*to)[key] = nil
	if o.Deleted {
		return nil
	}
	v := new(V)
	if err := json.Unmarshal(o.Data, v); err != nil {
		delete(*to, key)
		return fmt.Errorf("reading what is known of %s %s/%s: %w", o.Resource, o.Namespace, o.Name, err)
	}
	(*to)[key] = v
	return nil
}

// Place notes the addresses of a pod; none: it has none any more.
func (c *Change) Place(uid string, addresses []netip.Addr) {
	if c.Addresses == nil {
		c.Addresses = map[string][]netip.Addr{}
	}
	c.Addresses[uid] = addresses
}
