package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"

	"github.com/wakehq/wake/gateway/ledgerapi"
	"github.com/wakehq/wake/schemas/fielddiff"
)

func diffCommand(place *location) *cobra.Command {
	var namespace string
	var status bool
	c := &cobra.Command{
		Use:   "diff <from> [<to>] [<kind>/<name>]",
		Short: "Show what changed in the cluster between two moments, field by field",
		Long:  "Show what changed in the cluster between two moments, field by field. A moment is " + momentForms + ".\nWithout <to>, up to now.",
		Example: `  wake diff -10m
  wake diff 1042 1100
  wake diff 10:00 10:05 deployment/web`,
		Args:               cobra.RangeArgs(1, 3),
		DisableFlagParsing: false,
		RunE: func(cmd *cobra.Command, args []string) error {
			query, err := diffQuery(args, namespace)
			if err != nil {
				return err
			}
			client, err := place.ledgerClient()
			if err != nil {
				return err
			}
			spans := newSpans()
			if err := client.events(cmd.Context(), "events", query, spans.add); err != nil {
				return err
			}
			return spans.print(cmd.OutOrStdout(), status)
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "only objects in this namespace")
	c.Flags().BoolVar(&status, "status", false, "show the status fields that changed too")
	return c
}

// diffQuery asks for the events after the first moment up to the second.
func diffQuery(args []string, namespace string) (url.Values, error) {
	q := url.Values{"objects": {"1"}}
	if namespace != "" {
		q.Set("namespace", namespace)
	}
	if last := args[len(args)-1]; len(args) > 1 && strings.Contains(last, "/") {
		r, err := parseObject([]string{last}, namespace)
		if err != nil {
			return nil, err
		}
		q.Set("ref", r.String())
		args = args[:len(args)-1]
	}
	for i, names := range [...][2]string{{"since", "from"}, {"until", "to"}} {
		if i >= len(args) {
			break
		}
		moment, err := parseMoment(args[i], time.Now())
		if err != nil {
			return nil, err
		}
		revision, err := strconv.ParseUint(moment, 10, 64)
		switch {
		case err != nil:
			q.Set(names[0], moment)
		case i == 0:
			q.Set(names[1], strconv.FormatUint(revision+1, 10))
		default:
			q.Set(names[1], moment)
		}
	}
	return q, nil
}

// span is what happened to one object between the two moments.
type span struct {
	ref           ledgerapi.Ref
	before, after json.RawMessage
	last          event
}

type spans struct {
	byRef map[ledgerapi.Ref]*span
	order []ledgerapi.Ref
}

func newSpans() *spans { return &spans{byRef: map[ledgerapi.Ref]*span{}} }

func (s *spans) add(e event) error {
	known, ok := s.byRef[e.Ref]
	if !ok {
		known = &span{ref: e.Ref, before: e.Before}
		s.byRef[e.Ref] = known
		s.order = append(s.order, e.Ref)
	}
	known.after, known.last = e.Object, e
	return nil
}

func (s *spans) print(out io.Writer, status bool) error {
	shown := 0
	for _, r := range s.order {
		lines, err := s.byRef[r].describe(status)
		if err != nil {
			return err
		}
		for _, line := range lines {
			if _, err := fmt.Fprintln(out, line); err != nil {
				return err
			}
		}
		shown += len(lines)
	}
	if shown == 0 {
		_, err := fmt.Fprintln(out, "Nothing changed.")
		return err
	}
	return nil
}

// describe words one object's difference; nothing if there is none to show.
func (s *span) describe(status bool) ([]string, error) {
	absent := func(object json.RawMessage) bool { return len(object) == 0 || string(object) == "null" }
	who := color.New(color.Faint).Sprintf("  event %d by %s", s.last.Revision, s.last.Actor)
	switch {
	case absent(s.before) && absent(s.after):
		return nil, nil
	case absent(s.before):
		return []string{color.New(color.FgGreen).Sprint("+ "+short(s.ref)) + who}, nil
	case absent(s.after):
		return []string{color.New(color.FgRed).Sprint("- "+short(s.ref)) + who}, nil
	}
	var before, after map[string]any
	if err := json.Unmarshal(s.before, &before); err != nil {
		return nil, fmt.Errorf("%s before: %w", short(s.ref), err)
	}
	if err := json.Unmarshal(s.after, &after); err != nil {
		return nil, fmt.Errorf("%s after: %w", short(s.ref), err)
	}
	var lines []string
	for _, d := range fielddiff.Compare(before, after) {
		if bookkeeping(d.Path) || !status && strings.HasPrefix(d.Path, "status.") {
			continue
		}
		lines = append(lines, fmt.Sprintf("    %s: %s → %s", d.Path, plain(d.Before), plain(d.After)))
	}
	if len(lines) == 0 {
		return nil, nil
	}
	return append([]string{color.New(color.FgYellow).Sprint("~ "+short(s.ref)) + who}, lines...), nil
}

// bookkeeping are the fields that change with every write and say nothing of themselves.
func bookkeeping(path string) bool {
	for _, prefix := range []string{"metadata.resourceVersion", "metadata.managedFields", "metadata.generation", `metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]`} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

func plain(v any) string {
	if v == nil {
		return "(none)"
	}
	if text, ok := v.(string); ok {
		return text
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}
