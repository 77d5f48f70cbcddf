package segment

import "github.com/wakehq/wake/events"

// Batches gives the events from from to to (inclusive; 0 is open) decoded, a block's at once, until yield returns false.
func (r *Reader) Batches(from, to events.Revision, yield func(events.Batch) bool) error {
	if to == 0 {
		to = r.footer.Last
	}
	return ahead(r.blocksBetween(from, to), func(b block) (events.Batch, error) {
		records, err := r.records(b)
		wanted := records[:0]
		for i := range records {
			if records[i].Revision >= from && records[i].Revision <= to {
				wanted = append(wanted, records[i])
			}
		}
		return decoded(wanted), err
	}, yield)
}

func decoded(list []events.Raw) events.Batch {
	out := events.Batch{Events: make([]events.Event, 0, len(list))}
	for i := range list {
		AddTo(&out, &list[i])
	}
	return out
}
