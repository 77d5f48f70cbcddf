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
)

// logOptions are the filters of "wake log".
type logOptions struct {
	namespace, actor, eventType, since, until, output string
	from, to                                          uint64
	tail                                              int
	follow, notes                                     bool
}

func logCommand(place *location) *cobra.Command {
	o := &logOptions{}
	c := &cobra.Command{
		Use:   "log [<kind>/<name>]",
		Short: "Show what happened: each event, who did it, what caused it",
		Example: `  wake log                                  everything the ledger holds
  wake log deployment/web -f                one object, and what happens to it next
  wake log --actor user:kubernetes-admin    what a person did
  wake log --since -10m --type PodBound     the placements of the last ten minutes`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, place, args) },
	}
	f := c.Flags()
	f.StringVarP(&o.namespace, "namespace", "n", "", "only events in this namespace")
	f.StringVar(&o.actor, "actor", "", "only what this actor did: user:<name>, service:<name>, node:<name>")
	f.StringVar(&o.eventType, "type", "", "only events of this type, as in PodBound")
	f.StringVar(&o.since, "since", "", "only what happened since then: "+momentForms)
	f.StringVar(&o.until, "until", "", "only what happened until then")
	f.Uint64Var(&o.from, "from", 0, "only from this revision on")
	f.Uint64Var(&o.to, "to", 0, "only up to this revision")
	f.IntVar(&o.tail, "tail", 0, "only the last so many events (0: all)")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what happens next, until Ctrl-C")
	f.BoolVar(&o.notes, "notes", false, "show each event's message too")
	f.StringVarP(&o.output, "output", "o", "", "json: one event per line, complete")
	return c
}

func (o *logOptions) run(cmd *cobra.Command, place *location, args []string) error {
	query, err := o.query(args)
	if err != nil {
		return err
	}
	client, err := place.ledgerClient()
	if err != nil {
		return err
	}
	p := &eventPrinter{out: cmd.OutOrStdout(), json: o.output == "json", notes: o.notes}
	if err := client.events(cmd.Context(), "events", query, p.print); err != nil {
		return err
	}
	if p.printed == 0 && !p.json {
		fmt.Fprintln(cmd.ErrOrStderr(), "No events match.")
	}
	return nil
}

func (o *logOptions) query(args []string) (url.Values, error) {
	if o.output != "" && o.output != "json" {
		return nil, fmt.Errorf("--output %s: only json is known", o.output)
	}
	q := url.Values{}
	set := func(name, value string) {
		if value != "" && value != "0" {
			q.Set(name, value)
		}
	}
	if len(args) > 0 {
		r, err := parseObject(args, o.namespace)
		if err != nil {
			return nil, err
		}
		q.Set("ref", r.String())
	}
	set("namespace", o.namespace)
	set("actor", o.actor)
	set("type", o.eventType)
	set("from", strconv.FormatUint(o.from, 10))
	set("to", strconv.FormatUint(o.to, 10))
	set("tail", strconv.Itoa(o.tail))
	if o.follow {
		q.Set("follow", "true")
	}
	for _, bound := range []struct{ flag, value, asRevision string }{{"since", o.since, "from"}, {"until", o.until, "to"}} {
		if bound.value == "" {
			continue
		}
		moment, err := parseMoment(bound.value, time.Now())
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", bound.flag, err)
		}
		if _, err := strconv.ParseUint(moment, 10, 64); err == nil {
			q.Set(bound.asRevision, moment)
		} else {
			q.Set(bound.flag, moment)
		}
	}
	return q, nil
}

// eventPrinter prints events as aligned lines, a header first, or as JSON.
type eventPrinter struct {
	out         io.Writer
	json, notes bool
	printed     int
}

// The widths of the columns before the last, in characters; longer values push the rest aside.
const (
	revisionWidth = 8
	timeWidth     = 12
	typeWidth     = 24
	actorWidth    = 26
)

func (p *eventPrinter) print(e event) error {
	p.printed++
	if p.json {
		return json.NewEncoder(p.out).Encode(e)
	}
	if p.printed == 1 {
		_, err := fmt.Fprintln(p.out, color.New(color.Bold).Sprintf("%*s  %-*s  %-*s  %-*s  %s", revisionWidth, "REVISION", timeWidth, "TIME", typeWidth, "EVENT", actorWidth, "WHO", "OBJECT"))
		if err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(p.out, eventLine(e, p.notes))
	return err
}

func eventLine(e event, notes bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%*d  %-*s  ", revisionWidth, e.Revision, timeWidth, e.Stored.Local().Format("15:04:05.000"))
	b.WriteString(typeColor(e).Sprintf("%-*s", typeWidth, e.Type))
	fmt.Fprintf(&b, "  %-*s  %s", actorWidth, e.Actor, short(e.Ref))
	b.WriteString(changedWords(e.Changed))
	if e.Cause != 0 {
		b.WriteString(color.New(color.Faint).Sprintf("  because of %d", e.Cause))
	}
	if notes && e.Note != nil {
		b.WriteString("  " + color.New(color.Italic).Sprint(e.Note.Message))
	}
	return b.String()
}

// shownPaths is how many changed paths a line names; -o json has them all.
const shownPaths = 3

func changedWords(paths []string) string {
	switch more := len(paths) - shownPaths; {
	case len(paths) == 0:
		return ""
	case more > 1:
		return fmt.Sprintf("  %s and %d more", strings.Join(paths[:shownPaths], " "), more)
	}
	return "  " + strings.Join(paths, " ")
}

// typeColor marks what people look for: what went wrong, what ended, what a person did.
func typeColor(e event) *color.Color {
	switch {
	case e.Note != nil && e.Note.Warning:
		return color.New(color.FgYellow)
	case e.Tombstone:
		return color.New(color.FgRed)
	case strings.HasPrefix(e.Actor, "user:"):
		return color.New(color.FgCyan)
	}
	return color.New(color.Reset)
}
