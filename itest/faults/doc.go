// Package faults breaks machines, links and processes of a cluster under traffic, and counts the requests that fail. The cluster is three nodes and a control plane of
// many processes on three more machines; requests come from outside of the cluster by a node port, and from a pod by a cluster IP, 50 a second each, each over a
// connection of its own and never twice. What came out is in docs/faults.md, which "go tool task faults" writes. Each fault is a test, of which all hold:
//
//   - What breaks of the control plane, and agents and dockerd on nodes, fails no request: the data path goes on with what it knew last.
//   - When it comes back no endpoint has changed because of it, and no container was started again.
//   - A node that is gone costs the requests that its pods would have answered, until 5 s after the ledger says NodeLost at the latest.
package faults
