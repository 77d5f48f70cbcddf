// Package memory is the ledger in memory, for tests and simulations. It guarantees:
//
//   - It behaves as events/jetstream does: both pass events/conformance, and events go through their wire form.
//   - Events are kept as they came in, understood or not, and are read so; the oldest can be trimmed.
//   - Faults are drawn from a seed: lost requests and acknowledgements, duplicated requests, conflicts, delays and stalled deliveries. None
//     breaks a promise of events.Ledger.
//   - It uses nothing but channels and timers, so under testing/synctest time is virtual and a test ends when nothing moves any more.
package memory
