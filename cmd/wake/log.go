package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"

	"github.com/wakehq/wake/events"
)

// logOptions are the filters of "wake log", and how it shows what passes them.
type logOptions struct {
	namespace, labels, since, until, from, to, output string
	actors, kinds, types, paths                       []string
	chain                                             uint64
	tail                                              int
	follow, all, patch, stat, notes                   bool
}

func logCommand(place *location) *cobra.Command {
	o := &logOptions{}
	c := &cobra.Command{
		Use:   "log [<kind>/<name> | <kind>[,<kind>…] | <event>]",
		Short: "Show what happened: each change, who made it, what caused it",
		Long: `Show what happened, oldest first: each change, who made it, what caused it.

Routine events, by which the cluster only keeps up with itself (counts of replicas, lists of endpoints, a node's steps until a container runs), are left out unless
--all, --type or --path asks for them. On a terminal, without any bound, the newest ` + strconv.Itoa(defaultTail) + ` events are shown; --tail 0 shows all.

Moments (--since, --until) are ` + momentForms + `.`,
		Example: `  wake log deployment/web -p                one object, with each change as a field diff
  wake log --path spec.template -n shop     everything that touched a pod template (lists: containers.image, containers[web].image)
  wake log --actor ada --since -1h          what a person did in the last hour
  wake log pods --type PodBound             the placements
  wake log --chain 1042                     everything that has the same first cause as event 1042
  wake log 1042                             that event, with what it changed
  wake log -f                               what happens next`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, place, args) },
	}
	o.flags(c)
	return c
}

func (o *logOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&o.namespace, "namespace", "n", "", "only events in this namespace")
	f.StringVarP(&o.labels, "selector", "l", "", "only events of objects with these labels, as in app=web")
	f.StringSliceVar(&o.actors, "actor", nil, "only what this actor did: user:<name>, service:<name>, node:<name>; the name or the first word suffices")
	f.StringSliceVar(&o.kinds, "kind", nil, "only events of objects of this kind, as in deployments")
	f.StringSliceVar(&o.types, "type", nil, "only events of this type, as in PodBound; * stands for anything")
	f.StringArrayVar(&o.paths, "path", nil, "only what changed this field or one below it, as in spec.template")
	f.StringVar(&o.since, "since", "", "only what happened since that moment")
	f.StringVar(&o.until, "until", "", "only what happened until that moment")
	f.StringVar(&o.from, "from", "", "only from this event on")
	f.StringVar(&o.to, "to", "", "only up to this event")
	f.IntVar(&o.tail, "tail", 0, "only the last so many events (0: all)")
	f.Uint64Var(&o.chain, "chain", 0, "only what has the same first cause as this event")
	f.Uint64Var(&o.chain, "correlation", 0, "the same as --chain")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what happens next, until Ctrl-C")
	f.BoolVar(&o.all, "all", false, "routine events too")
	f.BoolVarP(&o.patch, "patch", "p", false, "show what each event changed, field by field")
	f.BoolVar(&o.stat, "stat", false, "show how many fields each event changed: + added, ~ changed, - removed")
	f.BoolVar(&o.notes, "notes", false, "show each event's message too; those of warnings are shown anyway")
	outputFlag(c, &o.output, "an event per line or document, complete (with -p also the fields changed: path, before, after)")
}

// defaultTail is how many events are shown on a terminal when nothing bounds them.
const defaultTail = 200

func (o *logOptions) run(cmd *cobra.Command, place *location, args []string) error {
	out := cmd.OutOrStdout()
	query, err := o.query(args, time.Now())
	if err != nil {
		return err
	}
	bounded := len(args) > 0 || cmd.Flags().Changed("tail") || o.since != "" || o.until != "" || o.from != "" || o.to != "" || o.chain != 0
	if !bounded && o.output == "" && onTerminal(out) {
		query.Set("tail", strconv.Itoa(defaultTail))
	}
	client, err := place.ledgerClient()
	if err != nil {
		return err
	}
	p := &eventPrinter{out: out, format: o.output, notes: o.notes, patch: o.patch, stat: o.stat, now: time.Now()}
	trailer, err := client.events(cmd.Context(), "events", query, p.print)
	if err != nil {
		return err
	}
	if o.output == "" {
		leftOut, _ := strconv.Atoi(trailer.Get("Wake-Left-Out"))
		p.sum(cmd.ErrOrStderr(), leftOut, query, o.tail == 0 && query.Get("tail") != "")
	}
	return nil
}

func (o *logOptions) query(args []string, now time.Time) (url.Values, error) {
	if err := checkOutput(o.output); err != nil {
		return nil, err
	}
	q := url.Values{}
	if err := o.subject(args, q); err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"namespace": o.namespace, "label": o.labels} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, values := range map[string][]string{"actor": o.actors, "type": o.types, "path": o.paths, "kind": o.kinds} {
		for _, value := range values {
			q.Add(name, value)
		}
	}
	if o.chain != 0 {
		q.Set("chain", strconv.FormatUint(o.chain, 10))
	}
	if o.tail > 0 {
		q.Set("tail", strconv.Itoa(o.tail))
	}
	for name, set := range map[string]bool{"follow": o.follow, "changes": o.patch || o.stat,
		"notable": !o.all && len(o.types) == 0 && len(o.paths) == 0 && q.Get("from") == ""} {
		if set {
			q.Set(name, "true")
		}
	}
	return q, o.bounds(q, now)
}

