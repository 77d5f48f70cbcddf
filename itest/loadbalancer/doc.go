// Package loadbalancer asks with real packets whether load balancers' addresses are reached from outside the cluster, and go on to be when the node that announces
// one is gone. Nodes are machines of a fabric; clients are on their link and beyond a router.
package loadbalancer
