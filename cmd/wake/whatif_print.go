package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fatih/color"

	"github.com/wakehq/wake/services/simulation"
)

// Bounds of what is printed of a report unless all is asked for.
const (
	mostSteps  = 24
	mostShares = 6 // nodes on which pods are placed
	mostNames  = 3 // pods by name
	mostShort  = 8 // workloads that are short of replicas
)

// whatIfPrinter words a report for people.
type whatIfPrinter struct {
	*simulation.Report
	all bool
	out strings.Builder
}

func (p *whatIfPrinter) text() string {
	title := fmt.Sprintf("What if %s at revision %d (%s)?", enumerate(p.Question), p.Revision, p.Time.Local().Format("15:04:05"))
	p.line("%s", color.New(color.Bold).Sprint(title))
	for _, warning := range p.Warnings {
		p.line("  %s %s", color.YellowString("Warning:"), warning)
	}
	if p.Nothing() {
		p.line("Nothing would change.")
		if len(p.Question) == 1 && strings.HasPrefix(p.Question[0], "the scheduler") {
			p.line("%s", color.New(color.Faint).Sprint("The scheduler moves no pod that has a node. Ask together with what makes it place some, such as --drain or --scale."))
		}
		return p.out.String()
	}
	p.steps()
	p.elsewhere()
	p.waiting(p.Pending, "stay pending", nowhere)
	p.waiting(p.Blocked, "not start", nowhere)
	p.waiting(p.Held, "not be evicted", func(w *simulation.Waiting) string { return "from " + w.Node })
	p.waiting(p.Ending, "stay terminating", func(w *simulation.Waiting) string { return "on " + w.Node })
	if len(p.Lost) > 0 {
		p.line("  %s", color.New(color.FgRed).Sprintf("%s would be gone for good:", pods(len(p.Lost))))
		p.line("    %s  nothing owns, and so replaces, what was made by hand", p.names(p.Lost))
	}
	p.short()
	p.end()
	return p.out.String()
}

func (p *whatIfPrinter) line(format string, args ...any) { fmt.Fprintf(&p.out, format+"\n", args...) }

// colors are those in which steps of a kind are shown.
var colors = map[simulation.What]color.Attribute{
	simulation.NodeLost: color.FgRed, simulation.PodEvicted: color.FgRed, simulation.PodNoNode: color.FgRed, simulation.PodBlocked: color.FgRed,
	simulation.RolloutStuck: color.FgRed, simulation.JobFailed: color.FgRed, simulation.ObjectRefused: color.FgRed, simulation.ServiceNoReady: color.FgRed,
	simulation.PodUnready: color.FgYellow, simulation.ObjectGone: color.FgYellow, simulation.PodGone: color.FgYellow, simulation.PodEnding: color.FgYellow,
	simulation.PodPlaced: color.FgGreen, simulation.PodReplaced: color.FgGreen, simulation.PodReady: color.FgGreen, simulation.NodeReady: color.FgGreen,
	simulation.RolloutDone: color.FgGreen, simulation.JobDone: color.FgGreen, simulation.ServiceReady: color.FgGreen,
}

func (p *whatIfPrinter) steps() {
	if len(p.Steps) == 0 {
		var types []string
		for kind, count := range p.Events {
			types = append(types, fmt.Sprintf("%d %s", count, kind))
		}
		slices.Sort(types)
		p.line("  Nothing follows but %s.", enumerate(types))
	}
	before := ""
	for i, s := range p.Steps {
		if i == mostSteps && !p.all {
			p.line("  %s", color.New(color.Faint).Sprintf("… and %d more steps (-o wide shows all)", len(p.Steps)-i))
			break
		}
		at := "+" + s.At.String()
		if at == before {
			at = ""
		} else {
			before = at
		}
		text := s.Text
		if len(s.Nodes) > 0 && len(s.Objects) > 1 {
			text += ": " + p.shares(s.Nodes)
		} else if len(s.Objects) > 1 && len(s.Objects) <= mostNames && !p.all && s.What != simulation.PodBlocked && strings.Contains(text, "pods") {
			text += ": " + strings.Join(s.Objects, ", ")
		}
		p.line("  %s %s", color.New(color.Faint).Sprintf("%-9s", at), color.New(colors[s.What]).Sprint(text))
		if p.all && len(s.Objects) > 1 {
			p.list(&s)
		}
	}
}

