package segment

import "github.com/wakehq/wake/events"

// Batches gives the events from from to to (inclusive; 0 is open) decoded, a block's at once, until yield returns false.
func (r *Reader) Batches(from, to events.Revision, yield func(events.Batch) bool) error {
	if to == 0 {
		to = r.footer.Last
	}
	return r.batches(r.blocksBetween(from, to), func(e *events.Raw) bool { return e.Revision >= from && e.Revision <= to }, yield)
}

// StateBatches gives the state decoded, a block's at once and ordered by subject, but for subjects that skip says; until yield returns false. skip is called from
// several goroutines.
func (r *Reader) StateBatches(skip func(subject string) bool, yield func(events.Batch) bool) error {
	return r.batches(r.states, func(e *events.Raw) bool { return !skip(e.Subject) }, yield)
}

func (r *Reader) batches(blocks []block, keep func(*events.Raw) bool, yield func(events.Batch) bool) error {
	return ahead(blocks, func(b block) (events.Batch, error) {
		records, err := r.records(b)
		if err != nil {
			return events.Batch{}, err
		}
		out := events.Batch{Events: make([]events.Event, 0, len(records))}
		for i := range records {
			if keep(&records[i]) {
				AddTo(&out, &records[i])
			}
		}
		return out, nil
	}, func(b events.Batch) bool {
		return len(b.Events)+len(b.SetAside) == 0 || yield(b)
	})
}
