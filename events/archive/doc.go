// Package archive keeps a ledger's past in files, so that the stream has to hold a window only. It guarantees:
//
//   - Every event is in the stream, in a segment, or in both. What is trimmed off the stream lies durably in segments and under the newest snapshot before.
//   - Segments follow each other without a gap, and each carries the hash chain before and after its events. Two keepers of one stream write the same segments.
//   - A read gives the same whether events are in the stream or in segments, and while the one that reads is overtaken by the keeper. A facet whose last event has
//     left the stream is guarded as before.
//   - The last event of every facet survives, but for objects that ended so long ago that nobody can take them for present any more.
//   - kill -9 at any instant costs work that is done again, nothing else.
//   - A segment from whose events a payload was dropped (superseded observed ones, after Config.ThinAfter) still proves all of them.
package archive
