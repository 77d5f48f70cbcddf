// Package ledgerapi serves the ledger's own API, beside Kubernetes', under /apis/ledger.wake.dev/v1/:
//
//	events                                          what happened, oldest first: Event
//	    ?ref=deployments.apps/default/web           only to this object (events.Ref's text form)
//	    ?namespace= ?kind=deploy,pods ?label=a=b    only to objects in this namespace, of these kinds, with these labels before or after
//	    ?actor=user:ada ?type=PodBound              only by this actor (also "ada", "user", "node:*"), of this type ("Pod*")
//	    ?path=spec.template                         only what changed these fields; may be repeated
//	    ?chain=1042                                 only what has the same first cause as this event
//	    ?notable=1                                  no routine events (RoutineTypes); the trailer Wake-Left-Out counts them
//	    ?from= ?to=                                 only from and up to these revisions
//	    ?since= ?until=                             only after and up to these times (RFC 3339, or an age: -10m)
//	    ?tail=20                                    only the last so many
//	    ?changes=1                                  with the fields that each event changed
//	    ?objects=1                                  with the object before and after each event
//	    ?follow=1                                   going on with what happens next, until the client leaves
//	history/<group>/<resource>/<namespace>/<name>   the events of one object ("core" is the empty group, "_" no namespace); takes the same parameters
//	diff?from=<moment>&to=<moment>                  the net effect between two moments (to now without to): Between, then an ObjectDiff for each object;
//	    ?ref= ?namespace= ?kind= ?label= ?status=1  narrow it, or take status in
//	blame?ref=&at=<moment>                          who set each field of an object last: one Blame; ?status=1 takes status in
//	why?ref=&at=<moment>                            the event that made an object what it is, then what caused that, and so on: Why
//	    ?path=spec.replicas                         the same of a field; it may also follow the name in ref
//	    ?event=1042                                 the same of an event
//	impact?event=1042&at=<moment>                   an event and all that followed from it, oldest first: Event; ?ref= means what was done to an object last
//	causes/<revision>                               the event, then the one that caused it, and so on to the first: Event
//	state?at=<moment>                               every object as it was; ?group= ?resource= ?namespace= narrow it
//	status                                          how far the gateway's view is, and what it could not understand
//
// A moment is a revision, a time or an age. It guarantees:
//
//   - Every answer is a stream of JSON values, one per line, of the type named above, or Object for state. The header Wake-Revision names the revision that the answer is
//     complete up to (not for a stream that follows).
//   - An event's payload is shown only as fields or objects on request, and never a Secret's data.
//   - Fields are the real difference between the object before and after, whatever the event says of itself; those that only keep books (resourceVersion,
//     managedFields, times of conditions) are left out.
//   - What an answer costs follows the events that it goes through; an object is decoded only where something about it is told.
//   - A bad parameter is refused with a Kubernetes Status, code 400, before anything is answered.
package ledgerapi
