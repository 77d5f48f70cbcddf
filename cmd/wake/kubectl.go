package main

import (
	"context"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	kubectl "k8s.io/kubectl/pkg/cmd"
)

func kubectlCommand(place *location) *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl [command]",
		Short:              "Kubernetes' own command line, built in and pointed at this cluster",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runKubectl(cmd.Context(), place, args, nil)
		},
	}
}

// runKubectl runs kubectl in this process. headers go with every request. kubectl prints its own errors and exits by itself.
func runKubectl(ctx context.Context, place *location, args []string, headers http.Header) error {
	if _, err := os.Stat(place.credentials()); err != nil && needsCluster(args) {
		return place.notRunning()
	}
	if err := os.Setenv("KUBECONFIG", place.credentials()); err != nil {
		return err
	}
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	flags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().WithDiscoveryBurst(300).WithDiscoveryQPS(50).WithWarningPrinter(streams)
	if headers != nil {
		flags = flags.WithWrapConfigFn(func(c *rest.Config) *rest.Config {
			c.Wrap(func(next http.RoundTripper) http.RoundTripper { return &headerTripper{next: next, headers: headers} })
			return c
		})
	}
	os.Args = append([]string{"kubectl"}, args...)
	command := kubectl.NewDefaultKubectlCommandWithArgs(kubectl.KubectlOptions{
		PluginHandler: kubectl.NewDefaultPluginHandler([]string{"kubectl"}), Arguments: os.Args, ConfigFlags: flags, IOStreams: streams})
	command.SetArgs(args)
	return command.ExecuteContext(ctx)
}

// needsCluster says that a kubectl command is of no use without this cluster.
func needsCluster(args []string) bool {
	return len(args) > 0 && !slices.Contains([]string{"help", "options", "completion", "config", "version", "kustomize", "plugin"}, args[0]) &&
		!slices.ContainsFunc(args, func(arg string) bool {
			return arg == "-h" || arg == "--help" || strings.HasPrefix(arg, "--kubeconfig")
		})
}

// headerTripper adds headers to every request.
type headerTripper struct {
	next    http.RoundTripper
	headers http.Header
}

func (t *headerTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, values := range t.headers {
		r.Header[name] = values
	}
	return t.next.RoundTrip(r)
}
