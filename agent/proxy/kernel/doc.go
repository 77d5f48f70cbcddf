// Package kernel does what the service proxy's backends need of the kernel beside their own rules.
//
//   - UDP flows to an endpoint that is gone are forgotten: conntrack would keep them there as long as they go on. So are TCP connections that it has not
//     answered: the client's next try goes to another. No other flows are.
//   - The node itself reaches service addresses by a route to the pods' bridge, also without a default route.
//   - Whether others have changed an nftables table is known at the cost of a message, by the generation that each transaction begins.
//   - All of it happens in the network namespace of the calling thread.
package kernel
