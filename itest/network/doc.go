// Package network tests the pod network across machines: real nodes, real containers, real packets.
package network
