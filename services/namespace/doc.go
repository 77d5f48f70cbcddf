// Package namespace furnishes namespaces and empties them. It reads Namespaces and what lies in them. It writes the "default" ServiceAccount and
// the kube-root-ca.crt ConfigMap, deletions, and the conditions and finalizer of Namespaces. It guarantees:
//
//   - Every active namespace has a "default" ServiceAccount and a ConfigMap with the certificate of the cluster's authority.
//   - A namespace that is being deleted loses all it contains, in steps of bounded size: first what makes pods, then pods, and once these are
//     gone everything else, so that nothing that a running pod relies on goes before it.
//   - It ends when nothing is left, not before. What holds it up stands in its conditions.
//   - What a late writer puts into a namespace that has ended is deleted too.
package namespace

import "github.com/wakehq/wake/events"

// The types of the events that this package writes, beside <Kind>DeletionRequested and <Kind>Deleted.
const (
	ServiceAccountCreated = "ServiceAccountCreated"
	RootCertCreated       = "RootCertificateCreated"
	RootCertRestored      = "RootCertificateRestored"
	ContentRemaining      = "NamespaceContentRemaining"
	Finalized             = "NamespaceFinalized"
	Deleted               = "NamespaceDeleted"
)

// EventTypes is this package's part of the catalogue.
var EventTypes = []events.TypeDoc{
	{Type: ServiceAccountCreated, By: "service:namespace", Meaning: "a namespace got its default ServiceAccount"},
	{Type: RootCertCreated, By: "service:namespace", Meaning: "a namespace got the certificate of the cluster's authority"},
	{Type: RootCertRestored, By: "service:namespace", Meaning: "somebody changed the certificate of the cluster's authority; it is as it was"},
	{Type: ContentRemaining, By: "service:namespace", Meaning: "a namespace that is being deleted waits for what it still contains"},
	{Type: Finalized, By: "service:namespace", Meaning: "a namespace that is being deleted is empty; somebody else's finalizer holds it"},
	{Type: Deleted, By: "service:namespace", Meaning: "an empty namespace ended"},
	{Type: "<Kind>DeletionRequested", By: "service:namespace", Meaning: "the namespace of an object is being deleted; its node or its finalizers still hold it"},
	{Type: "<Kind>Deleted", By: "service:namespace", Meaning: "an object ended with its namespace"},
}
