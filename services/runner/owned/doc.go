// Package owned is what every decider that owns objects does alike: find what is its own, bring pods into being, let them end. It is
// pure, as deciders are. It guarantees:
//
//   - An object has at most one controller. Claim adopts only what has none and releases only what its owner's selector left behind.
//   - A pod from a template is complete: it has what the API server's defaulting and admission would have given it.
//   - A generated name follows from what caused it, and is free in the state that it was chosen on.
//   - A pod that runs, or may run, is never removed at once: it is asked to end, and its node says when it has.
package owned
