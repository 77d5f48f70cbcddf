package proxy

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Key identifies a virtual server: the destination that clients use.
type Key struct {
	Addr     netip.AddrPort
	Protocol corev1.Protocol
}

// String gives the key as 10.96.0.1:80/TCP.
func (k Key) String() string { return k.Addr.String() + "/" + string(k.Protocol) }

// Compare orders keys by address, port and protocol.
func (k Key) Compare(other Key) int {
	return cmp.Or(k.Addr.Compare(other.Addr), strings.Compare(string(k.Protocol), string(other.Protocol)))
}

// Unserved says what a virtual server without endpoints does with a new connection.
type Unserved uint8

const (
	// Reject refuses the connection at once: the service has no endpoint anywhere.
	Reject Unserved = iota
	// Drop ignores the packet: the traffic policy is Local and only other nodes have endpoints, so a load
	// balancer in front should try one of those.
	Drop
)

// VirtualServer is one address that clients use, and the endpoints that share its new connections.
type VirtualServer struct {
	Key
	// Service and Port say whose virtual server it is. Backends need neither.
	Service types.NamespacedName
	Port    string
	// Endpoints are sorted, unique, and of the address family of the key.
	Endpoints []netip.AddrPort
	// Affinity is how long a client address stays with its endpoint after its last new connection; 0 is
	// no affinity.
	Affinity time.Duration
	// PreserveSource demands that endpoints see the client's address (external traffic policy Local).
	PreserveSource bool
	// Guarded says that only clients in Sources may use the server, nobody if there are none. Others aren't answered.
	Guarded bool
	// Sources are sorted, none within another, and of the address family of the key.
	Sources []netip.Prefix
	// Unserved counts when Endpoints is empty.
	Unserved Unserved
}

// Equal says whether both serve the same key in the same way.
func (s VirtualServer) Equal(other VirtualServer) bool {
	return s.Key == other.Key && s.Service == other.Service && s.Port == other.Port && s.Affinity == other.Affinity &&
		s.PreserveSource == other.PreserveSource && s.Unserved == other.Unserved &&
		s.Guarded == other.Guarded && slices.Equal(s.Sources, other.Sources) && slices.Equal(s.Endpoints, other.Endpoints)
}

// State is everything that a node serves. Whoever gets one must not change it or keep its map.
type State struct {
	Servers map[Key]VirtualServer
}

// Diff is what changed between two states, both lists ordered by key.
type Diff struct {
	// Put are servers that are new or differ from before.
	Put []VirtualServer
	// Gone are keys that nothing serves any more.
	Gone []Key
}

// Empty says that nothing changed.
func (d Diff) Empty() bool { return len(d.Put) == 0 && len(d.Gone) == 0 }

// Backend tells one kernel facility what to serve. Its methods are never called concurrently.
//
// Every backend keeps these promises: an established connection is never cut, also when its endpoint is
// gone (it drains); UDP clients leave an endpoint that is gone with their next packet; new connections
// see the state before an update or the one after it, nothing between.
type Backend interface {
	// Reconcile brings the kernel from whatever it is to state: at the start, and after a failure or after
	// somebody meddled. Leftovers of services that are gone disappear.
	Reconcile(ctx context.Context, state State) error
	// Update applies what changed since the last successful Reconcile or Update.
	Update(ctx context.Context, diff Diff) error
	// Intact says, as cheaply as can be, whether the kernel still has what the last successful Reconcile or Update left there. It may miss what
	// somebody replaced by something alike.
	Intact(ctx context.Context) (bool, error)
	// Remove takes everything of this backend out of the kernel, for a node that leaves its cluster.
	Remove(ctx context.Context) error
	// Close releases what the process holds. What is served stays served.
	Close() error
}
