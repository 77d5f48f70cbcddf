// Package behaviour is the suite that every backend of the service proxy passes, with real packets.
//
// Each test builds a small world of network namespaces: a node with a bridge, three pods on that bridge, and a
// client outside that knows the node only. Pods listen for real, the proxy gets Services and
// EndpointSlices, and connections show who answers.
//
//   - The machine's own namespace is never touched. A test's thread lives in its node's namespace, so a backend
//     under test must do its work on the calling goroutine's thread (child processes inherit it).
//   - It needs root, and fails without rather than being skipped.
//   - Measure compares the way through a service with the straight one, in the same world and in turns.
package behaviour
