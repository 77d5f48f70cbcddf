// Package verify holds services/verify to its word on real histories: all services, run by real runners on a ledger on which everything goes wrong, in
// several processes that are killed at random, with users, nodes and pods that come and go.
package verify
