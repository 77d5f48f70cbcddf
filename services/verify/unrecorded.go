package verify

import (
	"slices"

	"github.com/wakehq/wake/events"
)

// unrecorded is a proposal as far as it is not recorded: who wrote its facet instead.
type unrecorded struct {
	decision  *decision
	slot      slot
	eventType string

	overtaken bool            // somebody else wrote the facet before the decision was through
	alone     bool            // the decision is through: whoever writes the facet next tells what became of it
	until     events.Revision // nobody waits longer than that
	done      bool
}

// written tells those that watch a facet who wrote it; d is nil if that was no decision.
func (v *verification) written(e *events.Event, d *decision) {
	watching := v.watched[slot{e.Facet, e.Ref}]
	if len(watching) == 0 {
		return
	}
	id := identityOf(e)
	for _, u := range slices.Clone(watching) {
		switch {
		case u.decision == d:
		case u.alone:
			v.conclude(u, u.decision.identity.service == id.service && u.decision.key == id.key)
		default:
			u.overtaken = true
		}
	}
}

// settleFate ends the watch over what is recorded, or was overtaken. For the others the next writer is waited for.
func (v *verification) settleFate(u *unrecorded, recorded bool) {
	switch {
	case recorded:
		v.unwatch(u)
	case u.overtaken:
		v.conclude(u, false)
	default:
		u.alone, u.until = true, u.decision.last+events.Revision(v.Ahead)
		u.decision = &decision{identity: u.decision.identity, at: u.decision.at} // the rest may go
		v.expiry = append(v.expiry, u)
	}
}

// expire gives up waiting.
func (v *verification) expire(revision events.Revision) {
	for len(v.expiry) > 0 && (v.expiry[0].done || v.expiry[0].until < revision) {
		if u := v.expiry[0]; !u.done {
			v.conclude(u, false)
		}
		v.expiry = v.expiry[1:]
	}
}

// conclude counts what became of u.
func (v *verification) conclude(u *unrecorded, retried bool) {
	v.unwatch(u)
	u.done = true
	d := u.decision
	of := [2]string{d.identity.service, u.eventType}
	count, known := v.missing[of]
	if !known {
		count = &Unrecorded{Service: of[0], Type: of[1]}
		v.missing[of] = count
	}
	first := Missing{Object: u.slot.ref.String(), Key: d.key, Basis: d.basis, At: d.at}
	switch {
	case u.overtaken:
		count.Overtaken++
	case retried:
		count.Retried++
	default:
		if count.Unexplained++; count.Unexplained == 1 {
			count.First = first
		}
	}
	if !known {
		count.First = first
	}
}

func (v *verification) unwatch(u *unrecorded) {
	rest := slices.DeleteFunc(v.watched[u.slot], func(other *unrecorded) bool { return other == u })
	if v.watched[u.slot] = rest; len(rest) == 0 {
		delete(v.watched, u.slot)
	}
}
