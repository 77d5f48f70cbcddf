package main

import (
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/gateway/ledgerapi"
	"github.com/wakehq/wake/schemas/fielddiff"
)

func whyCommand(place *location) *cobra.Command {
	var namespace, path, at, output string
	c := &cobra.Command{
		Use:   "why <kind>/<name>[.<field>] | <event>",
		Short: "Walk from an object, a field or an event back to the person or the outside fact that it comes from",
		Long: `Tell why something is as it is: the event that made it so, what caused that, and so on back to the person or the outside fact that began it. Each step says what
happened, how long after its cause, what it changed, and who did it. For a pod it says why it is on its node, or what keeps it from having one; for a deleted
object who deleted it.

A moment (--at) is ` + momentForms + `.`,
		Example: `  wake why pod/web-7d4b9-x2x7q              from the container to the command that wanted it
  wake why deployment/web.spec.replicas     who set a field, and why
  wake why namespace/shop                   who deleted it
  wake why pod/web-7d4b9-x2x7q --at -1h     as of then
  wake why 1042                             the causes of one event of "wake log"`,
		Args: cobra.RangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			query, err := whyQuery(args, namespace, path, at, time.Now())
			if err == nil {
				err = checkOutput(output)
			}
			if err != nil {
				return err
			}
			client, err := place.ledgerClient()
			if err != nil {
				return err
			}
			chain := []ledgerapi.Why{}
			if _, err := lines(cmd.Context(), client, "why", query, func(step ledgerapi.Why) error {
				chain = append(chain, step)
				return nil
			}); err != nil {
				return err
			}
			if output != "" {
				return writeValue(cmd.OutOrStdout(), output, chain)
			}
			return printChain(cmd.OutOrStdout(), query.Get("event") == "", chain, time.Now())
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "the object's namespace")
	c.Flags().StringVar(&path, "path", "", "the field that it is about, as in spec.replicas")
	c.Flags().StringVar(&at, "at", "", "as of that moment")
	outputFlag(c, &output, "the steps as an array, the newest first: events with fields, placement and explanation")
	return c
}

// topField is where a path begins after a name.
var topField = regexp.MustCompile(`\.(metadata|spec|status|data|binaryData|rules|subjects|subsets|endpoints|ports|webhooks)[.\[]`)

// whyQuery understands "pod/web", "pod web", "deployment/web.spec.replicas", "deployment web spec.replicas" and the forms of events.
func whyQuery(args []string, namespace, path, at string, now time.Time) (url.Values, error) {
	q := url.Values{}
	if err := setMoment(q, "at", at, now); err != nil {
		return nil, err
	}
	if revision, ok := parseEvent(args); ok {
		q.Set("event", strconv.FormatUint(revision, 10))
		return q, nil
	}
	if words := len(args); words > 1 && (words == 3 || strings.Contains(args[0], "/")) {
		path, args = args[words-1], args[:words-1]
	}
	if kind, rest, ok := strings.Cut(args[0], "/"); ok && strings.ContainsAny(rest, "[/") {
		// Keys in brackets may hold slashes and dots, which names may hold too: the field is taken to begin where one of an object's own begins.
		if at := topField.FindStringIndex(rest); at != nil && path == "" {
			path, args = rest[at[0]+1:], []string{kind + "/" + rest[:at[0]]}
		}
	}
	r, err := parseObject(args, namespace)
	if err != nil {
		return nil, err
	}
	if path != "" {
		if _, err := fielddiff.ParsePath(path); err != nil {
			return nil, err
		}
		q.Set("path", path)
	}
	q.Set("ref", r.String())
	return q, nil
}

// printChain tells the steps as a story, from what is asked about back to what began it.
func printChain(out io.Writer, ofObject bool, chain []ledgerapi.Why, now time.Time) error {
	if len(chain) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString(whyTitle(chain[0], ofObject, now) + "\n\n")
	for i, step := range chain {
		var cause *ledgerapi.Why
		if i+1 < len(chain) {
			cause = &chain[i+1]
		}
		printStep(&b, step, cause, now)
	}
	b.WriteString("\n" + whyEnd(chain, now) + "\n")
	_, err := io.WriteString(out, b.String())
	return err
}

func whyTitle(first ledgerapi.Why, ofObject bool, now time.Time) string {
	name := short(first.Ref)
	switch {
	case !ofObject:
		return bold.Sprintf("Event %d", first.Revision)
	case first.Path != "":
		for _, f := range first.Fields {
			if path, err := fielddiff.ParsePath(first.Path); err == nil && path.Touches(fielddiff.Difference{Path: f.Path, Before: f.Before, After: f.After}) {
				if after, ok := scalar(f.After); ok && f.After != nil && f.Path == first.Path {
					return bold.Sprintf("%s  %s is %s", name, first.Path, after)
				}
			}
		}
		return bold.Sprintf("%s  %s", name, first.Path)
	case first.Tombstone:
		return bold.Sprint(name) + red.Sprintf(" was deleted at %s", clockTime(first.Stored, now))
	}
	return bold.Sprint(name)
}

