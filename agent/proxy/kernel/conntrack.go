package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/proxy"
)

// How the kernel filters a dump of its connections (since 5.8; older kernels dump everything, which costs time only).
// The numbers are those of linux/netfilter/nfnetlink_conntrack.h and of nf_conntrack_netlink.c.
const (
	ctaFilter          = 25
	ctaFilterOrigFlags = 1
	filterDstAddr      = 1 << 1
	filterProtocol     = 1 << 3
	filterDstPort      = 1 << 5
	nested             = syscall.NLA_F_NESTED
	subsystem          = netlink.ConntrackTable << 8 // NFNL_SUBSYS_CTNETLINK
	// separately is up to how many servers are looked up one by one.
	separately = 16
)

// flow is a UDP flow of the kernel.
type flow struct {
	to    netip.AddrPort // where the client sent it
	by    netip.AddrPort // who answers
	tuple []byte         // how the kernel names it
}

// ForgetFlows drops the UDP flows to the keys whose endpoint is not among the key's own. It has the kernel choose the flows: a busy node has many others.
func (Netlink) ForgetFlows(current map[proxy.Key][]netip.AddrPort) error {
	var stale []flow
	find := func(family uint8, only netip.AddrPort) error {
		return eachUDPFlow(family, only, func(f flow) {
			endpoints, ours := current[proxy.Key{Addr: f.to, Protocol: corev1.ProtocolUDP}]
			if ours && !slices.Contains(endpoints, f.by) {
				stale = append(stale, f)
			}
		})
	}
	whole := map[uint8]bool{} // families that are looked at in one go
	for key := range current {
		family := familyOf(key.Addr)
		if len(current) > separately {
			whole[family] = true
		} else if err := find(family, key.Addr); err != nil {
			return err
		}
	}
	for family := range whole {
		if err := find(family, netip.AddrPort{}); err != nil {
			return err
		}
	}
	for _, f := range stale {
		req := conntrackRequest(familyOf(f.to), nl.IPCTNL_MSG_CT_DELETE, syscall.NLM_F_ACK)
		req.AddData(nl.NewRtAttr(nl.CTA_TUPLE_ORIG|nested, f.tuple))
		if _, err := req.Execute(syscall.NETLINK_NETFILTER, 0); err != nil && !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("deleting the flow to %s that %s answers: %w", f.to, f.by, err)
		}
	}
	return nil
}

func familyOf(at netip.AddrPort) uint8 {
	if at.Addr().Is4() {
		return syscall.AF_INET
	}
	return syscall.AF_INET6
}

func conntrackRequest(family uint8, operation, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(subsystem|operation, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return req
}

// eachUDPFlow calls found with a family's UDP flows, those to an address among them, or all for the zero value; some perhaps twice.
func eachUDPFlow(family uint8, only netip.AddrPort, found func(flow)) error {
	const tries = 5 // a dump that others' changes interrupted may have missed some
	var err error
	for range tries {
		req := conntrackRequest(family, nl.IPCTNL_MSG_CT_GET, syscall.NLM_F_DUMP)
		filterDump(req, only)
		var malformed error
		err = req.ExecuteIter(syscall.NETLINK_NETFILTER, 0, func(msg []byte) bool {
			f, isUDP, err := parseFlow(msg)
			malformed = errors.Join(malformed, err)
			if isUDP {
				found(f)
			}
			return true
		})
		if err = errors.Join(err, malformed); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("listing UDP flows: %w", err)
	}
	return nil
}

// filterDump has the kernel show UDP only, and about one destination only unless it is the zero value.
func filterDump(req *nl.NetlinkRequest, only netip.AddrPort) {
	flags := uint32(filterProtocol)
	tuple := nl.NewRtAttr(nl.CTA_TUPLE_ORIG|nested, nil)
	addrs := tuple.AddRtAttr(nl.CTA_TUPLE_IP|nested, nil)
	proto := tuple.AddRtAttr(nl.CTA_TUPLE_PROTO|nested, nil)
	proto.AddRtAttr(nl.CTA_PROTO_NUM, []byte{syscall.IPPROTO_UDP})
	if only.IsValid() {
		flags |= filterDstPort
		if only.Addr().Is4() { // with an IPv6 address the kernel shows all others instead
			flags |= filterDstAddr
			addrs.AddRtAttr(nl.CTA_IP_V4_DST, only.Addr().AsSlice())
		}
		proto.AddRtAttr(nl.CTA_PROTO_DST_PORT, binary.BigEndian.AppendUint16(nil, only.Port()))
	}
	filter := nl.NewRtAttr(ctaFilter|nested, nil)
	filter.AddRtAttr(ctaFilterOrigFlags, binary.NativeEndian.AppendUint32(nil, flags))
	req.AddData(tuple)
	req.AddData(filter)
}

// attributes parses attributes and gives their values by type.
func attributes(data []byte) (map[int][]byte, error) {
	list, err := nl.ParseRouteAttr(data)
	values := make(map[int][]byte, len(list))
	for _, a := range list {
		values[int(a.Attr.Type&^nested)] = a.Value
	}
	return values, err
}

// parseFlow reads a connection and says whether it is a UDP flow. The message begins with a header of four bytes.
func parseFlow(msg []byte) (f flow, isUDP bool, err error) {
	if len(msg) < nl.SizeofNfgenmsg {
		return flow{}, false, fmt.Errorf("conntrack message of %d bytes", len(msg))
	}
	all, err := attributes(msg[nl.SizeofNfgenmsg:])
	if err != nil {
		return flow{}, false, err
	}
	f.tuple = all[nl.CTA_TUPLE_ORIG]
	_, f.to, isUDP, err = parseTuple(f.tuple)
	if err != nil || !isUDP {
		return flow{}, false, err
	}
	f.by, _, _, err = parseTuple(all[nl.CTA_TUPLE_REPLY])
	return f, err == nil, err
}

// parseTuple reads one direction of a connection.
func parseTuple(data []byte) (src, dst netip.AddrPort, isUDP bool, err error) {
	tuple, err := attributes(data)
	if err != nil {
		return src, dst, false, err
	}
	ip, ipErr := attributes(tuple[nl.CTA_TUPLE_IP])
	proto, protoErr := attributes(tuple[nl.CTA_TUPLE_PROTO])
	if err := errors.Join(ipErr, protoErr); err != nil {
		return src, dst, false, err
	}
	if !slices.Equal(proto[nl.CTA_PROTO_NUM], []byte{syscall.IPPROTO_UDP}) {
		return src, dst, false, nil
	}
	side := func(v4, v6, port int) netip.AddrPort {
		bytes := ip[v4]
		if bytes == nil {
			bytes = ip[v6]
		}
		ip, ok := netip.AddrFromSlice(bytes)
		if !ok || len(proto[port]) != 2 {
			err = errors.Join(err, fmt.Errorf("conntrack tuple %x lacks an address or a port", data))
			return netip.AddrPort{}
		}
		return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(proto[port]))
	}
	src = side(nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC, nl.CTA_PROTO_SRC_PORT)
	dst = side(nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST, nl.CTA_PROTO_DST_PORT)
	return src, dst, err == nil, err
}
