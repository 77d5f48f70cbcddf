package restore

import "time"

// Ref names an object; Group is empty for the core group, Namespace for a cluster-scoped object.
type Ref struct {
	Group     string `json:"group,omitempty"`
	Resource  string `json:"resource"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// Request is what is to be restored, as JSON: objects; else a whole namespace; else the objects of a kind with certain labels.
type Request struct {
	At            string `json:"at"` // a moment
	Objects       []Ref  `json:"objects,omitempty"`
	Namespace     string `json:"namespace,omitempty"`
	Kind          *Ref   `json:"kind,omitempty"` // Name is empty; an empty Namespace means all
	LabelSelector string `json:"labelSelector,omitempty"`
	Owned         bool   `json:"owned,omitempty"`
	Prune         bool   `json:"prune,omitempty"`
	Rerun         bool   `json:"rerun,omitempty"`
	// Digest is that of the plan that was agreed to. If what is to be done is something else by now, nothing is done. Empty: whatever the plan is.
	Digest string `json:"digest,omitempty"`
}

// Answer is a plan, and what came of it.
type Answer struct {
	Revision uint64     `json:"revision"` // that is restored
	Time     *time.Time `json:"time,omitempty"`
	Basis    uint64     `json:"basis"` // the revision that the plan was made on
	DryRun   bool       `json:"dryRun,omitempty"`
	Digest   string     `json:"digest"`
	Events   int        `json:"events"`             // that carry it out
	Appended uint64     `json:"appended,omitempty"` // revision of the last of them
	Objects  []Line     `json:"objects"`
}

// Line is a plan's step for one object.
type Line struct {
	Ref     Ref     `json:"ref"`
	Kind    string  `json:"kind"`
	Action  Action  `json:"action"`
	Reason  string  `json:"reason,omitempty"`
	Changes []Field `json:"changes,omitempty"`
	Event   uint64  `json:"event,omitempty"` // revision of the event that did it
}

// Field is a field of an object: as it is, and as it was and is to be.
type Field struct {
	Path string `json:"path"`
	Now  any    `json:"now,omitempty"`
	Then any    `json:"then,omitempty"`
}

// Lines words the steps of p. first is the revision of the first of its events, 0 if they aren't in the ledger.
func (p *Plan) Lines(first uint64) []Line {
	out := make([]Line, 0, len(p.Steps))
	for i := range p.Steps {
		s := &p.Steps[i]
		l := Line{Ref: Ref(s.Ref), Kind: s.Kind, Action: s.Action, Reason: s.Reason}
		for _, d := range s.Changes {
			l.Changes = append(l.Changes, Field{Path: d.Path, Now: d.Before, Then: d.After})
		}
		if s.proposal != nil && first != 0 {
			l.Event = first
			first++
		}
		out = append(out, l)
	}
	return out
}
