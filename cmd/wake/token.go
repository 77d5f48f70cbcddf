package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wakehq/wake/gateway/joining"
	"github.com/wakehq/wake/gateway/pki"
)

func tokenCommand(place *location) *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "Let other machines join as nodes",
		Long:  "Let other machines join as nodes: a token is shown by \"wake agent --join\", once for each machine, until it expires. It is kept as a hash.",
	}
	c.AddCommand(tokenCreateCommand(place), tokenListCommand(place), tokenRevokeCommand(place))
	return c
}

// tokens opens where tokens are kept.
func (l *location) tokens() (typedcorev1.SecretInterface, *rest.Config, error) {
	if _, err := l.serving(); err != nil {
		return nil, nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", l.credentials())
	if err != nil {
		return nil, nil, fmt.Errorf("reading the kubeconfig %s: %w", l.credentials(), err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, err
	}
	return client.CoreV1().Secrets(joining.Namespace), config, nil
}

func tokenCreateCommand(place *location) *cobra.Command {
	var ttl time.Duration
	terms := joining.Terms{}
	c := &cobra.Command{
		Use:   "create",
		Short: "Make a token and print it; it can't be printed again",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case ttl < time.Second:
				return fmt.Errorf("--ttl %s: a token must live for a second at least", ttl)
			case terms.Nodes < 1:
				return fmt.Errorf("--nodes %d: a token must let at least one in", terms.Nodes)
			case terms.Node != "" && terms.Nodes > 1:
				return errors.New("--node and --nodes exclude each other: there is one node of a name")
			}
			tokens, config, err := place.tokens()
			if err != nil {
				return err
			}
			fingerprint, err := pki.FingerprintOf(config.CAData)
			if err != nil {
				return err
			}
			token := joining.NewToken(fingerprint)
			terms.Expires = time.Now().Add(ttl)
			if _, err := tokens.Create(cmd.Context(), token.Secret(terms), metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("keeping the token: %w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), token.Text())
			cmd.PrintErrf("on the other machine, before %s:  wake agent --server %s --join TOKEN\n", terms.Expires.Local().Format(time.DateTime), config.Host)
			return nil
		},
	}
	c.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long machines can join with it")
	c.Flags().IntVar(&terms.Nodes, "nodes", 1, "how many machines can join with it")
	c.Flags().StringVar(&terms.Node, "node", "", "the only node that it is for, even if there is a node of that name (default: any name that is free)")
	return c
}

func tokenListCommand(place *location) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the tokens, without what makes them secret",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tokens, _, err := place.tokens()
			if err != nil {
				return err
			}
			list, err := tokens.List(cmd.Context(), metav1.ListOptions{FieldSelector: "type=" + string(joining.SecretType)})
			if err != nil {
				return fmt.Errorf("listing the tokens: %w", err)
			}
			out := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 3, ' ', 0)
			fmt.Fprintln(out, "ID\tFOR\tUSED\tEXPIRES\tJOINED")
			for i := range list.Items {
				grant, err := joining.ReadGrant(&list.Items[i])
				if err != nil {
					continue // another program's bootstrap token
				}
				whom, expires, joined := "any", "expired", "-"
				if grant.Node != "" {
					whom = grant.Node
				}
				if left := time.Until(grant.Expires); left > 0 {
					expires = "in " + left.Round(time.Second).String()
				}
				if len(grant.Joined) > 0 {
					joined = strings.Join(slices.Sorted(maps.Keys(grant.Joined)), ",")
				}
				fmt.Fprintf(out, "%s\t%s\t%d of %d\t%s\t%s\n", grant.ID, whom, len(grant.Joined), grant.Nodes, expires, joined)
			}
			return out.Flush()
		},
	}
}

func tokenRevokeCommand(place *location) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID...",
		Short: "Take tokens back; machines that have joined with them stay (delete their nodes to end that)",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			tokens, _, err := place.tokens()
			if err != nil {
				return err
			}
			for _, id := range ids {
				id, _, _ = strings.Cut(id, ".") // a whole token will do
				if err := tokens.Delete(cmd.Context(), joining.SecretName(id), metav1.DeleteOptions{}); err != nil {
					return fmt.Errorf("revoking token %s: %w", id, err)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "token %s revoked\n", id)
			}
			return nil
		},
	}
}
