// Command wake is the whole of Wake in one binary: the cluster on one machine (wake up), kubectl, and the commands that read
// the ledger. It guarantees:
//
//   - Every command that fails prints one error that names the cause and exits with a status other than 0.
//   - wake up is ready when it says so, ends cleanly on SIGINT and SIGTERM, and may be killed at any instant.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	args := placeArgs(os.Args[1:])
	root := rootCommand()
	root.SetArgs(momentArgs(args))
	err := root.ExecuteContext(ctx)
	interrupted := ctx.Err() != nil
	stop()
	if interrupted && errors.Is(err, context.Canceled) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "wake:", err)
		os.Exit(1)
	}
}

// placeArgs takes a --data-dir before the command out and into the environment: kubectl's flags are parsed by kubectl, which doesn't know it.
func placeArgs(args []string) []string {
	if len(args) == 0 {
		return args
	}
	dir, rest := "", args
	if value, ok := strings.CutPrefix(args[0], "--data-dir="); ok {
		dir, rest = value, args[1:]
	} else if args[0] == "--data-dir" && len(args) > 1 {
		dir, rest = args[1], args[2:]
	}
	if dir == "" || os.Setenv(dataDirVariable, dir) != nil {
		return args
	}
	return rest
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "wake",
		Short:         "A container orchestrator that remembers",
		Long:          "Wake runs Kubernetes manifests on Docker and remembers everything that happened: what the cluster looked like at any\nrevision, why a pod is where it is, and who wanted it.",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	place := &location{}
	root.PersistentFlags().StringVar(&place.dir, "data-dir", defaultDataDir(), "where the cluster keeps its ledger, keys and kubeconfig (environment: WAKE_DATA_DIR)")
	root.AddGroup(&cobra.Group{ID: "cluster", Title: "The cluster:"}, &cobra.Group{ID: "plane", Title: "A control plane of several processes:"},
		&cobra.Group{ID: "use", Title: "Using it:"}, &cobra.Group{ID: "memory", Title: "What it remembers:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("cluster", upCommand(place), downCommand(place), statusCommand(place), agentCommand(place), tokenCommand(place))
	add("plane", initCommand(place), brokerCommand(place), gatewayCommand(place), servicesCommand(place), feedCommand(place), keeperCommand(place))
	add("use", kubectlCommand(place), kubeconfigCommand(place))
	add("memory", exportCommand(place), replayCommand(place), askCommand(place), verifyCommand(place), logCommand(place), diffCommand(place), blameCommand(place), whyCommand(place), impactCommand(place), atCommand(place), restoreCommand(place))
	root.AddCommand(docsCommand(), ingressCommand())
	return root
}
