package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
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
	ctaStatus          = 3
	ctaStatusMask      = 26
	statusSeenReply    = 1 << 1
	nested             = syscall.NLA_F_NESTED
	subsystem          = netlink.ConntrackTable << 8 // NFNL_SUBSYS_CTNETLINK
	// separately is up to how many servers are looked up one by one.
	separately = 16
)

// flow is a flow of the kernel's.
type flow struct {
	to       proxy.Key      // where the client sent it
	by       netip.AddrPort // who answers
	answered bool
	tuple    []byte // how the kernel names it
}

// numbers are those of the protocols whose flows are forgotten.
var numbers = map[corev1.Protocol]byte{corev1.ProtocolUDP: syscall.IPPROTO_UDP, corev1.ProtocolTCP: syscall.IPPROTO_TCP}

// ForgetFlows drops the flows to the keys whose endpoint is not among the key's own, if they are UDP's or TCP connections that nobody has answered yet.
// It has the kernel choose the flows: a busy node has many others.
func (Netlink) ForgetFlows(current map[proxy.Key][]netip.AddrPort) error {
	var stale []flow
	keep := func(f flow) {
		endpoints, ours := current[f.to]
		if ours && !slices.Contains(endpoints, f.by) && (f.to.Protocol == corev1.ProtocolUDP || !f.answered) {
			stale = append(stale, f)
		}
	}
	for _, dump := range dumpsFor(current) {
		if err := eachFlow(dump, keep); err != nil {
			return err
		}
	}
	for _, f := range stale {
		req := conntrackRequest(familyOf(f.to.Addr), nl.IPCTNL_MSG_CT_DELETE, syscall.NLM_F_ACK)
		req.AddData(nl.NewRtAttr(nl.CTA_TUPLE_ORIG|nested, f.tuple))
		if _, err := req.Execute(syscall.NETLINK_NETFILTER, 0); err != nil && !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("deleting the flow to %s that goes to %s: %w", f.to, f.by, err)
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

// dump is a question to conntrack: for the flows of a family and a protocol to an address, or to all for the zero value.
type dump struct {
	family   uint8
	protocol corev1.Protocol
	only     netip.AddrPort
}

// dumpsFor are the questions that show all flows to the keys: each separately if they are few.
func dumpsFor(current map[proxy.Key][]netip.AddrPort) (dumps []dump) {
	whole := map[dump]bool{}
	for key := range current {
		if numbers[key.Protocol] == 0 {
			continue
		}
		d := dump{family: familyOf(key.Addr), protocol: key.Protocol}
		if len(current) > separately {
			whole[d] = true
			continue
		}
		d.only = key.Addr
		dumps = append(dumps, d)
	}
	return slices.AppendSeq(dumps, maps.Keys(whole))
}

// eachFlow calls found with the flows that a dump is for, and perhaps with others, and with some perhaps twice. Of TCP they are those without an answer,
// where the kernel can choose so.
func eachFlow(d dump, found func(flow)) error {
	const tries = 5 // a dump that others' changes interrupted may have missed some
	var err error
	for range tries {
		req := conntrackRequest(d.family, nl.IPCTNL_MSG_CT_GET, syscall.NLM_F_DUMP)
		filterDump(req, d.protocol, d.only)
		var malformed error
		err = req.ExecuteIter(syscall.NETLINK_NETFILTER, 0, func(msg []byte) bool {
			f, wanted, err := parseFlow(msg, d.protocol)
			malformed = errors.Join(malformed, err)
			if wanted {
				found(f)
			}
			return true
		})
		if err = errors.Join(err, malformed); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("listing %s flows: %w", d.protocol, err)
	}
	return nil
}

// filterDump has the kernel show a protocol only, and about one destination only unless it is the zero value.
func filterDump(req *nl.NetlinkRequest, protocol corev1.Protocol, only netip.AddrPort) {
	flags := uint32(filterProtocol)
	tuple := nl.NewRtAttr(nl.CTA_TUPLE_ORIG|nested, nil)
	addrs := tuple.AddRtAttr(nl.CTA_TUPLE_IP|nested, nil)
	proto := tuple.AddRtAttr(nl.CTA_TUPLE_PROTO|nested, nil)
	proto.AddRtAttr(nl.CTA_PROTO_NUM, []byte{numbers[protocol]})
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
	if protocol == corev1.ProtocolTCP {
		req.AddData(nl.NewRtAttr(ctaStatus, binary.BigEndian.AppendUint32(nil, 0)))
		req.AddData(nl.NewRtAttr(ctaStatusMask, binary.BigEndian.AppendUint32(nil, statusSeenReply)))
	}
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

// parseFlow reads a connection and says whether it is one of the protocol. The message begins with a header of four bytes.
func parseFlow(msg []byte, protocol corev1.Protocol) (f flow, wanted bool, err error) {
	if len(msg) < nl.SizeofNfgenmsg {
		return flow{}, false, fmt.Errorf("conntrack message of %d bytes", len(msg))
	}
	all, err := attributes(msg[nl.SizeofNfgenmsg:])
	if err != nil {
		return flow{}, false, err
	}
	f.tuple, f.to.Protocol = all[nl.CTA_TUPLE_ORIG], protocol
	_, f.to.Addr, wanted, err = parseTuple(f.tuple, protocol)
	if err != nil || !wanted {
		return flow{}, false, err
	}
	if status := all[ctaStatus]; len(status) == 4 {
		f.answered = binary.BigEndian.Uint32(status)&statusSeenReply != 0
	}
	f.by, _, _, err = parseTuple(all[nl.CTA_TUPLE_REPLY], protocol)
	return f, err == nil, err
}

// parseTuple reads one direction of a connection.
func parseTuple(data []byte, protocol corev1.Protocol) (src, dst netip.AddrPort, wanted bool, err error) {
	tuple, err := attributes(data)
	if err != nil {
		return src, dst, false, err
	}
	ip, ipErr := attributes(tuple[nl.CTA_TUPLE_IP])
	proto, protoErr := attributes(tuple[nl.CTA_TUPLE_PROTO])
	if err := errors.Join(ipErr, protoErr); err != nil {
		return src, dst, false, err
	}
	if !slices.Equal(proto[nl.CTA_PROTO_NUM], []byte{numbers[protocol]}) {
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
