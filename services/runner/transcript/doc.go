// Package transcript runs deciders without a ledger, a clock or a goroutine, and writes down what they do. It guarantees:
//
//   - A World does what the runner and the ledger do: it folds, asks for keys, decides, checks every guard, and appends a group whole or not
//     at all. What differs is that it does so in an order that the test chooses, and in a time that stands still until told to pass.
//   - The same steps give the same events, to the letter. So a transcript can be kept in a file and compared.
//   - Each seat (a running copy of a decider) sees the ledger only as far as it was told to look, so that decisions on stale states, lost
//     races and restarts can be staged.
//
// Test runs the scripts that a package keeps in testdata; see there for their form.
package transcript
