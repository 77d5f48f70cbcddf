package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fatih/color"
	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/gateway/ledgerapi"
)

// evening is when the recorded answers of testdata/changes are read, on the same day.
var evening = time.Date(2026, time.November, 21, 20, 0, 0, 0, time.UTC)

// recorded reads an answer of the ledger's API that was recorded from a cluster.
func recorded[T any](t *testing.T, name string) (out []T) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/changes", name))
	require.NoError(t, err)
	for decoder := json.NewDecoder(bytes.NewReader(data)); decoder.More(); {
		var value T
		require.NoError(t, decoder.Decode(&value))
		out = append(out, value)
	}
	require.NotEmpty(t, out)
	return out
}

// golden compares what is printed with a file; -update writes it.
func golden(t *testing.T, name, printed string) {
	t.Helper()
	file := filepath.Join("testdata/changes", name)
	if *updateGolden {
		require.NoError(t, os.WriteFile(file, []byte(printed), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), printed)
}

// inColor prints as on a terminal.
func inColor(t *testing.T, on bool) {
	t.Helper()
	before := color.NoColor
	color.NoColor = !on
	t.Cleanup(func() { color.NoColor = before })
}

func printedLog(t *testing.T, p *eventPrinter) string {
	t.Helper()
	var out bytes.Buffer
	p.out, p.now = &out, evening
	for _, e := range recorded[event](t, "log.ndjson") {
		require.NoError(t, p.print(e))
	}
	return out.String()
}

func TestLogIsPrinted(t *testing.T) {
	inColor(t, false)
	golden(t, "log.txt", printedLog(t, &eventPrinter{}))
	golden(t, "log-patch.txt", printedLog(t, &eventPrinter{patch: true}))
	stat := &eventPrinter{stat: true}
	text := printedLog(t, stat)
	var end bytes.Buffer
	stat.out = &end
	stat.sum(&end, 3, url.Values{}, false)
	golden(t, "log-stat.txt", text+end.String())
	golden(t, "log.yaml", printedLog(t, &eventPrinter{format: asYAML}))
	lines := strings.Split(strings.TrimSpace(printedLog(t, &eventPrinter{format: asJSON})), "\n")
	require.Len(t, lines, len(recorded[event](t, "log.ndjson")), "an event per line")

	inColor(t, true)
	golden(t, "log-color.txt", printedLog(t, &eventPrinter{patch: true}))
}

func TestLogOfAnotherDaySaysWhich(t *testing.T) {
	inColor(t, false)
	var out bytes.Buffer
	p := &eventPrinter{out: &out, now: evening.AddDate(0, 0, 3)}
	e := recorded[event](t, "log.ndjson")[0]
	require.NoError(t, p.print(e))
	e.Stored = e.Stored.AddDate(0, 0, 1)
	require.NoError(t, p.print(e))
	require.Contains(t, out.String(), "\n2026-11-21\n")
	require.Contains(t, out.String(), "\n2026-11-22\n")
	var end bytes.Buffer
	(&eventPrinter{out: &out}).sum(&end, 0, url.Values{"ref": {"pods/default/x"}}, false)
	require.Equal(t, "No events of pods/default/x match; -n names another namespace.\n", end.String())
}

func TestDiffIsPrinted(t *testing.T) {
	inColor(t, false)
	answer := diffAnswer{}
	lines := recorded[json.RawMessage](t, "diff.ndjson")
	require.NoError(t, json.Unmarshal(lines[0], &answer.Between))
	for _, line := range lines[1:] {
		d := &ledgerapi.ObjectDiff{}
		require.NoError(t, json.Unmarshal(line, d))
		answer.Objects = append(answer.Objects, d)
	}
	for name, o := range map[string]diffOptions{"diff.txt": {}, "diff-all.txt": {all: true, patch: true}, "diff-stat.txt": {stat: true, named: true}} {
		var out bytes.Buffer
		require.NoError(t, o.print(&out, &answer, evening))
		golden(t, name, out.String())
	}
	var out bytes.Buffer
	many := diffAnswer{Between: answer.Between}
	for i := range 5 {
		many.Objects = append(many.Objects, &ledgerapi.ObjectDiff{Ref: ledgerapi.Ref{Resource: "pods", Namespace: "shop", Name: fmt.Sprint("p", i)}, Verb: ledgerapi.VerbPassed,
			Events: []ledgerapi.DiffEvent{{Revision: uint64(i + 7), Actor: "service:replication"}}})
	}
	require.NoError(t, (&diffOptions{}).print(&out, &many, evening))
	require.Equal(t, `± 5 pods in shop  created and deleted in between  5 changes by service:replication (7, 8, 9, 10, 11); --all lists them
5 created and deleted between 11:03:47 (revision 440) and 11:06:48 (620)
`, out.String())
	out.Reset()
	require.NoError(t, (&diffOptions{}).print(&out, &diffAnswer{Between: ledgerapi.Between{From: ledgerapi.Moment{}, To: ledgerapi.Moment{Revision: 7, Time: evening}}}, evening))
	require.Equal(t, "No changes between the beginning (revision 0) and 20:00:00 (7)\n", out.String())
}

func TestBlameIsPrinted(t *testing.T) {
	inColor(t, false)
	answer := recorded[ledgerapi.Blame](t, "blame.json")[0]
	var out bytes.Buffer
	require.NoError(t, printBlame(&out, &answer, evening))
	golden(t, "blame.txt", out.String())
	out.Reset()
	answer.Deleted = &answer.Events[0]
	require.NoError(t, printBlame(&out, &answer, evening.AddDate(0, 0, 1)))
	require.True(t, strings.HasPrefix(out.String(), "deployments/web was deleted at 2026-11-21 10:41:58 by user:kubernetes-admin (event 20); before that it was:\n"), out.String())
}

func TestWhyIsPrinted(t *testing.T) {
	inColor(t, false)
	steps := recorded[ledgerapi.Why](t, "why.ndjson")
	var out bytes.Buffer
	require.NoError(t, printChain(&out, true, steps, evening))
	last := &steps[len(steps)-1]
	last.Lost = 3
	require.NoError(t, printChain(&out, false, steps[len(steps)-1:], evening))
	last.Path = "spec.replicas"
	require.NoError(t, printChain(&out, true, steps[len(steps)-1:], evening))
	golden(t, "why.txt", out.String())
}

func TestImpactIsPrinted(t *testing.T) {
	inColor(t, false)
	list := recorded[event](t, "impact.ndjson")
	answer := impactAnswer{Event: list[0], Consequences: list[1:]}
	for name, o := range map[string]impactOptions{"impact.txt": {}, "impact-depth.txt": {depth: 2}, "impact-all.txt": {all: true}} {
		var out bytes.Buffer
		require.NoError(t, o.print(&out, &answer, evening))
		golden(t, name, out.String())
		if o.all {
			require.Equal(t, len(list)-1, strings.Count(out.String(), "event ")-1, "every event by itself")
		}
	}
	var out bytes.Buffer
	require.NoError(t, (&impactOptions{}).print(&out, &impactAnswer{Event: list[0]}, evening))
	require.Contains(t, out.String(), "Nothing followed from it.")
}

func TestAPlacementIsPrinted(t *testing.T) {
	inColor(t, false)
	why := `{"node":"n1","why":{"nodes":4,"out":{"Insufficient cpu":1,"node(s) had untolerated taint":1},"top":[{"node":"n1","free":90,"mates":-5},{"node":"n22","free":70}],
		"near":[{"node":"n3","lacks":"300Mi of memory"}]}}`
	said := "0/4 nodes are available: 4 Insufficient cpu."
	waiting := `{"recorded":false,"why":{"nodes":4,"out":{"Insufficient cpu":4},"near":[{"node":"n3","lacks":"1 of cpu"}]},"message":"` + said + `",
		"remedies":[{"words":"asking for 1 less of cpu","nodes":["n3"],"effort":1},{"words":"another node"}]}`
	fits := `{"recorded":false,"next":"n9"}`
	var lines []string
	for _, part := range [][]string{placementLines([]byte(why)), placementLines([]byte(`{"node":"n1","why":{"nodes":1}}`)), placementLines([]byte(`{"node":"n1"}`)), placementLines(nil),
		explanationLines([]byte(waiting), said), explanationLines([]byte(waiting), "0/3 nodes are available."), explanationLines([]byte(fits), said), explanationLines(nil, said)} {
		lines = append(append(lines, part...), "")
	}
	golden(t, "placement.txt", strings.Join(lines, "\n"))
}

func TestFieldsArePrinted(t *testing.T) {
	inColor(t, false)
	text := "a\nb\nc\nd\ne\nf\ng\n"
	golden(t, "fields.txt", strings.Join(patchLines([]ledgerapi.Field{
		{Path: "spec.replicas", Before: 3., After: 5.},
		{Path: "spec.paused", After: true},
		{Path: "metadata.labels.app", Before: "web"},
		{Path: "spec.empty", Before: "", After: " x "},
		{Path: "data.pin", Before: "(hidden)", After: "(hidden)", Secret: true},
		{Path: "data.new", After: "(hidden)", Secret: true},
		{Path: "metadata.finalizers", After: []any{"a", "b"}},
		{Path: "spec.containers[log]", After: map[string]any{"name": "log", "image": "log:1", "nothing": nil, "args": []any{"-v"}}},
		{Path: "spec.containers[old]", Before: map[string]any{"name": "old"}},
		{Path: `data["a.conf"]`, Before: text, After: strings.Replace(text, "d\n", "d1\nd2\n", 1)},
		{Path: "spec.long", Before: strings.Repeat("x", 100), After: strings.Repeat("y", 100)},
	}), "\n")+"\n")
}

func TestSubjectsAreUnderstood(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"pod/web-1"}, "ref=pods%2Fdefault%2Fweb-1"},
		{[]string{"pod", "web-1"}, "ref=pods%2Fdefault%2Fweb-1"},
		{[]string{"deploy/web"}, "ref=deployments.apps%2Fdefault%2Fweb"},
		{[]string{"ns/shop"}, "ref=namespaces%2Fshop"},
		{[]string{"deployment/web.spec.replicas"}, "ref=deployments.apps%2Fdefault%2Fweb.spec.replicas"},
		{[]string{"deployment/web", "spec.replicas"}, "path=spec.replicas&ref=deployments.apps%2Fdefault%2Fweb"},
		{[]string{"deployment", "web", "spec.replicas"}, "path=spec.replicas&ref=deployments.apps%2Fdefault%2Fweb"},
		{[]string{"deployment/web.spec.template.spec.containers[web].image"}, "path=spec.template.spec.containers%5Bweb%5D.image&ref=deployments.apps%2Fdefault%2Fweb"},
		{[]string{`deployment/web.v2.metadata.labels["a.b/c"]`}, "path=metadata.labels%5B%22a.b%2Fc%22%5D&ref=deployments.apps%2Fdefault%2Fweb.v2"},
		{[]string{"1042"}, "event=1042"},
		{[]string{"event", "1042"}, "event=1042"},
		{[]string{"event/1042"}, "event=1042"},
		{[]string{"#1042"}, "event=1042"},
	} {
		q, err := whyQuery(c.args, "", "", "", evening)
		require.NoError(t, err, c.args)
		require.Equal(t, c.want, q.Encode(), c.args)
	}
	for _, args := range [][]string{{"web"}, {"foo/web"}, {"pod/"}, {"a/b/c"}, {"deployment", "web", "spec..x"}} {
		_, err := whyQuery(args, "", "", "", evening)
		require.Error(t, err, args)
	}
}

