package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/fatih/color"

	"github.com/wakehq/wake/gateway/ledgerapi"
	"github.com/wakehq/wake/services/verify"
)

// shownDivergences is how many a person is shown; -o json has more.
const shownDivergences = 10

// page prints lines under headings, and remembers the first error.
type page struct {
	out io.Writer
	err error
}

func (p *page) line(heading, format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.out, "%-11s%s\n", heading, fmt.Sprintf(format, args...))
	}
}

var (
	fine  = color.New(color.FgGreen)
	wrong = color.New(color.FgRed, color.Bold)
	aside = color.New(color.Faint)
)

// print shows a person what was found out.
func (v *verification) print(out io.Writer) error {
	p := &page{out: out}
	for i := range v.Proofs {
		p.proof(&v.Proofs[i])
	}
	if v.Unproven != "" {
		p.line("Record", "%s %s", color.YellowString("not proven:"), v.Unproven)
	}
	if v.Decisions != nil {
		p.decisions(v.Decisions)
	}
	if v.Undecided != "" {
		p.line("Decisions", "%s %s", wrong.Sprint("not verified:"), v.Undecided)
	}
	p.state(v)
	if len(v.Proofs) > 0 && v.Proofs[0].Signed.Revision > 0 && len(v.Proofs[0].Findings) == 0 {
		p.line("Checkpoint", "%s %s", v.Proofs[0].Signed.Mark, aside.Sprint("(kept elsewhere, it proves this record against everybody: wake verify --checkpoint)"))
	}
	return p.err
}

// state shows whether the live view is what history comes to.
func (p *page) state(v *verification) {
	agrees, known := v.live()
	switch {
	case known && agrees:
		p.line("State", "%s at revision %d the live view is what history comes to, %s", fine.Sprint("the same:"), v.LiveRevision, v.LiveHash[:16])
	case known && v.Keyless:
		p.line("State", "%s the live view has Secrets open whose key isn't here: verify where the cluster's data directory is, with --data-dir", color.YellowString("not compared:"))
	case known:
		p.line("State", "%s at revision %d history comes to %s, the live view is %s: restart the cluster, and tell us", wrong.Sprint("different:"), v.LiveRevision, v.Decisions.Hash[:16], v.LiveHash[:16])
	case v.Decisions != nil:
		p.line("State", "%s at revision %d", v.Decisions.Hash[:16], v.Decisions.Revision)
	}
}

func (p *page) proof(proof *ledgerapi.Proof) {
	read := fmt.Sprintf("%s, revisions %d to %d", count(int(proof.Events), "event", "events"), proof.First, proof.Last)
	if proof.Events == 0 {
		read = "no events"
	}
	if len(proof.Findings) == 0 {
		p.line("Record", "%s %s: %s as witnessed, %d of them under signed checkpoints", fine.Sprint("whole:"), proof.Place, read, proof.Proven)
	} else {
		p.line("Record", "%s %s: %s", wrong.Sprint("BROKEN:"), proof.Place, read)
	}
	for _, f := range proof.Findings {
		p.line("", "%s %s", wrong.Sprint(f.Kind), f.What)
		p.line("", "  %s", f.Remedy)
	}
	if proof.Partial > 0 {
		p.line("", "of %s only the digest is kept: superseded status that was thinned, or secrets left out", count(int(proof.Partial), "event", "events"))
	}
	for _, b := range proof.Breaks {
		p.line("", "%s a break at revision %d was accepted on %s by %s: %s", color.YellowString("note:"), b.Revision, b.Time.Local().Format("2006-01-02 15:04"), b.Who, b.Reason)
	}
}

func (p *page) decisions(r *verify.Report) {
	recorded := 0
	for i := range r.Services {
		recorded += r.Services[i].Recorded
	}
	decided := fmt.Sprintf("%s of %s decided again, %s compared", count(r.Decisions(), "decision", "decisions"), count(len(r.Services), "service", "services"),
		count(recorded, "event", "events"))
	if r.Diverged == 0 {
		p.line("Decisions", "%s %s", fine.Sprint("no divergence:"), decided)
	} else {
		p.line("Decisions", "%s %s", wrong.Sprintf("%s:", count(r.Diverged, "divergence", "divergences")), decided)
	}
	if first := r.FirstMoved; first != nil {
		p.line("", "%s would be placed on another node, the first at revision %d: %s, %s", count(r.Moved, "pod", "pods"), first.Revision, first.Recorded.Object, first.Fields[0])
	}
	for i := range r.Divergences {
		if i == shownDivergences {
			p.line("", "… and %d more (-o json tells of %d)", r.Diverged-shownDivergences, len(r.Divergences))
			break
		}
		p.line("", "%s", &r.Divergences[i])
	}
	for _, u := range r.Unrecorded {
		p.line("", "%s", aside.Sprint(unrecordedWords(u)))
	}
	for _, n := range r.NotVerified {
		p.line("", "%s %s of service:%s, from revision %d on: %s", color.YellowString("not verified:"), count(n.Events, "event", "events"), n.Service, n.First, n.Reason)
	}
	if r.SetAside > 0 {
		p.line("", "%s %s that this wake does not understand, or that can't be read", color.YellowString("set aside:"), count(r.SetAside, "event", "events"))
	}
}

func unrecordedWords(u verify.Unrecorded) string {
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{{u.Overtaken, "lost to another writer"}, {u.Retried, "decided again later"}, {u.Unexplained, "never came about"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	return fmt.Sprintf("not recorded: %s of service:%s (%s), as when a process is killed or is not the first", u.Type, u.Service, strings.Join(parts, ", "))
}
