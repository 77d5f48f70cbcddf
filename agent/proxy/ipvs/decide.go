package ipvs

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cloudflare/ipvs"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/proxy"
)

// service is what IPVS holds for a key, as far as it matters here.
type service struct {
	scheduler string
	stickFor  uint32 // seconds; 0: clients don't stick
	flags     ipvs.Flags
	// weights has every endpoint. Those of weight 0 drain.
	weights map[netip.AddrPort]uint32
}

// none says that IPVS holds nothing.
func (s service) none() bool { return s.scheduler == "" }

// drains says whether an endpoint drains.
func (s service) drains() bool {
	for _, weight := range s.weights {
		if weight == 0 {
			return true
		}
	}
	return false
}

// sameSettings compares all but the endpoints.
func (s service) sameSettings(other service) bool {
	return s.scheduler == other.scheduler && s.stickFor == other.stickFor && s.flags == other.flags
}

// hashOnward has a hash that hits an endpoint that drains go on to another one (IP_VS_SVC_F_SCHED_SH_FALLBACK, and mh's).
const hashOnward = ipvs.ServiceSchedulerOpt1

// verb is what an operation does.
type verb string

const (
	addService     verb = "add service"
	changeService  verb = "change service"
	removeService  verb = "remove service"
	addEndpoint    verb = "add endpoint"
	weighEndpoint  verb = "weigh endpoint"
	removeEndpoint verb = "remove endpoint"
)

// operation is one message to IPVS.
type operation struct {
	do       verb
	key      proxy.Key
	service  service        // its settings count
	endpoint netip.AddrPort // of those that name one
	weight   uint32
}

// String shows an operation in one line.
func (o operation) String() string {
	words := string(o.do) + " " + o.key.String()
	switch o.do {
	case addService, changeService:
		words += fmt.Sprintf(" scheduler=%s stick=%ds flags=%#x", o.service.scheduler, o.service.stickFor, uint32(o.service.flags))
	case addEndpoint, weighEndpoint:
		words += fmt.Sprintf(" %s weight=%d", o.endpoint, o.weight)
	case removeEndpoint:
		words += " " + o.endpoint.String()
	}
	return words
}

// decideService gives what IPVS shall hold for a key, and the operations that lead there from what it holds now. Endpoints come before
// others go, so that there is always one to choose. An endpoint that is gone drains by weight 0, but not with UDP,
// where no connection would ever end. A server of nil is gone.
func decideService(key proxy.Key, now service, server *proxy.VirtualServer, scheduler string) (service, []operation) {
	then := service{scheduler: scheduler, weights: map[netip.AddrPort]uint32{}}
	if server != nil {
		then.stickFor = uint32(server.Affinity.Seconds())
		for _, endpoint := range server.Endpoints {
			then.weights[endpoint] = 1
		}
	} else {
		then.stickFor = now.stickFor
	}
	if then.stickFor > 0 {
		then.flags |= ipvs.ServicePersistent
	}
	if scheduler == "sh" || scheduler == "mh" {
		then.flags |= hashOnward
	}
	for endpoint := range now.weights {
		if _, stays := then.weights[endpoint]; !stays && key.Protocol != corev1.ProtocolUDP {
			then.weights[endpoint] = 0
		}
	}
	if len(then.weights) == 0 {
		then = service{}
	}
	return then, decideOperations(key, now, then)
}

// decideOperations gives the operations that lead from one state of a key to another.
func decideOperations(key proxy.Key, now, then service) []operation {
	var ops []operation
	add := func(do verb, endpoint netip.AddrPort) {
		ops = append(ops, operation{do: do, key: key, service: then, endpoint: endpoint, weight: then.weights[endpoint]})
	}
	switch {
	case now.none() && then.none():
		return nil
	case then.none(): // takes its endpoints along
		add(removeService, netip.AddrPort{})
		return ops
	case now.none():
		add(addService, netip.AddrPort{})
	case !now.sameSettings(then):
		add(changeService, netip.AddrPort{})
	}
	var lowered []netip.AddrPort
	for _, endpoint := range sorted(then.weights) {
		before, was := now.weights[endpoint]
		switch after := then.weights[endpoint]; {
		case !was:
			add(addEndpoint, endpoint)
		case after > before:
			add(weighEndpoint, endpoint)
		case after < before:
			lowered = append(lowered, endpoint)
		}
	}
	for _, endpoint := range lowered {
		add(weighEndpoint, endpoint)
	}
	for _, endpoint := range sorted(now.weights) {
		if _, stays := then.weights[endpoint]; !stays {
			add(removeEndpoint, endpoint)
		}
	}
	return ops
}

func sorted(weights map[netip.AddrPort]uint32) []netip.AddrPort {
	return slices.SortedFunc(maps.Keys(weights), netip.AddrPort.Compare)
}

// decideDrained gives what is left of a service when the endpoints that have drained are taken out. idle are those without a connection.
func decideDrained(key proxy.Key, now service, idle map[netip.AddrPort]bool) (service, []operation) {
	then := now
	then.weights = map[netip.AddrPort]uint32{}
	for endpoint, weight := range now.weights {
		if weight > 0 || !idle[endpoint] {
			then.weights[endpoint] = weight
		}
	}
	if len(then.weights) == 0 {
		then = service{}
	}
	return then, decideOperations(key, now, then)
}

// element is one element of the table's sets, or of its map if it has a value.
type element struct{ in, key, value string }

// decideElements gives the elements for a key: what IPVS holds is led there, hidden clients are hidden, and what nobody serves is refused or
// dropped before IPVS sees it.
func decideElements(key proxy.Key, held service, server *proxy.VirtualServer) []element {
	var all []element
	name := elementKey(key)
	if server != nil && server.Guarded {
		all = append(all, element{in: guarded, key: name})
		for _, source := range server.Sources {
			all = append(all, element{in: admitted, key: source.String() + " . " + name})
		}
	}
	if !held.none() {
		all = append(all, element{in: virtual, key: name})
		if server != nil && !server.PreserveSource {
			all = append(all, element{in: external, key: name})
		}
	}
	switch {
	case server == nil && !held.none(): // the last connections drain
		all = append(all, element{unserved, name, "goto refuse"})
	case server != nil && len(server.Endpoints) == 0 && server.Unserved == proxy.Drop:
		all = append(all, element{unserved, name, "drop"})
	case server != nil && len(server.Endpoints) == 0:
		all = append(all, element{unserved, name, "goto refuse"})
	}
	return all
}

// move is how the elements of a key change around a change of IPVS.
type move struct {
	swapped, first []element // to take away and to add before it
	gone           []element // to take away after it
}

// decideMove orders the change: a key is known as ours before IPVS has it and as long as IPVS has it, and new connections are refused until an
// endpoint is there and from before the last one is gone. Where a refusal becomes a drop or the reverse, one replaces the other.
func decideMove(before, after []element) move {
	var m move
	for _, e := range after {
		if slices.Contains(before, e) {
			continue
		}
		m.first = append(m.first, e)
		for _, old := range before {
			if old.in == e.in && old.key == e.key {
				m.swapped = append(m.swapped, old)
			}
		}
	}
	for _, e := range before {
		if !slices.Contains(after, e) && !slices.Contains(m.swapped, e) {
			m.gone = append(m.gone, e)
		}
	}
	return m
}
