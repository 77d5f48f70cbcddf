// Package events is the ledger: what has happened to the cluster, in one total order, and the state that follows from it. It
// guarantees:
//
//   - The ledger is the only truth. A State is a fold over events and holds nothing that folding the ledger again would not give.
//   - One number orders everything: an event's Revision is its sequence in the ledger and Kubernetes' resourceVersion.
//   - An object is the sum of up to three facets (Desired, Assigned, Observed). The last event of a facet is that facet's whole
//     state, so the last event per facet gives the present without the past.
//   - An append is accepted only if the facet's last revision is the one that the writer based its decision on; proposals appended
//     together are accepted together or not at all.
//   - Facets carry the object's UID. One that belongs to an earlier object of the same name is never merged into a later one.
//   - A State that was handed out never changes; a View hands out the newest and wakes those who wait for a revision.
//   - An event that can't be understood is set aside and counted. It stops nothing.
//
// Implementations of Ledger: events/jetstream (NATS JetStream) and events/memory (in memory, with fault injection). Both pass
// events/conformance.
package events
