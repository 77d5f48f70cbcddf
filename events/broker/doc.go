// Package broker is the NATS server inside the process: the ledger's stream lies in its JetStream, and the nodes speak through it. It
// guarantees:
//
//   - The ledger and the nodes live in accounts of their own. No message crosses, so nothing that a node sends can reach the
//     ledger's stream or the API that governs it.
//   - One directory serves one process. A second one is refused with the first's pid; kill -9 frees the directory at once.
//   - Nothing listens on a port unless Config.Listen says so. In-process connections need neither port nor password.
//   - Nodes from outside come through a Gate: over TLS, with a certificate, into the nodes' account, to the subjects of one node, as long as they are
//     admitted. Their answers reach nobody else, their messages carry no instructions to the broker, and what they send beyond their
//     limits delays nobody but themselves.
//   - A write that fails (a full disk) stops appends, not reads: from then on appends are answered with the cause and the remedy,
//     and the broker restarts itself in place as soon as the directory can be written again. Connections reconnect on their own.
//   - What was acknowledged survives kill -9. Config.SyncAlways makes it survive a crash of the operating system too;
//     otherwise such a crash may lose what was appended within the last SyncInterval.
package broker
