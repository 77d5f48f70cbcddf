package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fatih/color"

	"github.com/wakehq/wake/gateway/ledgerapi"
	"github.com/wakehq/wake/gateway/restore"
)

// restorePrinter shows plans of restoring to people.
type restorePrinter struct{ out io.Writer }

func (p *restorePrinter) line(format string, args ...any) {
	_, _ = fmt.Fprintf(p.out, format+"\n", args...)
}

// marks say at a glance what happens to an object.
var marks = map[restore.Action]struct {
	mark, word string
	paint      *color.Color
}{
	restore.Create:  {"+", "created again", color.New(color.FgGreen)},
	restore.Change:  {"~", "changed back", color.New(color.FgYellow)},
	restore.Delete:  {"-", "deleted", color.New(color.FgRed)},
	restore.Blocked: {"!", "can't be restored", color.New(color.FgRed, color.Bold)},
}

// plan shows what would be done.
func (p *restorePrinter) plan(plan *restore.Answer) {
	when := ""
	if plan.Time != nil {
		when = fmt.Sprintf(" (%s, %s ago)", clockTime(*plan.Time, time.Now()), spanWords(time.Since(*plan.Time).Truncate(time.Second)))
	}
	p.line("As it was at revision %d%s:", plan.Revision, when)
	width := 0
	for _, l := range plan.Objects {
		if _, shown := marks[l.Action]; shown {
			width = max(width, len(nameOf(l)))
		}
	}
	unchanged, skipped := 0, map[string]int{}
	for _, l := range plan.Objects {
		switch m, shown := marks[l.Action]; {
		case shown:
			p.line("  %s  %s", m.paint.Sprintf("%s %-*s", m.mark, width, nameOf(l)), withReason(m.word, l.Reason))
			p.changes(l.Changes)
		case l.Action == restore.Unchanged:
			unchanged++
		default:
			skipped[reasonWords(l.Reason)]++
		}
	}
	faint := color.New(color.Faint)
	if unchanged > 0 {
		p.line("%s", faint.Sprintf("  = %s as it was then", count(unchanged, "object is", "objects are")))
	}
	for _, reason := range slices.Sorted(maps.Keys(skipped)) {
		p.line("%s", faint.Sprintf("  . %s %s", p.skippedNames(plan, reason), reason))
	}
	if plan.Events == 0 && countActions(plan, restore.Blocked) == 0 {
		p.line("There is nothing to do.")
	}
}

// reasonWords words why an object is left out, the same for all that are left to controllers.
func reasonWords(reason string) string {
	if strings.HasPrefix(reason, "left to ") {
		return "left to what makes them (--with-owned)"
	}
	return "left out: " + reason
}

// skippedNames names the objects that are left out for one reason, the first few of them.
func (p *restorePrinter) skippedNames(plan *restore.Answer, reason string) string {
	var names []string
	for _, l := range plan.Objects {
		if l.Action == restore.Skip && reasonWords(l.Reason) == reason {
			names = append(names, nameOf(l))
		}
	}
	const few = 3
	if len(names) > few {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
	}
	return strings.Join(names, ", ")
}

func (p *restorePrinter) changes(changes []restore.Field) {
	fields := make([]ledgerapi.Field, len(changes))
	for i, f := range changes {
		fields[i] = ledgerapi.Field{Path: f.Path, Before: f.Now, After: f.Then, Secret: f.Now == restore.Hidden || f.Then == restore.Hidden}
	}
	for _, line := range patchLines(fields) {
		p.line("      %s", line)
	}
}

// done shows what was done.
func (p *restorePrinter) done(done *restore.Answer) {
	first := done.Appended - uint64(done.Events) + 1
	span := fmt.Sprintf("event %d", first)
	if done.Events > 1 {
		span = fmt.Sprintf("events %d to %d", first, done.Appended)
	}
	p.line("Restored: %s, in one step (%s).%s", count(done.Events, "object", "objects"), span, undoHint(done, first))
}

// undoHint says how to undo the restoring, where the same command can.
func undoHint(done *restore.Answer, first uint64) string {
	if countActions(done, restore.Create) > 0 {
		return ""
	}
	return fmt.Sprintf(" To undo it: the same with --at \"before event %d\".", first)
}

func withReason(word, reason string) string {
	switch {
	case reason == "":
		return word
	case word == marks[restore.Blocked].word:
		return word + ": " + reason
	}
	return word + ", " + reason
}

// nameOf names an object as kubectl does, with its namespace: deployment.apps/shop/web.
func nameOf(l restore.Line) string {
	name := strings.ToLower(l.Kind)
	if l.Ref.Group != "" {
		name += "." + l.Ref.Group
	}
	if l.Ref.Namespace != "" {
		name += "/" + l.Ref.Namespace
	}
	return name + "/" + l.Ref.Name
}
