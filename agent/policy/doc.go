// Package policy enforces network policies on a node, by nftables. The feed has resolved them (events/nodewire), so that a policy is a few sets of
// addresses here, and a pod a few elements of maps: an update is one transaction of what changed, whatever else exists.
//
//		ingress-4         address : jump pods-ingress-<id>; those are shared by pods that the same policies isolate. Likewise egress-4, and -6
//		isolated-ingress-4  the same addresses: what no policy has accepted is dropped
//		ingress-<id>      chain of a policy: a rule for each way in which a peer and a port may match
//		group-<id>-4      addresses of peers that are chosen alike
//		target-<id>-4     address . protocol . port of peers that have a port of some name
//		port-tcp-http-4   address . protocol . port of the isolated pods' own ports of a name
//		self-4            address . address: what a pod says to itself is nobody's business
//
//	  - Packets are judged where they are forwarded, after services' addresses were translated and before clients are hidden behind the node. What
//	    IPVS translates is judged where it leaves. What the node itself says or hears isn't judged at all.
//	  - Each packet of a connection from the client on is judged, its answers aren't. So a connection that a policy newly forbids stands still at once.
//	  - Pods on one bridge can't bypass that: frames between them are handed to the node, which forwards them, whether or not the kernel has
//	    bridged packets meet netfilter. They don't hear each other's broadcasts and multicasts.
//	  - Place returns when the policies of a pod at its addresses are in the kernel. Before it a pod's containers aren't started.
//	  - Each update is one transaction. A restarted process takes over in one, too: at no moment passes what is forbidden, or is cut what is allowed.
//	    Leftovers and other people's edits disappear in it.
//	  - Nothing outside of the two tables (one for packets, one for frames) is touched.
package policy
