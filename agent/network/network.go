package network

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Routing is how packets get to other nodes.
type Routing string

// The ways. Auto takes the direct one where there is one.
const (
	Auto   Routing = "auto"
	Direct Routing = "direct"
	VXLAN  Routing = "vxlan"
)

// ParseRouting reads a Routing; empty is Auto.
func ParseRouting(text string) (Routing, error) {
	switch r := Routing(cmp.Or(text, string(Auto))); r {
	case Auto, Direct, VXLAN:
		return r, nil
	}
	return "", fmt.Errorf("%q is no way of routing between nodes: say auto, direct or vxlan", text)
}

// Config says whose part of which network this is.
type Config struct {
	Mark    string     // tells this node's devices and rules from those of others on the machine
	Cluster string     // its ID, the same on all nodes
	Node    string     // its name in the cluster
	NodeIP  netip.Addr // where other nodes reach this one
	Routing Routing    // empty: Auto
	Log     *slog.Logger
}

// Peer is another node of the cluster.
type Peer struct {
	Name   string
	Ranges []netip.Prefix // of its pods
	Addrs  []netip.Addr   // its own
}

// Local is where the node's own pods are.
type Local struct {
	Ranges   []netip.Prefix
	Gateways []netip.Addr // the node's own address in each of them
	Device   string       // the bridge
}

// ErrNotReady is why nothing can be attached yet.
var ErrNotReady = errors.New("the node has no addresses for its pods yet")

// Network is a node's pod network. It is safe for concurrent use, and works in the network namespace of the process.
type Network struct {
	config Config
	log    *slog.Logger
	names  names
	leases leases
	ports  hostPorts
	rules  *rules
	wanted chan struct{} // holds a token when the kernel is to be compared with what it should have

	kernel sync.Mutex // held while the kernel is changed by more than one pod's attachment

	mu    sync.Mutex
	local Local // no ranges: not known yet
	mtu   int   // of pods' interfaces
	peers map[string]Peer
	known bool // peers are: a process that has just begun doesn't take away what it hasn't heard of yet

	tunnelled bool // some peer's pods are reached through the tunnel

	way map[netip.Prefix]bool // how a peer's range was reached last: directly, or not; the mutex kernel guards it
}

// names are those of a node's devices and rules.
type names struct{ bridge, vxlan, table string }

// deviceBytes is how much of an interface's name is left after the prefix.
const deviceBytes = 8

func namesOf(mark string) names {
	short := mark
	if len(short) > deviceBytes {
		sum := sha256.Sum256([]byte(mark))
		short = strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:deviceBytes])
	}
	return names{bridge: "wbr-" + short, vxlan: "wvx-" + short, table: "wake-" + short + "-pods"}
}

// Bridge is the name of the bridge of a node with this mark.
func Bridge(mark string) string { return namesOf(mark).bridge }

// New returns the network of a node. It touches nothing yet, but knows what an earlier process has left: see Local.
func New(config Config) (*Network, error) {
	if config.Mark == "" || config.Node == "" || !config.NodeIP.IsValid() {
		return nil, fmt.Errorf("the pod network needs a mark, the node's name and its address, and has %q, %q and %s", config.Mark, config.Node, config.NodeIP)
	}
	config.Routing = cmp.Or(config.Routing, Auto)
	n := &Network{config: config, log: config.Log, names: namesOf(config.Mark), wanted: make(chan struct{}, 1), peers: map[string]Peer{}, way: map[netip.Prefix]bool{}}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if n.rules, err = openRules(n.names.table); err != nil {
		return nil, err
	}
	if n.mtu, err = linkMTU(config.NodeIP); err != nil {
		return nil, err
	}
	ranges, err := bridgeRanges(n.names.bridge)
	if err != nil {
		return nil, err
	}
	n.setLocal(ranges)
	return n, nil
}

// setLocal takes over the node's ranges; nil if there are none.
func (n *Network) setLocal(ranges []netip.Prefix) {
	local := Local{Device: n.names.bridge}
	for _, r := range ranges {
		local.Ranges = append(local.Ranges, r.Masked())
		local.Gateways = append(local.Gateways, r.Masked().Addr().Next())
	}
	n.mu.Lock()
	n.local = local
	n.mu.Unlock()
	n.leases.serve(local.Ranges)
}

// Local is where the node's pods are now; without ranges, as long as the node has none.
func (n *Network) Local() Local {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.local
}

// Use gives the node its ranges, and returns when its pods can be attached: IPv4 first, one of each family at most.
func (n *Network) Use(ctx context.Context, ranges []netip.Prefix) error {
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b netip.Prefix) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	if len(ranges) == 0 || len(ranges) > 2 || len(ranges) == 2 && ranges[0].Addr().BitLen() == ranges[1].Addr().BitLen() {
		return fmt.Errorf("the node's pod ranges are %v, want one, or one of each family", ranges)
	}
	if err := n.free(ranges); err != nil {
		return err
	}
	n.setLocal(ranges)
	return n.Reconcile(ctx)
}

// free refuses ranges that something else on the machine uses.
func (n *Network) free(ranges []netip.Prefix) error {
	for _, r := range ranges {
		by, err := usedBy(r, n.names.bridge)
		if err != nil {
			return err
		}
		if by != "" {
			return fmt.Errorf("this node's pods have the addresses %s, which this machine uses at %s already: take that away, or start the cluster with another --cluster-cidr", r, by)
		}
	}
	return nil
}

// SetPeers replaces what is known of the other nodes.
func (n *Network) SetPeers(peers []Peer) {
	known := make(map[string]Peer, len(peers))
	for _, p := range peers {
		known[p.Name] = p
	}
	n.mu.Lock()
	n.peers, n.known = known, true
	n.mu.Unlock()
	n.nudge()
}

// nudge asks for a comparison.
func (n *Network) nudge() {
	select {
	case n.wanted <- struct{}{}:
	default:
	}
}

// vethName is the name of a sandbox's interface on the node's side.
func vethName(sandbox string) string { return "wv" + sandbox[:min(len(sandbox), 13)] }

// macOf is the hardware address of who has an address: always the same, so that nobody remembers an older one.
func macOf(address netip.Addr) []byte {
	if address.Is4() {
		bytes := address.As4()
		return append([]byte{0x0a, 0x58}, bytes[:]...)
	}
	return hashedMAC(address.String())
}

// hashedMAC is a locally administered hardware address that follows from a text.
func hashedMAC(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return append([]byte{0x0e}, sum[:5]...)
}

// vni separates clusters whose nodes share machines or links.
func vni(cluster string) int {
	sum := sha256.Sum256([]byte(cluster))
	return int(sum[0])<<16 | int(sum[1])<<8 | int(sum[2]) | 1
}

// short is the beginning of an ID for people.
func short(id string) string {
	if _, err := hex.DecodeString(id); err == nil && len(id) > 12 {
		return id[:12]
	}
	return id
}
