package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/fatih/color"
	"github.com/spf13/cobra"
)

func whyCommand(place *location) *cobra.Command {
	var namespace, output string
	c := &cobra.Command{
		Use:   "why <kind>/<name>",
		Short: "Walk from an object back to the person or the outside fact that it comes from",
		Example: `  wake why pod/web-7d4b9-x2x7q     from the container to the command that wanted it
  wake why event 1042              the chain of one event of "wake log"`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := place.ledgerClient()
			if err != nil {
				return err
			}
			revision, title, err := startOfWhy(cmd, client, args, namespace)
			if err != nil {
				return err
			}
			var chain []event
			if err := client.events(cmd.Context(), "causes/"+strconv.FormatUint(revision, 10), nil, func(e event) error {
				chain = append(chain, e)
				return nil
			}); err != nil {
				return err
			}
			if output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(chain)
			}
			return printChain(cmd.OutOrStdout(), title, chain)
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "the object's namespace")
	c.Flags().StringVarP(&output, "output", "o", "", "json: the chain as an array of events")
	return c
}

// startOfWhy finds the event that the question is about: the named one, or the newest that says something of the object.
func startOfWhy(cmd *cobra.Command, client *ledgerClient, args []string, namespace string) (uint64, string, error) {
	if args[0] == "event" && len(args) == 2 {
		if revision, err := strconv.ParseUint(args[1], 10, 64); err == nil {
			return revision, "event " + args[1], nil
		}
	}
	object, err := parseObject(args, namespace)
	if err != nil {
		return 0, "", err
	}
	var newest event
	query := url.Values{"ref": {object.String()}}
	if err := client.events(cmd.Context(), "events", query, func(e event) error {
		newest = e
		return nil
	}); err != nil {
		return 0, "", err
	}
	if newest.Revision == 0 {
		return 0, "", fmt.Errorf("the ledger knows nothing of %s: there never was one by that name", object)
	}
	title := short(newest.Ref)
	if newest.Tombstone {
		title += " (deleted)"
	}
	return newest.Revision, title, nil
}

func printChain(out io.Writer, title string, chain []event) error {
	if _, err := fmt.Fprintln(out, color.New(color.Bold).Sprint(title)); err != nil {
		return err
	}
	for i, e := range chain {
		line := fmt.Sprintf("  %s  %s %s", e.Stored.Local().Format("15:04:05.000"), typeColor(e).Sprintf("%-24s", e.Type), short(e.Ref))
		line += changedWords(e.Changed)
		if e.Note != nil {
			line += "  " + color.New(color.Italic).Sprint(e.Note.Message)
		}
		prefix := "because"
		if i == 0 {
			prefix = "       "
		}
		who := fmt.Sprintf("by %s, event %d", e.Actor, e.Revision)
		if _, err := fmt.Fprintf(out, "%s%s\n         %s\n", prefix, line, color.New(color.Faint).Sprint("              "+who)); err != nil {
			return err
		}
	}
	if len(chain) > 0 && chain[len(chain)-1].Cause == 0 {
		root := chain[len(chain)-1]
		_, err := fmt.Fprintf(out, "It began with %s by %s.\n", color.New(color.Bold).Sprint(root.Type), color.New(color.Bold).Sprint(root.Actor))
		return err
	}
	return nil
}
