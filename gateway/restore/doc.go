// Package restore works out how to bring back what was: which events, appended now, make the desired state of chosen objects what it was at a moment. Its
// nouns: the selection (one object, a namespace, a kind by labels), the past state and the present one, and the plan, one step per object.
//
//   - Nothing is rewritten: a plan is proposals, each guarded by what it was decided on, to be appended together or not at all.
//   - It is a function of what it is given: no clock, no ledger, no randomness but the UIDs that are asked for.
//   - Restoring what hasn't changed is no step, so that restoring twice is restoring once.
//   - After it, the desired state of what was selected is what it was, but for what an object can't have again: UID, creation time, generation,
//     finalizers and deletion marks, owners that are gone, addresses and node ports that another service has now.
//   - Objects that a controller makes are left to it, unless they are asked for; owner references lead to the owners that are there afterwards.
//   - What ran to its end is not run again, unless that is asked for.
//   - A step that can't be done says why, and then nothing of the plan is done.
//   - No Secret's value is in a plan's words; it is in its proposals.
package restore
