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
	"github.com/wakehq/wake/gateway/pki"
)

func kubeconfigCommand(place *location) *cobra.Command {
	var at, merge, user string
	var groups []string
	c := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the kubeconfig: export KUBECONFIG=$(wake kubeconfig)",
		Long: `Print the path of the kubeconfig.

With --at, print a kubeconfig instead whose context wake@<moment> is the cluster as it was: any client reads the past with it. An age stays one: wake@-10m
is always ten minutes ago. With --user, print one for another person: what they do is in the ledger under their own name. A moment is ` + momentForms + ".",
		Example: `  export KUBECONFIG=$(wake kubeconfig)
  wake kubeconfig --user ada > ada.kubeconfig
  wake kubeconfig --at -10m > /tmp/then && kubectl --kubeconfig /tmp/then get pods
  wake kubeconfig --at -10m --merge ~/.kube/config && kubectl --context wake@-10m get pods`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := os.Stat(place.credentials()); err != nil {
				return place.notRunning()
			}
			if at == "" && merge == "" && user == "" {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), place.credentials())
				return err
			}
			config, err := place.kubeconfigFor(user, groups)
			if err != nil {
				return err
			}
			return writeKubeconfig(cmd, config, at, merge)
		},
	}
	c.Flags().StringVar(&at, "at", "", "print a kubeconfig for the cluster as it was then")
	c.Flags().StringVar(&user, "user", "", "print a kubeconfig with a new certificate for a person of this name, valid for a year")
	c.Flags().StringSliceVar(&groups, "group", nil, "a group that the person belongs to, with --user")
	c.Flags().StringVar(&merge, "merge", "", "add the cluster's contexts to this file instead of printing them")
	return c
}

// kubeconfigFor returns the cluster's kubeconfig, for another person if user isn't empty.
func (l *location) kubeconfigFor(user string, groups []string) (*clientcmdapi.Config, error) {
	config, err := clientcmd.LoadFromFile(l.credentials())
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig %s: %w", l.credentials(), err)
	}
	if user == "" {
		if len(groups) > 0 {
			return nil, errors.New("--group says what the person of --user belongs to: name one")
		}
		return config, nil
	}
	authority, err := pki.Open(l.pki())
	if err != nil {
		return nil, err
	}
	person, err := authority.Client(user, groups...)
	if err != nil {
		return nil, err
	}
	config.AuthInfos = map[string]*clientcmdapi.AuthInfo{user: {ClientCertificateData: person.Certificate, ClientKeyData: person.Key}}
	for _, context := range config.Contexts {
		context.AuthInfo = user
	}
	return config, nil
}

// writeKubeconfig prints config with a context for a moment, or adds it to a file.
func writeKubeconfig(cmd *cobra.Command, config *clientcmdapi.Config, at, merge string) error {
	var err error
	added := config.CurrentContext
	if at != "" {
		m, err := timetravel.ParseMoment(at, time.Now())
		if err != nil {
			return err
		}
		if added, err = addMoment(config, m); err != nil {
			return fmt.Errorf("the cluster's kubeconfig: %w", err)
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
