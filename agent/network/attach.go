package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Sandbox is what holds a pod's network namespace.
type Sandbox struct {
	ID    string // Docker's
	PID   int    // of a process in it
	Addrs []netip.Addr
	Ports []HostPort
}

// podDevice is the interface in the pod.
const podDevice = "eth0"

// Allocate gives addresses to a sandbox that is to be made, under a name of the caller's; asked again it gives the same.
func (n *Network) Allocate(name string) ([]netip.Addr, error) { return n.leases.allocate(name) }

// Made hands what was allocated under a name to the sandbox that was made.
func (n *Network) Made(name, sandbox string) { n.leases.rename(name, sandbox) }

// Release takes back what was allocated under a name, or what a sandbox has that runs no more.
func (n *Network) Release(name string) {
	n.leases.release(name)
	if n.ports.drop(name) {
		n.nudge()
	}
}

// Claim notes that a sandbox has addresses: it was made by an earlier process, or by a call whose answer was lost. It is an error if another has
// one of them, or if they are not the node's any more.
func (n *Network) Claim(s Sandbox) error {
	if !n.leases.covers(s.Addrs) {
		return fmt.Errorf("the addresses %v of sandbox %s aren't this node's", s.Addrs, short(s.ID))
	}
	return n.leases.claim(s.ID, s.Addrs)
}

// Attached says whether a sandbox that runs has all that Attach gives it.
func (n *Network) Attached(s Sandbox) bool {
	veth, err := netlink.LinkByName(vethName(s.ID))
	if err != nil {
		return false
	}
	bridge, err := netlink.LinkByName(n.names.bridge)
	if err != nil || veth.Attrs().MasterIndex != bridge.Attrs().Index || veth.Attrs().Flags&net.FlagUp == 0 {
		return false
	}
	// What the last process served goes on being served, even if somebody has taken a port meanwhile.
	if changed, err := n.ports.put(s.ID, s.Addrs, s.Ports, false); err == nil && changed {
		n.nudge()
	}
	return true
}

// Attach gives a sandbox that runs its interface, addresses and routes, and leads the node's ports to it. It may be repeated.
func (n *Network) Attach(ctx context.Context, s Sandbox) error {
	local := n.Local()
	if len(local.Ranges) == 0 {
		return ErrNotReady
	}
	if err := n.Claim(s); err != nil {
		return err
	}
	if n.Attached(s) {
		return nil
	}
	bridge, err := netlink.LinkByName(local.Device)
	if err != nil {
		return fmt.Errorf("finding the pods' bridge %s: %w", local.Device, err)
	}
	changed, err := n.ports.put(s.ID, s.Addrs, s.Ports, true)
	if err == nil {
		err = n.wire(s, local, bridge)
	}
	if err != nil {
		n.ports.drop(s.ID)
		return fmt.Errorf("attaching sandbox %s to the pod network: %w", short(s.ID), err)
	}
	if !changed {
		return nil
	}
	if err := n.Reconcile(ctx); err != nil {
		return err
	}
	return forgetFlows(s.Ports)
}

// wire makes the pair of interfaces and puts the node's end on the bridge when the pod's end is ready.
func (n *Network) wire(s Sandbox, local Local, bridge netlink.Link) error {
	ns, err := namespaceOf(s.PID)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	name := vethName(s.ID)
	if half, err := find(name); err != nil {
		return err
	} else if half != nil { // an earlier try didn't come to its end
		if err := netlink.LinkDel(half); err != nil {
			return fmt.Errorf("removing %s: %w", name, err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, n.podMTU()
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: podDevice, PeerHardwareAddr: macOf(s.Addrs[0]), PeerNamespace: netlink.NsFd(ns), PeerMTU: uint32(attrs.MTU)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("creating %s with %s in the pod: %w", name, podDevice, err)
	}
	if err := furnish(ns, s.Addrs, local); err != nil {
		return err
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding %s: %w", name, err)
	}
	return join(link, bridge)
}

// namespaceOf opens the network namespace of a process that isn't in the node's own.
func namespaceOf(pid int) (netns.NsHandle, error) {
	if pid <= 0 {
		return netns.None(), errors.New("the sandbox doesn't run")
	}
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return ns, fmt.Errorf("opening the network namespace of process %d: %w", pid, err)
	}
	own, err := netns.Get()
	if err != nil {
		return netns.None(), errors.Join(err, ns.Close())
	}
	defer func() { _ = own.Close() }()
	if own.Equal(ns) { // the sandbox has ended, and its number belongs to another
		return netns.None(), errors.Join(fmt.Errorf("process %d is in the node's own network namespace", pid), ns.Close())
	}
	return ns, nil
}

// furnish gives the pod's end its addresses and routes.
func furnish(ns netns.NsHandle, addrs []netip.Addr, local Local) error {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("working in the pod's network namespace: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(podDevice)
	if err != nil {
		return fmt.Errorf("finding %s in the pod: %w", podDevice, err)
	}
	for i, a := range addrs {
		address := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, local.Ranges[i].Bits()))}
		if a.Is6() {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrAdd(link, address); err != nil {
			return fmt.Errorf("giving the pod the address %s: %w", a, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("starting %s in the pod: %w", podDevice, err)
	}
	for _, gateway := range local.Gateways[:len(addrs)] {
		if err := h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice()}); err != nil {
			return fmt.Errorf("giving the pod its default route via %s: %w", gateway, err)
		}
	}
	return nil
}

// podMTU is that of an interface made now. Should packets have to go through a tunnel later, pods learn of the narrower way from the node.
func (n *Network) podMTU() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.config.Routing == VXLAN || n.tunnelled {
		return n.tunnelMTU()
	}
	return n.mtu
}
