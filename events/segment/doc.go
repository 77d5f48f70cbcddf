// Package segment is the file that a stretch of a ledger is kept in: archive segments, snapshots and exports are of this one format. It guarantees:
//
//   - A file says all by itself: what the last event of every facet was before its first event, the events in order as they were stored, and the hash
//     chain before and after them.
//   - It is written as a stream, without seeking, and read at any place: one facet at one revision takes a few blocks, however long the file.
//   - Every byte is under a checksum. What is damaged is named (file, block, revisions) and never taken for something else; the rest stays readable. A file
//     that ends early is recognised as it is opened.
//   - Writing the same again gives the same bytes.
//   - An event whose payload was dropped or replaced keeps its digest, so that the chain over it can still be checked.
//
// A file is a magic number, frames, and a trailer that tells where the directory is. A frame is a header of fixed size (kind, sizes, how many records, which
// revisions, checksum) and a zstd block: the file's Header; the state, ordered by subject; notes; events; the index (subject to revisions), ordered by subject;
// and the directory with the Footer and where every block is.
package segment
