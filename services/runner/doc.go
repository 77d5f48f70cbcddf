// Package runner turns deciders into services: it follows the ledger, maps changes to keys, asks the decider and appends what it decided. All
// services share it, and it is the only part of them that knows of time and of the ledger. It guarantees:
//
//   - A decider sees every change in order, and each Decide sees a state that includes everything that the runner itself has appended.
//   - A key is decided again after every change that concerns it, after every conflict, and at the time that the last decision named.
//     Several changes before a decision make one decision.
//   - Each event names the decision that it comes from: actor, key, basis (the state's revision), the time taken as now, and its cause.
//   - Two runners with the same decider on one ledger are safe: guards let one of them win.
//   - A decider that panics costs its key a delay, not the process its life.
//   - A Seat is all of this but the clock, the ledger and the goroutine, so that whatever drives deciders in another time drives the same code.
package runner
