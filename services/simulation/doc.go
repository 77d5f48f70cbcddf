// Package simulation runs a cluster in memory, in virtual time: the real deciders on a fork of a state, with nodes that only pretend. It answers
// what would happen if somebody did something. Its nouns: a Simulation is the fork and its time, the outside is what the nodes do, a Question is
// what somebody might do, a Report what would come of it. It guarantees:
//
//   - Nothing is written anywhere: a fork is changed, what it was forked from is not.
//   - Deciders are driven by the runner's own seats: they see every change in order, and every proposal is held against its guard as a ledger does.
//   - One goroutine, no clock and no randomness: the same state, question and deciders give the same events, to the byte.
//   - Time that nothing happens in costs nothing. A node that lives costs one event, not one for each sign of life.
//   - What a manifest means is decided as the gateway does: the same defaults, the same checks, the same words.
//   - A Report tells what differs from letting the cluster alone: what would go on anyway is not laid to the question.
package simulation