// subject reads which object, kinds or event args mean.
func (o *logOptions) subject(args []string, q url.Values) error {
	if len(args) == 0 {
		return nil
	}
	if revision, ok := parseEvent(args); ok {
		text := strconv.FormatUint(revision, 10)
		q.Set("from", text)
		q.Set("to", text)
		o.patch = !o.stat
		o.notes = true
		return nil
	}
	if len(args) == 1 && !strings.Contains(args[0], "/") && isKinds(args[0]) {
		q.Add("kind", args[0])
		return nil
	}
	r, err := parseObject(args, o.namespace)
	if err != nil {
		return err
	}
	q.Set("ref", r.String())
	return nil
}

// bounds reads the moments between which events are asked for.
func (o *logOptions) bounds(q url.Values, now time.Time) error {
	for _, bound := range []struct{ flag, value, parameter, asRevision string }{
		{"from", o.from, "since", "from"}, {"to", o.to, "until", "to"}, {"since", o.since, "since", "from"}, {"until", o.until, "until", "to"}} {
		if bound.value == "" {
			continue
		}
		moment, err := parseMoment(bound.value, now)
		if err != nil {
			return fmt.Errorf("--%s: %w", bound.flag, err)
		}
		if _, err := strconv.ParseUint(moment, 10, 64); err == nil {
			q.Set(bound.asRevision, moment)
		} else {
			q.Set(bound.parameter, moment)
		}
	}
	return nil
}

// eventPrinter prints events as aligned lines, a header first and one for each new day, or as JSON or YAML.
type eventPrinter struct {
	out                io.Writer
	format             string
	notes, patch, stat bool
	now                time.Time
	printed            int
	day                string // of the event printed last
	total              changeCounts
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
	if p.format != "" {
		return writeItem(p.out, p.format, e)
	}
	var lines []string
	if p.printed == 1 {
		lines = append(lines, bold.Sprintf("%*s  %-*s  %-*s  %-*s  %s", revisionWidth, "EVENT", timeWidth, "TIME", typeWidth, "WHAT", actorWidth, "WHO", "OBJECT"))
		p.day = p.now.Format(time.DateOnly)
	}
	if day := e.Stored.In(p.now.Location()).Format(time.DateOnly); day != p.day {
		p.day = day
		lines = append(lines, faint.Sprint(day))
	}
	p.total.add(e.Fields)
	lines = append(lines, p.line(e))
	if p.patch {
		for _, l := range patchLines(e.Fields) {
			lines = append(lines, strings.Repeat(" ", revisionWidth+2)+l)
		}
	}
	_, err := fmt.Fprintln(p.out, strings.Join(lines, "\n"))
	return err
}

func (p *eventPrinter) line(e event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%*d  %-*s  ", revisionWidth, e.Revision, timeWidth, e.Stored.In(p.now.Location()).Format("15:04:05.000"))
	b.WriteString(typeColor(e).Sprintf("%-*s", typeWidth, e.Type))
	fmt.Fprintf(&b, "  %-*s  %s", actorWidth, e.Actor, short(e.Ref))
	if node := placedOn(e); node != "" {
		b.WriteString(" → " + node)
	}
	switch {
	case p.stat:
		counts := changeCounts{}
		counts.add(e.Fields)
		if counted := counts.String(); counted != "" {
			b.WriteString("  " + counted)
		}
	case !p.patch:
		b.WriteString(changedWords(e))
	}
	if e.Cause != 0 {
		b.WriteString(faint.Sprintf("  because of %d", e.Cause))
	}
	if e.Note != nil && (p.notes || e.Note.Warning) {
		b.WriteString("  " + typeColor(e).Sprint(italic.Sprint(e.Note.Message)))
	}
	return strings.TrimRight(b.String(), " ")
}

// sum ends the list with what it doesn't show; cut says that nobody asked for only the newest.
func (p *eventPrinter) sum(out io.Writer, leftOut int, query url.Values, cut bool) {
	switch {
	case p.printed == 0 && leftOut == 0 && query.Get("ref") != "":
		fmt.Fprintf(out, "No events of %s match; -n names another namespace.\n", query.Get("ref"))
	case p.printed == 0 && leftOut == 0:
		fmt.Fprintln(out, "No events match.")
	case p.printed == 0:
		fmt.Fprintf(out, "No events match but %s: --all shows them.\n", count(leftOut, "routine event", "routine events"))
	case p.stat:
		fmt.Fprintf(p.out, "%s, fields: %s\n", count(p.printed, "event", "events"), p.total)
	}
	switch {
	case p.printed == 0 || !onTerminal(p.out):
	case cut && p.printed == defaultTail:
		fmt.Fprintln(out, faint.Sprint("Only the newest are shown: --tail 0 shows all, --all routine events too."))
	case leftOut > 0 && query.Get("tail") == "":
		fmt.Fprintln(out, faint.Sprintf("%s left out: --all shows them.", count(leftOut, "routine event", "routine events")))
	}
}

// shownPaths is how many changed paths a line names; -p and -o json have them all.
const shownPaths = 3

// changedWords names the fields that an event says it changed, where its type doesn't say it all.
func changedWords(e event) string {
	paths := slices.DeleteFunc(slices.Clone(e.Changed), func(path string) bool { return strings.HasPrefix(path, "metadata.deletion") })
	switch more := len(paths) - shownPaths; {
	case len(paths) == 0, e.Facet == events.Observed.String():
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
		return yellow
	case e.Tombstone:
		return red
	case strings.HasPrefix(e.Actor, "user:"):
		return color.New(color.FgCyan)
	case e.Routine:
		return faint
	}
	return color.New(color.Reset)
}
