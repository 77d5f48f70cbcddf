// Package compose asks the cluster of several machines in containers (deploy/docker-compose.yml) whether it keeps what it promises: an application over
// three nodes is reached from everywhere, by address, node port and name; a machine that dies costs requests for seconds and is replaced; any one of the
// control plane's processes may be missing; and the ledger tells the story afterwards. It runs where that cluster does: go tool task cluster:test.
package compose
