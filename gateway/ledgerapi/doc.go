// Package ledgerapi serves the ledger's own API, beside Kubernetes', under /apis/ledger.wake.dev/v1/:
//
//	events                                          what happened, oldest first
//	    ?ref=deployments.apps/default/web           only to this object (events.Ref's text form)
//	    ?namespace= ?actor= ?type=                  only in this namespace, by this actor, of this type
//	    ?from= ?to=                                 only from and up to these revisions
//	    ?since= ?until=                             only after and up to these times (RFC 3339, or an age: -10m)
//	    ?tail=20                                    only the last so many
//	    ?objects=1                                  with the object before and after each event
//	    ?follow=1                                   going on with what happens next, until the client leaves
//	history/<group>/<resource>/<namespace>/<name>   the events of one object ("core" is the empty group, "_" no namespace); takes the same parameters
//	causes/<revision>                               the event, then the one that caused it, and so on to the first
//	state?at=<moment>                               every object as it was; ?group= ?resource= ?namespace= narrow it
//	status                                          how far the gateway's view is, and what it could not understand
//
// A moment is a revision, a time or an age. It guarantees:
//
//   - Every answer is a stream of JSON values, one per line: Event, or for state Object. The header Wake-Revision names the revision that the answer is
//     complete up to (not for a stream that follows).
//   - An event's payload is shown only as objects on request, and never a Secret's data.
//   - A bad parameter is refused with a Kubernetes Status, code 400, before anything is answered.
package ledgerapi