// printStep tells one event, what it changed and how long after its cause it came.
func printStep(b *strings.Builder, step ledgerapi.Why, cause *ledgerapi.Why, now time.Time) {
	edge := "  "
	if cause != nil {
		edge = faint.Sprint("│ ")
	}
	after := ""
	if cause != nil {
		after = faint.Sprintf("  %s later", spanWords(step.Stored.Sub(cause.Stored)))
	}
	fmt.Fprintf(b, "%s %s  %s%s\n", typeColor(step.Event).Sprint("●"), typeColor(step.Event).Sprint(bold.Sprint(step.Type)), short(step.Ref), after)
	fmt.Fprintf(b, "%s %s\n", edge, faint.Sprintf("at %s by %s, event %d", preciseTime(step.Stored, now), step.Actor, step.Revision))
	for _, l := range stepLines(step) {
		fmt.Fprintf(b, "%s %s\n", edge, l)
	}
	if cause != nil {
		fmt.Fprintf(b, "%s %s\n", edge, faint.Sprint("because"))
	}
}

// preciseTime is clockTime to the millisecond.
func preciseTime(t, now time.Time) string {
	return clockTime(t, now) + t.Format(".000")
}

// shownFields is how many lines of field changes a step shows.
const shownFields = 8

// stepLines says what a step came to: its message, its placement, the fields it changed.
func stepLines(step ledgerapi.Why) []string {
	var out []string
	if n := step.Note; n != nil && n.Message != "" {
		c := italic
		if n.Warning {
			c = yellow
		}
		out = append(out, c.Sprint(n.Message))
	}
	out = append(out, placementLines(step.Placement)...)
	changed := patchLines(essential(step))
	if more := len(changed) - shownFields; more > 1 {
		changed = append(changed[:shownFields], faint.Sprintf("… %d more lines: wake log %d", more, step.Revision))
	}
	out = append(out, changed...)
	said := ""
	if step.Note != nil {
		said = step.Note.Message
	}
	return append(out, explanationLines(step.Explanation, said)...)
}

// essential returns the fields that a story tells: of a status the phase and what the conditions came to, if that changed at all.
func essential(step ledgerapi.Why) []ledgerapi.Field {
	switch {
	case len(step.Placement) > 0, strings.HasSuffix(step.Type, "DeletionRequested"):
		return nil
	case step.Facet != events.Observed.String():
		return step.Fields
	}
	var out []ledgerapi.Field
	for _, f := range step.Fields {
		condition := strings.HasPrefix(f.Path, "status.conditions[") && strings.HasSuffix(f.Path, "].status")
		if condition || f.Path == "status.phase" || strings.HasSuffix(f.Path, ".restartCount") {
			out = append(out, f)
		}
		out = append(out, newConditions(f)...)
	}
	if len(out) == 0 && step.Note == nil {
		return step.Fields
	}
	return out
}

// newConditions returns what each condition came to, of a field that is a condition, or all of them, and that wasn't there before.
func newConditions(f ledgerapi.Field) (out []ledgerapi.Field) {
	if f.Before != nil || !strings.HasPrefix(f.Path, "status.conditions") {
		return nil
	}
	switch v := f.After.(type) {
	case map[string]any:
		return []ledgerapi.Field{{Path: f.Path + ".status", After: v["status"]}}
	case []any:
		for i, name := range fielddiff.ItemNames(v) {
			if condition, ok := v[i].(map[string]any); ok {
				out = append(out, ledgerapi.Field{Path: f.Path + "[" + name + "].status", After: condition["status"]})
			}
		}
	}
	return out
}

// whyEnd says what began it all.
func whyEnd(chain []ledgerapi.Why, now time.Time) string {
	root, first := chain[len(chain)-1], chain[0]
	if root.Lost != 0 {
		return fmt.Sprintf("It goes back further, but event %d isn't held any more.", root.Lost)
	}
	text := fmt.Sprintf("It began with %s of %s by %s at %s", bold.Sprint(root.Type), short(root.Ref), bold.Sprint(root.Actor), clockTime(root.Stored, now))
	if len(chain) > 1 {
		text += fmt.Sprintf(", %s before", spanWords(first.Stored.Sub(root.Stored)))
	}
	return text + "."
}
