// Package conformance is what every events.Ledger must pass. It checks, through the interface alone:
//
//   - Run: guards, batches, pipelines, following, reading, positions in time, set-aside messages, and writers that race.
//   - Restart: what was acknowledged is there after closing and opening again.
//   - Histories: over random histories, folding the whole ledger, a live view and the last event per facet come to the same state.
package conformance
