package main

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// atVerbs are the kubectl commands that only read.
var atVerbs = []string{"get", "describe", "events", "explain", "api-resources"}

func atCommand(place *location) *cobra.Command {
	return &cobra.Command{
		Use:   "at <moment> get|describe <kind> [name]",
		Short: "Run a kubectl read against the cluster as it was",
		Long:  "Run a kubectl read against the cluster as it was at a moment: " + momentForms + ".",
		Example: `  wake at -5m get pods -A
  wake at 1042 get deployment web -o yaml
  wake at 10:00 describe pod web-1            deleted objects included`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "-h" || args[0] == "--help" {
				return cmd.Help()
			}
			moment, err := parseMoment(args[0], time.Now())
			if err != nil {
				return err
			}
			if len(args) < 2 || !slices.Contains(atVerbs, args[1]) {
				return fmt.Errorf("the past can only be read: after the moment comes one of %v", atVerbs)
			}
			if _, err := place.process(); err != nil {
				return err
			}
			return runKubectl(cmd.Context(), place, args[1:], http.Header{"Wake-At": {moment}})
		},
	}
}
