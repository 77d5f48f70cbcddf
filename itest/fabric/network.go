package fabric

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

// The fabric's addresses. Everything on one link is in shared; routed links are of routed, by the machine's number; the outside is beyond the router.
var (
	shared  = netip.MustParsePrefix("10.77.0.0/24")
	outside = netip.MustParsePrefix("192.0.2.0/24")
)

func routed(index int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 78, byte(index), 0}), 24)
}

// host is a host of a link.
func host(link netip.Prefix, number int) netip.Addr {
	a := link.Addr().As4()
	a[3] = byte(number)
	return netip.AddrFrom4(a)
}

// settle gives the machine its addresses. The router is a link's host 1.
func (m *Machine) settle() {
	switch {
	case m.Name == Outside:
		m.net = outside
	case m.f.config.Routed:
		m.net = routed(m.index)
	default:
		m.net = shared
	}
	m.via, m.Addr = host(m.net, 1), host(m.net, 10+m.index)
}

// onBridge says that the machine's link is the bridge.
func (m *Machine) onBridge() bool { return m.net == shared }

// port is the router's end of the machine's link.
func (m *Machine) port() string { return "to-" + m.Name }

// rules are what cuts links. Bridged packets pass the first table, routed ones the second; both may be asked of one.
const rules = `
table bridge fabric {
	set cut { type ifname; }
	set apart { type ifname . ifname; }
	chain in { type filter hook prerouting priority -400; iifname @cut drop; }
	chain across { type filter hook forward priority -400; iifname . oifname @apart drop; }
	chain out { type filter hook postrouting priority 400; oifname @cut drop; }
}
table inet fabric {
	set cut { type ifname; }
	set apart { type ifname . ifname; }
	chain in { type filter hook prerouting priority -400; iifname @cut drop; }
	chain across { type filter hook forward priority -400; iifname . oifname @apart drop; }
	chain out { type filter hook postrouting priority 400; oifname @cut drop; }
}
table netdev fabric {
}
`

// lay makes the router: it forwards between all links, and bridges those that are one.
func (f *Fabric) lay() error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	r := f.built.router
	links := "link add shared type bridge forward_delay 0 stp_state 0\nlink set shared up\naddr add " + host(shared, 1).String() + "/24 dev shared\n"
	if _, err := r.Run(ctx, links, "ip", "-batch", "-"); err != nil {
		return err
	}
	const on = "echo 1 >/proc/sys/net/ipv4/ip_forward; for f in /proc/sys/net/bridge/bridge-nf-call-*; do echo 0 >$f; done"
	if _, err := r.Run(ctx, "", "sh", "-c", on); err != nil {
		return err
	}
	_, err := r.Run(ctx, rules, "nft", "-f", "-")
	return err
}

// plug connects the machine to the router, again with the hardware address that it had before.
func (m *Machine) plug() error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	r := m.f.built.router
	// The end of a link whose other end was on a machine that lost its power may still be about to go.
	_, _ = r.Run(ctx, "", "ip", "link", "delete", m.port())
	link := fmt.Sprintf("link add %s type veth peer name eth0 address 02:77:00:00:00:%02x netns %s\nlink set %[1]s up\n", m.port(), m.index, m.pid())
	if m.onBridge() {
		link += fmt.Sprintf("link set %s master shared\n", m.port())
	} else {
		link += fmt.Sprintf("addr add %s/%d dev %s\n", m.via, m.net.Bits(), m.port())
	}
	// Only the network is the router's here: the other end's process ID is as this machine counts.
	if _, err := call(ctx, link, "nsenter", "-t", r.pid(), "-n", "--", "ip", "-batch", "-"); err != nil {
		return fmt.Errorf("the link of %s: %w", m.Name, err)
	}
	own := fmt.Sprintf("link set eth0 up\naddr add %s/%d dev eth0\nroute add default via %s\n", m.Addr, m.net.Bits(), m.via)
	if _, err := m.Run(ctx, own, "ip", "-batch", "-"); err != nil {
		return fmt.Errorf("the addresses of %s: %w", m.Name, err)
	}
	return nil
}

// Cut breaks the machine's link: nothing comes through any more, and nobody is told.
func (m *Machine) Cut() error { return m.elements("add", "cut", `"`+m.port()+`"`) }

// Heal ends Cut.
func (m *Machine) Heal() error { return m.elements("delete", "cut", `"`+m.port()+`"`) }

// CutTo breaks the way between this machine and another, both ways; either still reaches all others.
func (m *Machine) CutTo(other *Machine) error { return m.elements("add", "apart", between(m, other)) }

// HealTo ends CutTo.
func (m *Machine) HealTo(other *Machine) error {
	return m.elements("delete", "apart", between(m, other))
}

func between(m, other *Machine) string {
	return fmt.Sprintf("%q . %q, %[2]q . %[1]q", m.port(), other.port())
}

// elements changes what is cut, in all tables at once.
func (m *Machine) elements(verb, set, elements string) error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	change := fmt.Sprintf("%s element bridge fabric %s { %s }\n%[1]s element inet fabric %[2]s { %[3]s }\n", verb, set, elements)
	if _, err := m.f.built.router.Run(ctx, change, "nft", "-f", "-"); err != nil {
		return fmt.Errorf("the link of %s: %w", m.Name, err)
	}
	return nil
}

// Shape is how a link is slowed.
type Shape struct {
	// KBits is what comes through in a second, each way, in kilobits. 0: no limit.
	KBits int
	// Loss is how many packets of a hundred get lost, each way.
	Loss int
}

// Slow shapes the machine's link, instead of how it was shaped before. The zero Shape ends it.
func (m *Machine) Slow(s Shape) error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	for _, end := range []struct {
		on     *Machine
		device string
	}{{m.f.built.router, m.port()}, {m, "eth0"}} {
		_, _ = end.on.Run(ctx, "", "tc", "qdisc", "delete", "dev", end.device, "root") // there may be none
		if s.KBits > 0 {
			if _, err := end.on.Run(ctx, "", "tc", strings.Fields(fmt.Sprintf("qdisc add dev %s root tbf rate %dkbit burst 16kb latency 200ms", end.device, s.KBits))...); err != nil {
				return err
			}
		}
	}
	chain := "loss-" + m.Name
	lossy := fmt.Sprintf("add chain netdev fabric %[1]s-in { type filter hook ingress device %[2]q priority 0; }\nadd chain netdev fabric %[1]s-out { type filter hook egress device %[2]q priority 0; }\n"+
		"flush chain netdev fabric %[1]s-in\nflush chain netdev fabric %[1]s-out\n", chain, m.port())
	if s.Loss > 0 {
		for _, way := range []string{"in", "out"} {
			dice := fmt.Sprintf("numgen random mod 100 < %d", s.Loss)
			if s.Loss >= 100 {
				dice = ""
			}
			lossy += fmt.Sprintf("add rule netdev fabric %s-%s %s drop\n", chain, way, dice)
		}
	}
	_, err := m.f.built.router.Run(ctx, lossy, "nft", "-f", "-")
	return err
}
