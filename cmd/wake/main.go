// Command wake is the whole of Wake in one binary: the cluster on one machine (wake up), each of its services alone, kubectl, and the
// commands that read the ledger. It guarantees:
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
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	root := rootCommand()
	root.SetArgs(momentArgs(os.Args[1:]))
	err := root.ExecuteContext(ctx)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "wake:", err)
		os.Exit(1)
	}
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
	root.AddGroup(&cobra.Group{ID: "cluster", Title: "The cluster:"}, &cobra.Group{ID: "use", Title: "Using it:"}, &cobra.Group{ID: "memory", Title: "What it remembers:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("cluster", upCommand(place), downCommand(place), statusCommand(place))
	add("use", kubectlCommand(place), kubeconfigCommand(place))
	add("memory", logCommand(place), whyCommand(place), atCommand(place), diffCommand(place))
	root.AddCommand(docsCommand())
	return root
}
