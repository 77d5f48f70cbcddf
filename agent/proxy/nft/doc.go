// Package nft is the service proxy's nftables backend.
//
// The rules are few and fixed; everything that belongs to a service is elements of maps, so an update is one
// nft transaction of a few elements and its cost doesn't grow with the services that exist:
//
//	servers        address . protocol . port : goto pick-<tcp>-<n> or sticky-<tcp>-<n>, n endpoints to choose from
//	endpoints-tcp  address . port . index : endpoint, index 0 to n-1; likewise -udp, -sctp
//	unserved       address . protocol . port : goto refuse or drop
//	external       address . protocol . port; clients are hidden behind the node's address
//	guarded        address . protocol . port; only clients in admitted may come
//	admitted       network . address . protocol . port
//	learn          address . protocol . port : jump learn-<tcp>-<seconds>, where clients stick to endpoints
//	affinity       client . address . protocol . port : endpoint; the kernel adds these and lets them time out
//
// Chains depend on a transport and a number only (how many endpoints, which timeout) and all services share them.
//
//   - Each update is one transaction: packets see the state before or after it.
//   - Reconcile is one transaction too, and keeps what clients stick to. It doesn't assume anything of what is
//     there, so leftovers of an earlier process and other people's edits disappear.
//   - Only the first packet of a connection meets these rules; conntrack carries the rest. So updates cut
//     nothing, and connections to an endpoint that is gone drain. UDP flows to one, and connections that it has not answered, are forgotten at once.
//   - Traffic between two pods of this node is masqueraded: its answers pass through the node whether or not the
//     kernel shows bridged packets to netfilter.
//   - New connections to service addresses that nobody serves are refused, not left to time out.
//   - An address family has a table of its own.
//   - Nothing outside the backend's own table is touched, but for a route to the service addresses if
//     a pod device is configured.
package nft
