package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// impactOptions are what "wake impact" shows of a chain.
type impactOptions struct {
	namespace, at, output string
	depth                 int
	all                   bool
}

func impactCommand(place *location) *cobra.Command {
	o := &impactOptions{}
	c := &cobra.Command{
		Use:   "impact <event> | <kind>/<name>",
		Short: "Show everything that followed from an event, as a tree",
		Long: `Show everything that followed from an event, as a tree: what it caused, what that caused, and how long each step took. Of an object it takes what a person did to
it last. Repeated steps are folded into one, with their number and the range of their delays; routine ones that led to nothing else are left out.

A moment (--at) is ` + momentForms + `: what had followed by then.`,
		Example: `  wake impact 1042
  wake impact deployment/web
  wake impact 1042 --all --depth 3`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, place, args) },
	}
	f := c.Flags()
	f.StringVarP(&o.namespace, "namespace", "n", "", "the object's namespace")
	f.StringVar(&o.at, "at", "", "what had followed by that moment")
	f.IntVar(&o.depth, "depth", 0, "only so many steps down (0: all)")
	f.BoolVar(&o.all, "all", false, "every event by itself, routine ones too")
	outputFlag(c, &o.output, "one document: event, consequences (events, oldest first, each with its cause), seconds until the last")
	return c
}

// impactAnswer is what -o json and yaml give.
type impactAnswer struct {
	Event        event   `json:"event"`
	Consequences []event `json:"consequences"`
	Seconds      float64 `json:"seconds"` // from the event until its last consequence
}

func (o *impactOptions) run(cmd *cobra.Command, place *location, args []string) error {
	query, err := o.query(args, time.Now())
	if err != nil {
		return err
	}
	client, err := place.ledgerClient()
	if err != nil {
		return err
	}
	answer := impactAnswer{Consequences: []event{}}
	if _, err := client.events(cmd.Context(), "impact", query, func(e event) error {
		if answer.Event.Revision == 0 {
			answer.Event = e
			return nil
		}
		answer.Consequences = append(answer.Consequences, e)
		answer.Seconds = e.Stored.Sub(answer.Event.Stored).Seconds()
		return nil
	}); err != nil {
		return err
	}
	if o.output != "" {
		return writeValue(cmd.OutOrStdout(), o.output, answer)
	}
	return o.print(cmd.OutOrStdout(), &answer, time.Now())
}

func (o *impactOptions) query(args []string, now time.Time) (url.Values, error) {
	q := url.Values{}
	if err := checkOutput(o.output); err != nil {
		return nil, err
	}
	if err := setMoment(q, "at", o.at, now); err != nil {
		return nil, err
	}
	if revision, ok := parseEvent(args); ok {
		q.Set("event", strconv.FormatUint(revision, 10))
		return q, nil
	}
	r, err := parseObject(args, o.namespace)
	if err != nil {
		return nil, err
	}
	q.Set("ref", r.String())
	return q, nil
}

// branch is a step of a tree: one event, or several that are told as one.
type branch struct {
	events         []event
	shortest, last time.Duration // since the cause of each
	children       []*branch
}

// tree files events below what caused them.
type tree struct {
	byCause  map[uint64][]event
	stored   map[uint64]time.Time
	unfolded bool
	leftOut  int
}

func newTree(a *impactAnswer, unfolded bool) *tree {
	t := &tree{byCause: map[uint64][]event{}, stored: map[uint64]time.Time{a.Event.Revision: a.Event.Stored}, unfolded: unfolded}
	for _, e := range a.Consequences {
		t.stored[e.Revision] = e.Stored
	}
	kept := map[uint64]bool{} // routine events are kept for what they led to
	for i := len(a.Consequences) - 1; i >= 0; i-- {
		e := a.Consequences[i]
		if e.Routine && !unfolded && !kept[e.Revision] {
			t.leftOut++
			continue
		}
		kept[e.Cause] = true
	}
	for _, e := range a.Consequences {
		if !e.Routine || unfolded || kept[e.Revision] {
			t.byCause[e.Cause] = append(t.byCause[e.Cause], e)
		}
	}
	return t
}

