package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events/timetravel"
	"github.com/wakehq/wake/gateway/ledgerapi"
)

// diffOptions are the filters of "wake diff", and how it shows what differs.
type diffOptions struct {
	namespace, labels, output string
	status, patch, stat, all  bool
	named                     bool // what is asked about was named: none of it is left out
}

func diffCommand(place *location) *cobra.Command {
	o := &diffOptions{}
	c := &cobra.Command{
		Use:   "diff <from> [<to>] [<kind>/<name> | <kind>[,<kind>…]]",
		Short: "Show what changed in the cluster between two moments, field by field",
		Long: `Show what changed in the cluster between two moments, object by object and field by field, and who changed it. What counts is the net effect: what changed and
changed back is only counted. Without <to>, up to now; <from>..<to> is understood too.

  + created   - deleted   ~ changed   ± created and deleted in between, or replaced by another of that name

A moment is ` + momentForms + `.`,
		Example: `  wake diff -10m
  wake diff 1042 1100 -n shop
  wake diff 10:00 10:05 deployment/web --status
  wake diff before event 1042 pods -l app=web`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, place, args) },
	}
	f := c.Flags()
	f.StringVarP(&o.namespace, "namespace", "n", "", "only objects in this namespace")
	f.StringVarP(&o.labels, "selector", "l", "", "only objects with these labels at one of the moments, as in app=web")
	f.BoolVar(&o.status, "status", false, "show the status fields that changed too")
	f.BoolVarP(&o.patch, "patch", "p", false, "show what created objects hold")
	f.BoolVar(&o.stat, "stat", false, "show only how many fields changed: + added, ~ changed, - removed")
	f.BoolVar(&o.all, "all", false, "show every object: also those that the cluster derives from others (endpoints, addresses, leases), and each that came and went")
	outputFlag(c, &o.output, "one document: from, to, summary, objects (ref, verb, events, fields)")
	return c
}

// diffAnswer is what -o json and yaml give.
type diffAnswer struct {
	ledgerapi.Between
	Summary map[string]int          `json:"summary"` // by verb
	Objects []*ledgerapi.ObjectDiff `json:"objects"`
}

func (o *diffOptions) run(cmd *cobra.Command, place *location, args []string) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	query, err := o.query(args, time.Now())
	if err != nil {
		return err
	}
	client, err := place.ledgerClient()
	if err != nil {
		return err
	}
	answer := diffAnswer{Summary: map[string]int{}, Objects: []*ledgerapi.ObjectDiff{}}
	first := true
	if _, err := lines(cmd.Context(), client, "diff", query, func(line json.RawMessage) error {
		if first {
			first = false
			return json.Unmarshal(line, &answer.Between)
		}
		object := &ledgerapi.ObjectDiff{}
		answer.Objects = append(answer.Objects, object)
		err := json.Unmarshal(line, object)
		answer.Summary[object.Verb]++
		return err
	}); err != nil {
		return err
	}
	if o.output != "" {
		return writeValue(cmd.OutOrStdout(), o.output, answer)
	}
	return o.print(cmd.OutOrStdout(), &answer, time.Now())
}

// query reads the moments and what follows them.
func (o *diffOptions) query(args []string, now time.Time) (url.Values, error) {
	q := url.Values{}
	if from, to, ok := strings.Cut(args[0], ".."); ok && from != "" {
		args = append([]string{from, to}, args[1:]...)
		if to == "" {
			args = append(args[:1], args[2:]...)
		}
	}
	from, rest, err := leadingMoment(args, now)
	if err != nil {
		return nil, err
	}
	q.Set("from", from)
	if len(rest) > 0 && rest[0] == "now" {
		rest = rest[1:]
	} else if len(rest) > 0 {
		to, after, err := leadingMoment(rest, now)
		var none *timetravel.MomentError
		switch {
		case err == nil:
			q.Set("to", to)
			rest = after
		case !errors.As(err, &none):
			return nil, err
		}
	}
	for name, value := range map[string]string{"namespace": o.namespace, "label": o.labels} {
		if value != "" {
			q.Set(name, value)
		}
	}
	q.Set("status", strconv.FormatBool(o.status))
	switch {
	case len(rest) == 1 && !strings.Contains(rest[0], "/"):
		if !isKinds(rest[0]) {
			return nil, fmt.Errorf("%q is neither a moment nor a kind of object: after the moments comes what to compare, as in deployment/web or pods", rest[0])
		}
		q.Set("kind", rest[0])
		o.named = true
	case len(rest) > 0:
		r, err := parseObject(rest, o.namespace)
		if err != nil {
			return nil, err
		}
		q.Set("ref", r.String())
		o.named = true
	}
	return q, nil
}

var diffMarks = map[string]struct {
	mark  string
	color *color.Color
	words string
}{
	ledgerapi.VerbCreated:  {"+", green, ""},
	ledgerapi.VerbDeleted:  {"-", red, ""},
	ledgerapi.VerbChanged:  {"~", yellow, ""},
	ledgerapi.VerbReplaced: {"±", yellow, "deleted and created anew"},
	ledgerapi.VerbPassed:   {"±", faint, "created and deleted in between"},
}

// passers is how many objects of a kind may come and go before they are told as one.
const passers = 3

