package events

import "fmt"

// maxHeaderBytes bounds an event's headers: NATS takes 64 KiB, and the guard and the batch need some.
const maxHeaderBytes = 60 << 10

// Check says why no ledger would take p, whatever its guard.
func (p *Proposal) Check() error {
	size := 0
	EachHeader(&p.Event, func(name, value string) { size += len(name) + len(value) + len(": \r\n") })
	switch {
	case len(p.Payload) > MaxEventBytes:
		return fmt.Errorf("%s %s has %d bytes: %w", p.Type, p.Ref, len(p.Payload), ErrTooLarge)
	case size > maxHeaderBytes:
		return fmt.Errorf("%s %s has %d bytes of headers (its note?), the most is %d: %w", p.Type, p.Ref, size, maxHeaderBytes, ErrTooLarge)
	case p.Type == "" || p.UID == "" || p.Ref.Resource == "" || p.Ref.Name == "" || p.Facet >= facets:
		return fmt.Errorf("an event %q of %s about %s (UID %q) is incomplete: type, UID, resource, name and facet are needed", p.Type, p.Facet, p.Ref, p.UID)
	case p.Tombstone && p.Facet != Desired:
		return fmt.Errorf("%s %s is a tombstone of facet %s: only %s can end an object", p.Type, p.Ref, p.Facet, Desired)
	}
	return nil
}

// CheckBatch says why no ledger would take proposals as one batch, whatever their guards.
func CheckBatch(proposals []Proposal) error {
	if len(proposals) == 0 || len(proposals) > MaxBatch {
		return fmt.Errorf("an append of %d proposals: it takes 1 to %d at once", len(proposals), MaxBatch)
	}
	type slot struct {
		facet Facet
		ref   Ref
	}
	seen := make(map[slot]bool, len(proposals))
	for i := range proposals {
		p := &proposals[i]
		if err := p.Check(); err != nil {
			return err
		}
		if seen[slot{p.Facet, p.Ref}] {
			return fmt.Errorf("facet %s of %s is twice in one batch: the last alone says all", p.Facet, p.Ref)
		}
		seen[slot{p.Facet, p.Ref}] = true
	}
	return nil
}
