package ipvs

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"syscall"

	"github.com/cloudflare/ipvs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/wakehq/wake/agent/proxy"
)

// The numbers of linux/ip_vs.h for adding services and endpoints.
const (
	cmdNewService  = 1
	cmdNewDest     = 5
	attrService    = 1
	attrDest       = 2
	svcFamily      = 1
	svcProtocol    = 2
	svcAddress     = 3
	svcPort        = 4
	svcScheduler   = 6
	svcFlags       = 7
	svcTimeout     = 8
	svcNetmask     = 9
	destAddress    = 1
	destPort       = 2
	destForward    = 3
	destWeight     = 4
	destUpperLimit = 5
	destLowerLimit = 6
	destFamily     = 11
)

// inOneCall is how many operations are sent at once: their acknowledgements have to fit into the socket's buffer.
const inOneCall = 64

// addAll carries out operations that add services and endpoints, many in one call of the kernel, which takes them one after the other. The client that does all
// else waits for each, which is most of the time of programming a large cluster. After one that fails the others of its call are carried out all the same.
func addAll(ops []operation) error {
	family, err := netlink.GenlFamilyGet("IPVS")
	if err != nil {
		return fmt.Errorf("finding IPVS: %w", err)
	}
	socket, err := nl.Subscribe(unix.NETLINK_GENERIC)
	if err != nil {
		return fmt.Errorf("opening a socket to IPVS: %w", err)
	}
	defer socket.Close()
	for batch := range slices.Chunk(ops, inOneCall) {
		if err := addBatch(socket, int(family.ID), batch); err != nil {
			return err
		}
	}
	return nil
}

// addBatch sends some operations and waits for what becomes of each.
func addBatch(socket *nl.NetlinkSocket, family int, batch []operation) error {
	var message []byte
	sent := make(map[uint32]operation, len(batch))
	for _, op := range batch {
		req := nl.NewNetlinkRequest(family, unix.NLM_F_ACK)
		if op.do == addService {
			req.AddData(&nl.Genlmsg{Command: cmdNewService, Version: 1})
			req.AddData(newService(op))
		} else {
			req.AddData(&nl.Genlmsg{Command: cmdNewDest, Version: 1})
			req.AddData(serviceName(op.key))
			req.AddData(newEndpoint(op))
		}
		message = append(message, req.Serialize()...)
		sent[req.Seq] = op
	}
	if err := unix.Sendto(socket.GetFd(), message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("sending %d services and endpoints to IPVS: %w", len(batch), err)
	}
	var failed error
	for len(sent) > 0 {
		answers, _, err := socket.Receive()
		if err != nil {
			return fmt.Errorf("hearing from IPVS of %d services and endpoints: %w", len(sent), err)
		}
		for _, answer := range answers {
			op, ours := sent[answer.Header.Seq]
			if !ours || answer.Header.Type != unix.NLMSG_ERROR || len(answer.Data) < 4 {
				continue
			}
			delete(sent, answer.Header.Seq)
			if code := int32(binary.NativeEndian.Uint32(answer.Data)); code != 0 && failed == nil {
				failed = fmt.Errorf("%s: %w", op, syscall.Errno(-code))
			}
		}
	}
	return failed
}

func short(n uint16) []byte           { return binary.NativeEndian.AppendUint16(nil, n) }
func long(n uint32) []byte            { return binary.NativeEndian.AppendUint32(nil, n) }
func portOf(at netip.AddrPort) []byte { return binary.BigEndian.AppendUint16(nil, at.Port()) }

// serviceName names a service.
func serviceName(key proxy.Key) *nl.RtAttr {
	service := nl.NewRtAttr(attrService|unix.NLA_F_NESTED, nil)
	service.AddRtAttr(svcFamily, short(uint16(familyOf(key.Addr.Addr()).number)))
	service.AddRtAttr(svcProtocol, short(uint16(numbers[key.Protocol])))
	service.AddRtAttr(svcAddress, key.Addr.Addr().AsSlice())
	service.AddRtAttr(svcPort, portOf(key.Addr))
	return service
}

// newService words a service with its settings; each client address sticks for itself.
func newService(op operation) *nl.RtAttr {
	netmask := long(math.MaxUint32)
	if bits := familyOf(op.key.Addr.Addr()).bits; bits > 32 {
		netmask = long(uint32(bits))
	}
	service := serviceName(op.key)
	service.AddRtAttr(svcScheduler, nl.ZeroTerminated(op.service.scheduler))
	service.AddRtAttr(svcFlags, append(long(uint32(op.service.flags)), long(math.MaxUint32)...))
	service.AddRtAttr(svcTimeout, long(op.service.stickFor))
	service.AddRtAttr(svcNetmask, netmask)
	return service
}

func newEndpoint(op operation) *nl.RtAttr {
	endpoint := nl.NewRtAttr(attrDest|unix.NLA_F_NESTED, nil)
	endpoint.AddRtAttr(destFamily, short(uint16(familyOf(op.endpoint.Addr()).number)))
	endpoint.AddRtAttr(destAddress, op.endpoint.Addr().AsSlice())
	endpoint.AddRtAttr(destPort, portOf(op.endpoint))
	endpoint.AddRtAttr(destForward, long(uint32(ipvs.Masquerade)))
	endpoint.AddRtAttr(destWeight, long(op.weight))
	endpoint.AddRtAttr(destUpperLimit, long(0))
	endpoint.AddRtAttr(destLowerLimit, long(0))
	return endpoint
}