func (o *diffOptions) print(out io.Writer, a *diffAnswer, now time.Time) error {
	counts, derived, width := map[string]int{}, 0, 0
	var shown []*ledgerapi.ObjectDiff
	passed := map[string][]*ledgerapi.ObjectDiff{}
	for _, d := range a.Objects {
		_, listed := diffMarks[d.Verb]
		if d.Derived && !o.all && !o.named {
			if listed {
				derived++
			}
			continue
		}
		counts[d.Verb]++
		if !listed {
			continue
		}
		shown = append(shown, d)
		if d.Verb == ledgerapi.VerbPassed && !o.all {
			passed[kindWords(d.Ref)] = append(passed[kindWords(d.Ref)], d)
		}
	}
	alone := func(d *ledgerapi.ObjectDiff) bool {
		return d.Verb != ledgerapi.VerbPassed || len(passed[kindWords(d.Ref)]) <= passers
	}
	for _, d := range shown {
		if alone(d) {
			width = max(width, len(short(d.Ref)))
		}
	}
	var b strings.Builder
	for _, d := range shown {
		if alone(d) {
			o.object(&b, d, min(width, widestPath))
		} else if group := passed[kindWords(d.Ref)]; group[0] == d {
			b.WriteString(passedWords(group))
		}
	}
	b.WriteString(diffSummary(a, counts, now))
	if derived > 0 {
		b.WriteString(faint.Sprintf("%s (endpoints, addresses, leases) left out: --all shows them.\n", count(derived, "derived object", "derived objects")))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// kindWords names an object's kind, and its namespace if that isn't the expected one.
func kindWords(r ledgerapi.Ref) string {
	if r.Namespace != "" && r.Namespace != metav1.NamespaceDefault {
		return r.Resource + " in " + r.Namespace
	}
	return r.Resource
}

// passedWords tells several objects of a kind that came and went as one.
func passedWords(group []*ledgerapi.ObjectDiff) string {
	var all []ledgerapi.DiffEvent
	for _, d := range group {
		all = append(all, d.Events...)
	}
	slices.SortFunc(all, func(a, b ledgerapi.DiffEvent) int { return cmp.Compare(a.Revision, b.Revision) })
	m := diffMarks[ledgerapi.VerbPassed]
	return m.color.Sprintf("%s %d %s", m.mark, len(group), kindWords(group[0].Ref)) + "  " + m.words + "  " + faint.Sprint(whoChanged(all)+"; --all lists them") + "\n"
}

// object words one object's difference.
func (o *diffOptions) object(b *strings.Builder, d *ledgerapi.ObjectDiff, width int) {
	m := diffMarks[d.Verb]
	title := m.color.Sprintf("%s %-*s", m.mark, width, short(d.Ref))
	if o.stat {
		counts := changeCounts{}
		if counts.add(d.Fields); len(d.Fields) > 0 {
			title += "  " + counts.String()
		}
	}
	if m.words != "" {
		title += "  " + m.words
	}
	fmt.Fprintf(b, "%s  %s\n", title, faint.Sprint(whoChanged(d.Events)))
	if o.stat || d.Verb == ledgerapi.VerbCreated && !o.patch {
		return
	}
	for _, l := range patchLines(d.Fields) {
		fmt.Fprintf(b, "    %s\n", l)
	}
}

// namedEvents is how many events of an actor are named by their number.
const namedEvents = 4

// whoChanged names all who contributed, in the order in which they first did: "3 changes by user:ada (1042), service:replication (1043, 1050)".
func whoChanged(list []ledgerapi.DiffEvent) string {
	var actors []string
	revisions := map[string][]string{}
	for _, e := range list {
		if revisions[e.Actor] == nil {
			actors = append(actors, e.Actor)
		}
		revisions[e.Actor] = append(revisions[e.Actor], strconv.FormatUint(e.Revision, 10))
	}
	for i, actor := range actors {
		named := revisions[actor]
		if more := len(named) - namedEvents; more > 1 {
			named = append(named[:namedEvents-1:namedEvents-1], "… "+named[len(named)-1])
		}
		actors[i] = fmt.Sprintf("%s (%s)", actor, strings.Join(named, ", "))
	}
	switch len(list) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("by %s, event %d", list[0].Actor, list[0].Revision)
	}
	return fmt.Sprintf("%d changes by %s", len(list), strings.Join(actors, ", "))
}

// diffSummary counts what became of the objects, and says between when.
func diffSummary(a *diffAnswer, counts map[string]int, now time.Time) string {
	var parts []string
	for _, part := range []struct{ verb, words string }{{ledgerapi.VerbCreated, "created"}, {ledgerapi.VerbChanged, "changed"}, {ledgerapi.VerbReplaced, "replaced"},
		{ledgerapi.VerbDeleted, "deleted"}, {ledgerapi.VerbPassed, "created and deleted"}, {ledgerapi.VerbReverted, "changed and changed back"}} {
		if counts[part.verb] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[part.verb], part.words))
		}
	}
	between := fmt.Sprintf("between %s and %s", momentWords(a.From, now, "revision "), momentWords(a.To, now, ""))
	text := "No changes " + between
	if len(parts) > 0 {
		text = strings.Join(parts, ", ") + " " + between
	}
	if observed := counts[ledgerapi.VerbObserved]; observed > 0 {
		text += fmt.Sprintf("; %s only in status (--status shows it)", count(observed, "object changed", "objects changed"))
	}
	return bold.Sprint(text) + "\n"
}

func momentWords(m ledgerapi.Moment, now time.Time, prefix string) string {
	if m.Time.IsZero() {
		return fmt.Sprintf("the beginning (%s%d)", prefix, m.Revision)
	}
	return fmt.Sprintf("%s (%s%d)", clockTime(m.Time, now), prefix, m.Revision)
}