// grow returns the branches below parents: what they caused, alike ones together.
func (t *tree) grow(parents []event, depth int) []*branch {
	if depth == 0 {
		return nil
	}
	var out []*branch
	alike := map[string]*branch{}
	for _, parent := range parents {
		for _, e := range t.byCause[parent.Revision] {
			key := e.Type + " " + e.Ref.Group + "/" + e.Ref.Resource + " " + e.Actor
			delay := e.Stored.Sub(t.stored[e.Cause])
			b := alike[key]
			if b == nil || t.unfolded {
				b = &branch{shortest: delay, last: delay}
				alike[key] = b
				out = append(out, b)
			}
			b.events = append(b.events, e)
			b.shortest, b.last = min(b.shortest, delay), max(b.last, delay)
		}
	}
	for _, b := range out {
		b.children = t.grow(b.events, depth-1)
	}
	return out
}

func (o *impactOptions) print(out io.Writer, a *impactAnswer, now time.Time) error {
	var b strings.Builder
	e := a.Event
	fmt.Fprintf(&b, "%s  %s  %s\n", typeColor(e).Sprint(bold.Sprint(e.Type)), short(e.Ref), faint.Sprintf("at %s by %s, event %d", preciseTime(e.Stored, now), e.Actor, e.Revision))
	t := newTree(a, o.all)
	depth := o.depth
	if depth <= 0 {
		depth = -1
	}
	printBranches(&b, "", t.grow([]event{e}, depth))
	b.WriteString("\n" + impactSummary(a, t.leftOut, now) + "\n")
	_, err := io.WriteString(out, b.String())
	return err
}

func printBranches(b *strings.Builder, indent string, branches []*branch) {
	for i, br := range branches {
		joint, below := "├─ ", "│  "
		if i == len(branches)-1 {
			joint, below = "└─ ", "   "
		}
		fmt.Fprintf(b, "%s%s\n", faint.Sprint(indent+joint), br.line())
		printBranches(b, indent+below, br.children)
	}
}

func (b *branch) line() string {
	e := b.events[0]
	delay := "+" + spanWords(b.shortest)
	if spanWords(b.last) != spanWords(b.shortest) {
		delay += "…+" + spanWords(b.last)
	}
	if len(b.events) == 1 {
		target := short(e.Ref)
		if node := placedOn(e); node != "" {
			target += " → " + node
		}
		return fmt.Sprintf("%s  %s  %s  %s", typeColor(e).Sprint(e.Type), target, delay, faint.Sprintf("%s, event %d", e.Actor, e.Revision))
	}
	objects, first, last := map[string]bool{}, e.Revision, e.Revision
	for _, e := range b.events {
		objects[short(e.Ref)] = true
		first, last = min(first, e.Revision), max(last, e.Revision)
	}
	target := fmt.Sprintf("%d %s", len(objects), e.Ref.Resource)
	if len(objects) == 1 {
		target = short(e.Ref)
	}
	return fmt.Sprintf("%d × %s  %s  %s  %s", len(b.events), typeColor(e).Sprint(e.Type), target, delay,
		faint.Sprintf("%s, events %d…%d", e.Actor, first, last))
}

// impactSummary counts what followed, and says how long it took.
func impactSummary(a *impactAnswer, leftOut int, now time.Time) string {
	n := len(a.Consequences)
	if n == 0 {
		return "Nothing followed from it."
	}
	objects := map[string]bool{}
	for _, e := range a.Consequences {
		objects[e.Ref.Group+"/"+short(e.Ref)] = true
	}
	last := a.Consequences[n-1]
	text := bold.Sprintf("%s about %s followed within %s", count(n, "event", "events"), count(len(objects), "object", "objects"), spanWords(last.Stored.Sub(a.Event.Stored)))
	text += fmt.Sprintf("; the last was %s of %s at %s", last.Type, short(last.Ref), clockTime(last.Stored, now))
	if leftOut > 0 {
		text += faint.Sprintf("\n%s left out: --all shows them.", count(leftOut, "routine event", "routine events"))
	}
	return text
}
