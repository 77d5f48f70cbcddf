package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/wakehq/wake/events/timetravel"
	"github.com/wakehq/wake/gateway"
)

func kubeconfigCommand(place *location) *cobra.Command {
	var at, merge string
	c := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the kubeconfig: export KUBECONFIG=$(wake kubeconfig)",
		Long: `Print the path of the kubeconfig.

With --at, print a kubeconfig instead whose context wake@<moment> is the cluster as it was: any client reads the past with it. An age stays one: wake@-10m
is always ten minutes ago. A moment is ` + momentForms + ".",
		Example: `  export KUBECONFIG=$(wake kubeconfig)
  wake kubeconfig --at -10m > /tmp/then && kubectl --kubeconfig /tmp/then get pods
  wake kubeconfig --at -10m --merge ~/.kube/config && kubectl --context wake@-10m get pods`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := os.Stat(place.kubeconfig()); err != nil {
				return place.notRunning()
			}
			if at == "" && merge == "" {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), place.kubeconfig())
				return err
			}
			return writeKubeconfig(cmd, place, at, merge)
		},
	}
	c.Flags().StringVar(&at, "at", "", "print a kubeconfig for the cluster as it was then")
	c.Flags().StringVar(&merge, "merge", "", "add the cluster's contexts to this file instead of printing them")
	return c
}

// writeKubeconfig prints the cluster's kubeconfig with a context for a moment, or adds it to a file.
func writeKubeconfig(cmd *cobra.Command, place *location, at, merge string) error {
	config, err := clientcmd.LoadFromFile(place.kubeconfig())
	if err != nil {
		return fmt.Errorf("reading the kubeconfig %s: %w", place.kubeconfig(), err)
	}
	added := config.CurrentContext
	if at != "" {
		m, err := timetravel.ParseMoment(at, time.Now())
		if err != nil {
			return err
		}
		if added, err = addMoment(config, m); err != nil {
			return fmt.Errorf("the kubeconfig %s: %w", place.kubeconfig(), err)
		}
	}
	if merge == "" {
		config.CurrentContext = added
		content, err := clientcmd.Write(*config)
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(content)
		return err
	}
	if err := mergeKubeconfig(config, merge); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s has the context %s: kubectl --kubeconfig %s --context %s get pods\n", merge, added, merge, added)
	return err
}

// addMoment adds a context for the cluster of the current one as it was at m, and returns its name.
func addMoment(config *clientcmdapi.Config, m timetravel.Moment) (string, error) {
	present, ok := config.Contexts[config.CurrentContext]
	if !ok || config.Clusters[present.Cluster] == nil {
		return "", fmt.Errorf("its current context %q names no cluster of it", config.CurrentContext)
	}
	name := "wake@" + m.String()
	cluster := config.Clusters[present.Cluster].DeepCopy()
	cluster.Server = gateway.PastURL(cluster.Server, m)
	context := present.DeepCopy()
	context.Cluster = name
	config.Clusters[name], config.Contexts[name] = cluster, context
	return name, nil
}

// mergeKubeconfig adds what is in config to the file name, which need not exist. The file keeps its current context.
func mergeKubeconfig(config *clientcmdapi.Config, name string) error {
	into, err := clientcmd.LoadFromFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		into, err = clientcmdapi.NewConfig(), nil
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	for key, cluster := range config.Clusters {
		into.Clusters[key] = cluster
	}
	for key, user := range config.AuthInfos {
		into.AuthInfos[key] = user
	}
	for key, context := range config.Contexts {
		into.Contexts[key] = context
	}
	if into.CurrentContext == "" {
		into.CurrentContext = config.CurrentContext
	}
	content, err := clientcmd.Write(*into)
	if err != nil {
		return err
	}
	if err := writeFile(name, content, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