func TestDiffsArgumentsAreUnderstood(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"1042"}, "from=1042"},
		{[]string{"1042", "1050"}, "from=1042&to=1050"},
		{[]string{"1042..1050"}, "from=1042&to=1050"},
		{[]string{"1042..", "pods"}, "from=1042&kind=pods"},
		{[]string{"1042", "now", "deploy/web"}, "from=1042&ref=deployments.apps%2Fdefault%2Fweb"},
		{[]string{"10m", "deploy", "web"}, "from=2026-11-21T19%3A50%3A00Z&ref=deployments.apps%2Fdefault%2Fweb"},
		{[]string{"10:00", "10:05", "pods,svc"}, "from=2026-11-21T10%3A00%3A00Z&kind=pods%2Csvc&to=2026-11-21T10%3A05%3A00Z"},
		{[]string{"before", "event", "1042", "after", "1050", "ns"}, "from=1041&kind=ns&to=1050"},
	} {
		q, err := (&diffOptions{}).query(c.args, evening)
		require.NoError(t, err, c.args)
		q.Del("status")
		require.Equal(t, c.want, q.Encode(), c.args)
	}
	for _, args := range [][]string{{"soon"}, {"1042", "soon"}, {"1042", "1050", "pods", "web", "x"}} {
		_, err := (&diffOptions{}).query(args, evening)
		require.Error(t, err, args)
	}
}