// list names all objects of a step, with their nodes if it places them.
func (p *whatIfPrinter) list(s *simulation.Step) {
	placed := map[string]string{}
	if len(s.Nodes) > 0 {
		for _, one := range p.Placed {
			placed[one.Pod] = " → " + one.Node
		}
	}
	for _, object := range s.Objects {
		p.line("              %s%s", object, placed[object])
	}
}

// shares says how many go where, or on how many nodes.
func (p *whatIfPrinter) shares(nodes []simulation.Share) string {
	var parts []string
	for i, n := range nodes {
		if i == mostShares && len(nodes) > mostShares+1 && !p.all {
			rest := 0
			for _, other := range nodes[i:] {
				rest += other.Count
			}
			parts = append(parts, fmt.Sprintf("%d → %d other nodes", rest, len(nodes)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%d → %s", n.Count, n.Node))
	}
	return strings.Join(parts, ", ")
}

func (p *whatIfPrinter) elsewhere() {
	if len(p.Elsewhere) == 0 {
		return
	}
	p.line("  %s", color.YellowString("%s of %d placed elsewhere than the present scheduler would:", pods(len(p.Elsewhere)), len(p.Placed)))
	for i, e := range p.Elsewhere {
		if i == mostShares && !p.all {
			p.line("    %s", color.New(color.Faint).Sprintf("… and %d more (-o wide shows all)", len(p.Elsewhere)-i))
			break
		}
		present := e.Present
		if present == "" {
			present = "no node"
		}
		p.line("    %s → %s, not %s", e.Pod, e.Node, present)
	}
}

// waiting tells of pods that are left in some plight, those together that have the same reason.
func (p *whatIfPrinter) waiting(all []simulation.Waiting, plight string, where func(*simulation.Waiting) string) {
	var reasons []string
	byReason := map[string][]string{}
	count, anyway := 0, 0
	for i := range all {
		w := &all[i]
		if w.Anyway {
			anyway++
			continue
		}
		count++
		reason := w.Why
		if at := where(w); at != "" {
			reason = at + ": " + reason
		}
		if _, known := byReason[reason]; !known {
			reasons = append(reasons, reason)
		}
		byReason[reason] = append(byReason[reason], w.Pod)
	}
	if count > 0 {
		p.line("  %s", color.New(color.FgRed).Sprintf("%s would %s:", pods(count), plight))
		for _, reason := range reasons {
			p.line("    %s  %s", p.names(byReason[reason]), reason)
		}
	}
	if anyway > 0 {
		p.line("  %s", color.New(color.Faint).Sprintf("(%s would %s anyway.)", pods(anyway), plight))
	}
}

func nowhere(*simulation.Waiting) string { return "" }

// names names pods, the first few unless all are asked for.
func (p *whatIfPrinter) names(names []string) string {
	if len(names) > mostNames && !p.all {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:mostNames-1], ", "), len(names)-mostNames+1)
	}
	return strings.Join(names, ", ")
}

func (p *whatIfPrinter) short() {
	told := 0
	for _, s := range p.Short {
		if s.Anyway {
			continue
		}
		if told++; told > mostShort && !p.all {
			continue
		}
		why := ""
		if s.Why != "" {
			why = ": " + s.Why
		}
		have := fmt.Sprintf("%s would have %d of %d replicas available", s.Object, s.Have, s.Want)
		if s.New < s.Want {
			have += fmt.Sprintf(", %d updated", s.New)
		}
		p.line("  %s%s", color.RedString("%s", have), why)
	}
	if told > mostShort && !p.all {
		p.line("  %s", color.New(color.Faint).Sprintf("… and %d more would be short of replicas (-o wide shows all)", told-mostShort))
	}
}

func (p *whatIfPrinter) end() {
	end := fmt.Sprintf("Things still happen when the %s end; --for says how long to go on.", p.Simulated)
	switch {
	case p.Converges != nil && *p.Converges == 0:
		end = "It is done at once."
	case p.Converges != nil:
		end = fmt.Sprintf("Converges after %s.", p.Converges)
	}
	p.line("%s Nothing was written.", color.New(color.Bold).Sprint(end))
}

func pods(n int) string {
	if n == 1 {
		return "1 pod"
	}
	return fmt.Sprintf("%d pods", n)
}

// enumerate joins words: "a, b and c".
func enumerate(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
