// Package gateway speaks the Kubernetes API over the ledger. It guarantees:
//
//   - One path serves every kind. What is particular to a kind stands in its row of schemas.Registry; only the few subresources that do
//     something of their own (binding, eviction, log, scale) have code of their own.
//   - A write is answered when it is in the ledger and the gateway's view has folded it, so nobody reads their own past. A write that is
//     refused, that changes nothing or that is a dry run appends nothing.
//   - A write conflicts only with writes of the same facet: who changes a spec never collides with who reports a status. The resourceVersion
//     that an update carries is held against the facet that it writes.
//   - Each event names the user that asked for it ("user:<common name>"), begins a chain of causes and names the revision it was decided on.
//   - Everybody who presents a certificate of the cluster's authority is let in and may do everything; role based access control is not enforced.
//     /healthz, /livez, /readyz and /version are open to all.
//   - Any read takes a moment, a revision, a time or an age such as -10m: before its path (/at/-10m/api/v1/…), in ?at= or in the header Wake-At. It is answered
//     from the state as it was then, ages in tables included. Nothing of the past can be written, but dry runs may be made of it.
//   - Restoring (POST /apis/ledger.wake.dev/v1/restore) appends events in one batch, or none; see package restore.
//
// Metadata belongs to the desired facet. A write to /status therefore changes the status alone, and who manages which status
// field is not recorded in managedFields.
package gateway