func TestLogsFiltersAreAsked(t *testing.T) {
	for _, c := range []struct {
		args []string
		o    logOptions
		want string
	}{
		{nil, logOptions{}, "notable=true"},
		{nil, logOptions{all: true, patch: true}, "changes=true"},
		{[]string{"deploy/web"}, logOptions{namespace: "shop", paths: []string{"spec.template"}}, "namespace=shop&path=spec.template&ref=deployments.apps%2Fshop%2Fweb"},
		{[]string{"pods,svc"}, logOptions{labels: "app=web", tail: 3}, "kind=pods%2Csvc&label=app%3Dweb&notable=true&tail=3"},
		{[]string{"1042"}, logOptions{}, "changes=true&from=1042&to=1042"},
		{nil, logOptions{since: "-10m", until: "1050", actors: []string{"ada"}}, "actor=ada&notable=true&since=2026-11-21T19%3A50%3A00Z&to=1050"},
		{nil, logOptions{from: "event 7", to: "10:00", chain: 5, types: []string{"PodBound"}}, "chain=5&from=7&type=PodBound&until=2026-11-21T10%3A00%3A00Z"},
	} {
		q, err := c.o.query(c.args, evening)
		require.NoError(t, err, c.args)
		require.Equal(t, c.want, q.Encode())
	}
	_, err := (&logOptions{output: "xml"}).query(nil, evening)
	require.ErrorContains(t, err, "only json and yaml are known")
	_, err = (&logOptions{since: "soon"}).query(nil, evening)
	require.ErrorContains(t, err, "--since")
}

// What is left out as routine must be something that there is.
func TestRoutineTypesAreKnown(t *testing.T) {
	known := map[string]bool{"LeaseCreated": true, "LeaseChanged": true} // <Kind>Created, <Kind>Changed
	for _, doc := range catalogue() {
		known[doc.Type] = true
	}
	for _, name := range ledgerapi.RoutineTypes {
		require.True(t, known[name], name)
	}
}

func TestSpansAreWorded(t *testing.T) {
	for d, want := range map[time.Duration]string{-1: "0s", 0: "0s", 150_400: "150µs", 12_400_000: "12ms", 1_236_000_000: "1.24s", 83 * time.Second: "1m23s", 5*time.Hour + 10*time.Minute: "5h10m"} {
		require.Equal(t, want, spanWords(d))
	}
}
