// Package pki is the certificate authority that a cluster carries in its data directory. It guarantees:
//
//   - The authority's key never leaves its file, which only its owner can read. It is written whole or not at all.
//   - A server certificate is issued when it is first asked for and again before it expires: a process may run for years.
//   - A client certificate names its user as Kubernetes does: the common name is the user, each organization a group.
//   - A node's certificate names the node and the UID of its Node object, both of the authority's choice, and is good for nothing but being that
//     node. The node's key never leaves the node. Whoever holds the authority's fingerprint can't be deceived about the server.
package pki
