package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wakehq/wake/events/timetravel"
)

// pastVerbs are the kubectl commands that only read; those with subcommands only with these.
var pastVerbs = map[string][]string{
	"get": nil, "describe": nil, "events": nil, "explain": nil, "api-resources": nil, "api-versions": nil, "version": nil, "wait": nil, "diff": nil,
	"rollout": {"status", "history"}, "auth": {"can-i", "whoami"}, "cluster-info": {""},
}

// pastCommands are commands of wake's own that take a moment.
var pastCommands = []string{"log", "why", "blame", "diff", "impact"}

// nodeVerbs are the kubectl commands that nodes answer, which don't remember.
var nodeVerbs = []string{"logs", "exec", "attach", "port-forward", "cp", "proxy", "top", "debug"}

func atCommand(place *location) *cobra.Command {
	return &cobra.Command{
		Use:   "at <moment> get|describe|events|… [arguments of kubectl]",
		Short: "Run a kubectl read against the cluster as it was",
		Long: "Run a kubectl read against the cluster as it was at a moment: " + momentForms + `.

What reads is: get, describe, events, explain, wait, rollout status, rollout history, diff -f (how a manifest differs from what was then), auth,
api-resources, api-versions, version. Ages are counted to the moment. A watch shows what there was and then waits: nothing happens in a past moment.
log, why, blame, diff and impact of wake itself are run as of the moment. The same for other clients: wake kubeconfig --at <moment>.`,
		Example: `  wake at -5m get pods -A
  wake at 1042 get deployment web -o yaml
  wake at before event 1042 get all -n shop
  wake at 10:00 describe pod web-1            deleted objects included`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "-h" || args[0] == "--help" {
				return cmd.Help()
			}
			moment, rest, err := leadingMoment(args, time.Now())
			if err != nil {
				return err
			}
			if own := ownCommand(cmd.Root(), rest, moment); own != nil {
				cmd.Root().SetArgs(own)
				return cmd.Root().ExecuteContext(cmd.Context())
			}
			if err := checkRead(rest); err != nil {
				return err
			}
			if _, err := place.serving(); err != nil {
				return err
			}
			return runKubectl(cmd.Context(), place, rest, pastHeaders(moment, rest))
		},
	}
}

// leadingMoment takes the moment that args begin with, of one word or several, from the arguments after it. An age counts from now, for all that the
// command asks.
func leadingMoment(args []string, now time.Time) (string, []string, error) {
	for words := min(3, len(args)); words > 1; words-- {
		if m, err := timetravel.ParseMoment(strings.Join(args[:words], " "), now); err == nil {
			return m.Fixed(now), args[words:], nil
		}
	}
	moment, err := parseMoment(args[0], now)
	return moment, args[1:], err
}

// verb returns the command and the subcommand among kubectl's arguments; empty if there are none.
func verb(args []string) (command, sub string) {
	var words []string
	for i := 0; i < len(args) && len(words) < 2; i++ {
		switch arg := args[i]; {
		case arg == "-n" || arg == "--namespace":
			i++
		case !strings.HasPrefix(arg, "-"):
			words = append(words, arg)
		}
	}
	words = append(words, "", "")
	return words[0], words[1]
}

// checkRead refuses the kubectl commands that don't only read.
func checkRead(args []string) error {
	command, sub := verb(args)
	subs, known := pastVerbs[command]
	const reads = "get, describe, events, explain, wait, rollout status, rollout history, diff, auth, api-resources, version"
	switch {
	case command == "":
		return errors.New("after the moment comes what to read: one of " + reads)
	case slices.Contains(nodeVerbs, command):
		return fmt.Errorf("%q of the past can't be had: nodes answer that, not the ledger, and they keep no history. What happened to a pod: wake log pod/<name>", command)
	case known && subs != nil && !slices.Contains(subs, sub):
		command += " " + sub
		fallthrough
	case !known:
		return fmt.Errorf("the past can only be read: %q isn't one of %s. To bring back what was: wake restore <kind>/<name> --at <moment>", command, reads)
	}
	return nil
}

// ownCommand returns the arguments of the command of wake's own that args name, with the moment where it belongs; nil if they name none.
func ownCommand(root *cobra.Command, args []string, moment string) []string {
	if len(args) == 0 || !slices.Contains(pastCommands, args[0]) {
		return nil
	}
	if args[0] == "diff" {
		manifest := func(arg string) bool {
			return strings.HasPrefix(arg, "-f") || strings.HasPrefix(arg, "--filename") || strings.HasPrefix(arg, "-k") || strings.HasPrefix(arg, "--kustomize")
		}
		if slices.ContainsFunc(args, manifest) {
			return nil
		}
		return append([]string{"diff", moment}, args[1:]...)
	}
	c, _, err := root.Find(args[:1])
	if err != nil {
		return nil
	}
	for _, flag := range []string{"at", "until"} {
		if c.Flags().Lookup(flag) != nil {
			return append([]string{args[0], "--" + flag + "=" + moment}, args[1:]...)
		}
	}
	return nil
}

// pastHeaders are what the requests of a command about a moment carry. Commands that count ages themselves get times that are moved, but not where the
// times are printed as they are.
func pastHeaders(moment string, args []string) http.Header {
	h := http.Header{"Wake-At": {moment}}
	exact := slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-o") || strings.HasPrefix(arg, "--output") })
	if command, _ := verb(args); !exact && (command == "describe" || command == "events") {
		h.Set("Wake-Ages", "then")
	}
	return h
}
