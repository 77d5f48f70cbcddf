package faults

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tableFile names the file to write the table to: go tool task faults writes docs/faults.md.
const tableFile = "WAKE_FAULTS"

const preface = `# Faults

What breaks, and what it costs: measured, not estimated. "go tool task faults" wrote this page.

The cluster is three nodes, each with a pod of a service; three brokers, each with a copy of the ledger, on machines of their own; two gateways, services and feeds, and a
keeper. Clients ask the service 50 times a second each, over a new connection each time, with a second to be answered, and never ask again: one from outside of the cluster
by a node port, one from a pod by the cluster IP. A writer changes an object ten times a second, by the other gateway if one doesn't take it. All of it is on one machine of
two cores (` + "`itest/fabric`" + `). Pods leave a node that is unreachable after 5 s (their tolerationSeconds; Kubernetes' default is 300).

A fault's requests are those made while it lasted and for 12 s after it; the longest gap is the longest time without an answer at either client. "Writes stood still" is the
longest time in which no write was taken. "Replaced" are pods that were made anew elsewhere, "restarted" containers of pods that stayed where they were. A request that timed out
while the client itself stood still for 0.3 s, as it does when the whole machine is stopped, is not counted.

| fault | noticed | requests | failed | the last one after it was noticed | longest gap | writes stood still | replaced | restarted |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
`

// tabulating says whether the table is to be written.
func tabulating() bool { return os.Getenv(tableFile) != "" }

// tabulate shows the table, and writes it down if that is asked for.
func tabulate(t *testing.T, rows []row) {
	var table strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&table, "| %s | %s | %d | %d | %s | %s | %s | %d | %d |\n", r.Fault, r.Noticed, r.Requests, r.Failed, r.Last, seconds(r.Gap), seconds(r.Writes), r.Replaced, r.Restarted)
	}
	t.Logf("\n%s", table.String())
	if file := os.Getenv(tableFile); file != "" {
		require.NoError(t, os.WriteFile(file, []byte(preface+table.String()), 0o644))
	}
}
