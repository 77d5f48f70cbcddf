// Package trust proves that a ledger is what was written. Writers append concurrently, each under its own guard, so no event can carry the digest of the
// one before it; a notary witnesses the ledger from outside instead, in a directory that is not part of the cluster's data. It guarantees:
//
//   - Every event that was witnessed has its digest in an append-only chain file, and the chain over them is signed in checkpoints (ed25519) that are
//     chained to each other, every few seconds and at a clean stop.
//   - Check names the first revision at which the ledger isn't what was witnessed, and how: dropped, altered, inserted, moved, cut off, gone on from an
//     older copy, unreadable. It also finds that the chain file or the checkpoints were altered, forged or shortened, and tells that from a change of the
//     ledger wherever a checkpoint decides it. It ends in bounded time, however badly the store is damaged.
//   - A record that a signature covers is never overwritten. A break stops the notary, not the cluster; recording goes on once a person accepts the break, in
//     a new chain file, and the acceptance with its reason is signed and listed ever after.
//   - kill -9 at any instant costs at most what was not yet witnessed: torn tails are recognised and dropped, and the ledger still has those events.
//
// What can't be found: a change to events before they were witnessed (about a second after they were stored; while no notary runs, from its stop to its next
// start), or by somebody who can write both directories before they were signed (about ten seconds); a change by somebody who owns the data directory, the trust directory and the signing key (the key lies in the data directory,
// so owning both directories is enough); and that the chain file, the checkpoints and the head were all rolled back together to an earlier state of theirs. A checkpoint
// that a person keeps elsewhere (Mark) finds the last two.
//
// Files in the trust directory: chain-0001 (and the next number after each accepted break), checkpoints (JSON lines; the first pins cluster and
// public key), head (how many lines checkpoints has, at least), lock.
package trust
