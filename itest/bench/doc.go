// Package bench measures what takes several packages: services at work on a real ledger. Its benchmarks guarantee:
//
//   - The broker is real and its files are on disk; nothing between a decision and what the view shows of it is left out.
//   - Rates are told with the processor time that they cost, since only the latter means much on a machine that others use too.
package bench
