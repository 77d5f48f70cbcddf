// Package ipvs is the service proxy's IPVS backend.
//
// Each virtual server is an IPVS service in NAT mode, each endpoint a destination of it. Around that stands one small nftables table per
// cluster, whose rules are fixed and whose sets have one element per virtual server, none per endpoint:
//
//	virtual   address . protocol . port; what IPVS serves for this cluster. Also says what is ours after a restart
//	external  address . protocol . port; clients are hidden behind the node's address
//	unserved  address . protocol . port : goto refuse or drop
//	guarded   address . protocol . port; only clients in admitted may come
//	admitted  network . address . protocol . port
//
// No device holds the service addresses. Packets to a member of virtual get a mark that leads them to the node itself, where IPVS takes
// them; so nothing else of the node answers there, nor to ARP, and a port that no service has is refused. The node's own packets to the
// service networks are led by a routing rule.
//
//   - The scheduler is the configuration's choice: rr, wrr, lc, wlc, sh, mh and whatever else the kernel has.
//   - An update costs what changed. A change of endpoints alone is a message to IPVS for each of them and no transaction of nftables.
//   - IPVS has no transactions. Every step leaves a state in which a new connection meets an endpoint of the state before or of the one
//     after, or is refused where either state refuses: endpoints are added before others are taken out, a refusal stands before
//     the last endpoint goes and until after the first has come.
//   - Established connections are never cut. An endpoint that is gone gets weight 0 and stays until its last connection has ended, a
//     service that is gone stays for those too and refuses new ones. Updates and Reconcile take out what has drained.
//   - UDP endpoints that are gone go at once, with their flows.
//   - Clients that stick to an endpoint do so by IPVS' persistence, which a new process finds and leaves as it is.
//   - What adds many services and endpoints, as a start does, is sent in few calls.
//   - Reconcile assumes nothing of what is there: it compares and changes what differs. IPVS services of others are left alone, unless
//     at an address and port of ours or in the service networks.
//   - Settings of the network namespace that IPVS needs (net.ipv4.vs.conntrack, expire_nodest_conn and expire_quiescent_template, and a
//     timeout of established TCP connections as long as conntrack's) stay when the backend is removed.
//
// Some things are as IPVS has them. A client also sticks for as long as IPVS remembers one of its connections, and up to a minute longer. An external IP that isn't an address of the
// node doesn't lead from the node itself to an endpoint that is the node itself. And a client that goes straight to an endpoint from the
// port from which it reached the same endpoint through a service minutes ago gets answers that look like the service's, so it has to
// try again from another port; that takes thousands of connections of both kinds to happen.
//
// A firewall on the node must let packets to service addresses pass its input hook, since that is where IPVS gets them. Requests don't
// pass the forward hook, answers do.
package ipvs
