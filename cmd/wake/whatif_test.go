package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/garbage"
	"github.com/wakehq/wake/services/job"
	"github.com/wakehq/wake/services/namespace"
	"github.com/wakehq/wake/services/node"
	"github.com/wakehq/wake/services/replication"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/scheduler"
	"github.com/wakehq/wake/services/service"
	"github.com/wakehq/wake/services/simulation"
)

var updateGolden = flag.Bool("update", false, "write what is printed into the golden files instead of comparing")

// whatIfDeciders are those of a cluster.
func whatIfDeciders() []runner.Decider {
	return []runner.Decider{scheduler.New(), replication.NewDeployments(), replication.NewSets(), job.New(),
		service.NewAddresses(netip.MustParsePrefix("10.96.0.0/16")), service.NewEndpoints(), garbage.New(), namespace.New("no certificate"), node.Node{}}
}

// smallCluster gives the state of a small cluster, ten minutes after testdata/whatif/cluster.yaml was applied to an empty one.
func smallCluster(t *testing.T) *events.State {
	t.Helper()
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	s := simulation.New(simulation.Config{State: events.NewState(registry), Deciders: whatIfDeciders(), Start: time.Date(2026, time.January, 1, 10, 0, 0, 0, time.UTC)})
	manifest, err := os.ReadFile("testdata/whatif/cluster.yaml")
	require.NoError(t, err)
	_, _, err = s.Apply(simulation.Manifest{Name: "cluster.yaml", Data: manifest}, "")
	require.NoError(t, err)
	require.NoError(t, s.Run(t.Context(), s.Now().Add(10*time.Minute)))
	return s.State()
}

// askWhatIf runs the command on a state, and returns what it prints, or its error.
func askWhatIf(t *testing.T, state *events.State, stdin string, args ...string) string {
	t.Helper()
	var asked string
	command := whatIfCommand(func(_ context.Context, moment string) (*whatIfBase, error) {
		asked = moment
		return &whatIfBase{state: state, deciders: func(config string) (simulation.Services, error) {
			if config == "missing.yaml" {
				return nil, fs.ErrNotExist
			}
			return whatIfDeciders, nil
		}}, nil
	})
	var out bytes.Buffer
	command.SetArgs(args)
	command.SetOut(&out)
	command.SetIn(strings.NewReader(stdin))
	command.SilenceErrors, command.SilenceUsage = true, true
	before := state.Hash()
	if err := command.ExecuteContext(t.Context()); err != nil {
		out.WriteString("error: " + err.Error() + "\n")
	}
	require.Equal(t, before, state.Hash())
	require.Empty(t, asked)
	return out.String()
}

// generated matches what follows from how many events there were before, in which the golden files have no part.
var generated = regexp.MustCompile(`((?:web|till)-[0-9a-z]{10}|count)-[0-9a-z]{5}\b`)

func TestWhatIf(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	state := smallCluster(t)
	for name, args := range map[string]string{
		"kill":              "--kill n3",
		"kill-agent":        "--kill n1",
		"kill-two":          "--kill n2 --kill n3 -o wide",
		"drain":             "--drain n2",
		"cordon":            "--cordon n2",
		"scale-too-far":     "--scale deployment/web=20",
		"scale-with-node":   "--scale deployment/web=18 --apply testdata/whatif/node.yaml",
		"scale-to-the-same": "--scale deployment/web=6",
		"rollout":           "--apply testdata/whatif/rollout.yaml",
		"job":               "--apply testdata/whatif/job.yaml",
		"job-slow":          "--apply testdata/whatif/job.yaml --pod-start 30s --pod-run 5m",
		"job-short":         "--apply testdata/whatif/job.yaml --for 15s",
		"delete":            "--delete deployment/web",
		"delete-namespace":  "--delete namespace/shop",
		"delete-node":       "--delete node/n3",
		"invalid":           "--apply testdata/whatif/invalid.yaml",
		"unknown-field":     "--apply testdata/whatif/unknown.yaml",
		"no-namespace":      "--apply testdata/whatif/nowhere.yaml",
		"no-such-node":      "--kill n9",
		"no-question":       "--for 1h",
		"scheduler":         "--scheduler-config pack.yaml",
		"no-scheduler":      "--scheduler-config missing.yaml",
	} {
		t.Run(name, func(t *testing.T) {
			got := "$ wake what-if " + args + "\n" + generated.ReplaceAllString(askWhatIf(t, state, "", strings.Fields(args)...), "$1-*")
			got = strings.ReplaceAll(got, fmt.Sprintf("revision %d", state.Revision()), "revision N")
			file := filepath.Join("testdata", "whatif", name+".txt")
			if *updateGolden {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), got, "go test -update writes it anew")
		})
	}
}

// What is read from stdin may be JSON, and what is printed may be too.
func TestWhatIfOfStdinAsJSON(t *testing.T) {
	manifest := `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}]}`
	printed := askWhatIf(t, smallCluster(t), manifest, "--apply", "-", "-o", "json")
	var report map[string]any
	require.NoError(t, json.Unmarshal([]byte(printed), &report), printed)
	placed := report["placed"].([]any)
	require.Len(t, placed, 1)
	require.Equal(t, "p", placed[0].(map[string]any)["pod"])
	require.Equal(t, "0s", placed[0].(map[string]any)["at"])
	require.Equal(t, []any{"stdin were applied"}, report["question"])
}
