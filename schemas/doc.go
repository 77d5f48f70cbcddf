// Package schemas knows the formats: which kinds of object there are, and for each how it is written down, completed, checked, selected,
// shown and described. Formats are Kubernetes', so the work is done by Kubernetes' own libraries; nothing else in this repository imports
// k8s.io/kubernetes.
//
//   - A kind is a row of a Registry. What is true of all kinds is code once; where a kind differs, its row carries a small function.
//   - A Registry holds no state: it never changes after NewRegistry, but for caches of what is costly to derive. It may be shared.
//   - At the boundary objects are the typed Kubernetes API types of a served version. What comes out of a Prepare method or Decode is
//     always in the kind's storage version, and carries apiVersion and kind.
//   - No method changes an object that it is given, unless its name or comment says so.
//   - Time, identity and chance come in through Write. The one exception are the times in metadata.managedFields, which the library takes
//     from the clock.
//   - Whoever a user's mistake concerns gets it as an *errors.StatusError of apimachinery, in Kubernetes' words.
//   - metadata.resourceVersion is never part of a payload: it is the ledger's to give.
package schemas
