// Package jetstream is the ledger on NATS JetStream: one stream, whose sequences are the revisions. It guarantees:
//
//   - An event is guarded by its facet's last sequence, and the guard is checked by the stream's leader as the event is stored.
//   - Several proposals of one Append are an atomic batch: all of them or none, with contiguous revisions, even across kill -9.
//   - An append whose acknowledgement is lost is sent again and recognised by its ID: it is never in the ledger twice, and a success is
//     never taken for a conflict.
//   - Who follows never sees a part of an atomic batch.
//   - Follow delivers every event once and in order across reconnects, restarts of the broker and lost messages.
//   - Messages can be read as they are stored; one that the broker can't read leaves a hole and stops nothing. Trimming takes the oldest off and no others.
//   - Messages that aren't events of a known schema are set aside, never an error.
//
// What an acknowledgement means for durability is the broker's matter: see events/broker.
package jetstream
