package events

import "time"

// Audit is who is behind a set of proposals and on what ground they were made.
type Audit struct {
	Actor       string
	Key         string
	Cause       Revision
	Correlation Revision
	Basis       Revision
	At          time.Time
}

// Sign writes the audit into each proposal; a cause that a proposal names itself stands.
func (a Audit) Sign(proposals []Proposal) {
	for i := range proposals {
		e := &proposals[i].Event
		e.Actor, e.Key, e.Basis, e.At, e.Schema = a.Actor, a.Key, a.Basis, a.At.Truncate(time.Millisecond), SchemaVersion
		if e.Cause == 0 {
			e.Cause, e.Correlation = a.Cause, a.Correlation
		}
	}
}
