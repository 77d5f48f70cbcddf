package verify

import (
	"fmt"
	"strings"
	"time"

	"github.com/wakehq/wake/events"
)

// Report is what came of a verification.
type Report struct {
	First    events.Revision `json:"first"`    // the first event that was folded
	Revision events.Revision `json:"revision"` // the last one: the state is that at it
	Hash     string          `json:"hash"`     // of that state, as State.Hash gives it
	Events   int             `json:"events"`   // folded
	SetAside int             `json:"setAside"` // of these, not understood

	Services    []Service         `json:"services"`              // what was decided again, by name
	Diverged    int               `json:"diverged"`              // how many divergences there are
	Divergences []Divergence      `json:"divergences,omitempty"` // the first of them, at most Config.MaxDivergences
	Moved       int               `json:"moved"`                 // of these, pods that would be placed on another node
	FirstMoved  *Divergence       `json:"firstMoved,omitempty"`  // the first of them
	Unrecorded  []Unrecorded      `json:"unrecorded,omitempty"`  // by service and type
	NotVerified []NotVerified     `json:"notVerified,omitempty"` // by service and reason
	Aside       []events.SetAside `json:"aside,omitempty"`       // the first of the events that were not understood

	Took time.Duration `json:"took"` // in nanoseconds
}

// Decisions returns how many decisions were made again.
func (r *Report) Decisions() (n int) {
	for i := range r.Services {
		n += r.Services[i].Decisions
	}
	return n
}

// Service is how one service fared.
type Service struct {
	Name      string `json:"name"`
	Decisions int    `json:"decisions"` // made again
	Recorded  int    `json:"recorded"`  // events of these, compared whole
	Diverged  int    `json:"diverged"`
}

// Kind is what is wrong.
type Kind string

// The kinds of divergences.
const (
	// Differs: the decision writes the same facet of the same object, but says something else.
	Differs Kind = "differs"
	// Told: the decision does the same, but tells people otherwise: in its note, or in what it says for a placement.
	Told Kind = "told"
	// Absent: the decision doesn't write the recorded facet. Decided is then what it writes instead, if anything.
	Absent Kind = "absent"
	// Added: the decision writes something more in a batch that is recorded without it.
	Added Kind = "added"
	// Impossible: no service could have recorded the event on this ground, whatever its code; Reason says why.
	Impossible Kind = "impossible"
	// Failed: the decision can't be made: the decider falls over. Reason says how.
	Failed Kind = "failed"
)

// Divergence is one recorded event that isn't decided again, or the other way around.
type Divergence struct {
	Kind     Kind            `json:"kind"`
	Revision events.Revision `json:"revision"` // of the recorded event; of the batch's last one for Added
	Service  string          `json:"service"`
	Key      string          `json:"key"`
	Basis    events.Revision `json:"basis"`
	At       time.Time       `json:"at"`

	Recorded *Fact        `json:"recorded,omitempty"` // nil for Added
	Decided  *Fact        `json:"decided,omitempty"`  // nil if nothing comes near the recorded one
	Fields   []Difference `json:"fields,omitempty"`   // in which Decided is not Recorded: the node of a placement first, the event's own last
	Reason   string       `json:"reason,omitempty"`
}

// Fact is what an event says, in short.
type Fact struct {
	Type   string `json:"type"`
	Facet  string `json:"facet"`
	Object string `json:"object"` // "pods/default/web-x"
}

// Difference is one field. Its path begins with "spec", "status" and the like for the object's fields, with "event" for the event's own, with "assigned" for a placement's ("assigned.node"). A side without
// the field is nil; else it is what encoding/json decodes.
type Difference struct {
	Path     string `json:"path"`
	Recorded any    `json:"recorded"`
	Now      any    `json:"now"`
}

// String gives `spec.nodeName: recorded "n1", now "n2"`.
func (d Difference) String() string {
	word := func(v any) string {
		switch v := v.(type) {
		case nil:
			return "nothing"
		case string:
			return fmt.Sprintf("%q", v)
		}
		return fmt.Sprint(v)
	}
	return fmt.Sprintf("%s: recorded %s, now %s", d.Path, word(d.Recorded), word(d.Now))
}

// maxFieldsTold is how many fields String tells of.
const maxFieldsTold = 3

// String tells a divergence in one line: `1042 PodBound pods/default/web-x by scheduler on 1039: spec.nodeName: recorded "n1", now "n2"`.
func (d *Divergence) String() string {
	var b strings.Builder
	fact := d.Recorded
	if fact == nil {
		fact = d.Decided
	}
	fmt.Fprintf(&b, "%d %s %s by %s on %d: ", d.Revision, fact.Type, fact.Object, d.Service, d.Basis)
	switch d.Kind {
	case Added:
		b.WriteString("not recorded, now decided in the same batch")
	case Absent:
		b.WriteString("recorded, now not decided")
		if d.Decided != nil {
			fmt.Fprintf(&b, " (but %s %s)", d.Decided.Type, d.Decided.Object)
		}
	case Differs, Told:
		words := make([]string, 0, maxFieldsTold+1)
		for _, f := range d.Fields[:min(len(d.Fields), maxFieldsTold)] {
			words = append(words, f.String())
		}
		if more := len(d.Fields) - maxFieldsTold; more > 0 {
			words = append(words, fmt.Sprintf("%d more fields", more))
		}
		b.WriteString(strings.Join(words, "; "))
	default:
		b.WriteString(d.Reason)
	}
	return b.String()
}

// Unrecorded counts what is decided now and not recorded, though something of the same decision is.
type Unrecorded struct {
	Service string `json:"service"`
	Type    string `json:"type"`

	Overtaken   int `json:"overtaken"`   // the facet changed before the decision was through: the append lost to another writer
	Retried     int `json:"retried"`     // the same service, deciding about the same key again, wrote the facet later: the append failed, or its process died
	Unexplained int `json:"unexplained"` // others wrote the facet later, or nobody: as Retried, or this code decides more than that which recorded

	First Missing `json:"first"` // of the unexplained ones; of all if there are none
}

// Missing is one that isn't recorded.
type Missing struct {
	Object string          `json:"object"`
	Key    string          `json:"key"`
	Basis  events.Revision `json:"basis"`
	At     time.Time       `json:"at"`
}

// NotVerified counts recorded events that could not be decided again.
type NotVerified struct {
	Service string          `json:"service"`
	Reason  Reason          `json:"reason"`
	Events  int             `json:"events"`
	First   events.Revision `json:"first"`
}

// Reason is why something could not be decided again.
type Reason string

// The reasons.
const (
	UnknownService Reason = "this code has no such service"
	NotHeld        Reason = "it was decided on a state before the first that is held"
	NotWhole       Reason = "it was decided on a state that isn't whole any more: payloads have been dropped"
	Thinned        Reason = "its payload has been dropped; the rest of it is decided again as recorded"
	TooFar         Reason = "it was recorded too long after the state that it was decided on"
)
