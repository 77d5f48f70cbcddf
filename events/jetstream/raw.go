package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wakehq/wake/events"
)

const (
	apiPurge = "$JS.API.STREAM.PURGE." + StreamName
	// brokerHeaders begins the names of the headers that are the broker's own.
	brokerHeaders = "Nats-"
	// idleBeats is how many heartbeats in a row without a message say that the broker has no more, though it had counted more (see consumer.stuck).
	idleBeats = 3
)

var (
	_ events.RawReader = (*Ledger)(nil)
	_ events.Trimmer   = (*Ledger)(nil)
)

// Bounds implements events.RawReader.
func (l *Ledger) Bounds(ctx context.Context) (first, last events.Revision, _ error) {
	state, err := l.state(ctx)
	if err != nil || state.LastSeq == 0 {
		return 0, 0, err
	}
	return state.FirstSeq, state.LastSeq, nil
}

// ReadRaw implements events.RawReader.
func (l *Ledger) ReadRaw(ctx context.Context, first, to events.Revision, yield func(events.Raw) bool) error {
	state, err := l.state(ctx)
	if err != nil {
		return err
	}
	first = max(first, 1)
	if first < state.FirstSeq {
		return fmt.Errorf("reading from revision %d, the oldest held is %d: %w", first, state.FirstSeq, events.ErrTooOld)
	}
	if to == 0 || to > state.LastSeq {
		to = state.LastSeq
	}
	next, more := first, true
	given := func(r events.Raw) bool {
		more = yield(r)
		next = r.Revision + 1
		return more
	}
	for began := time.Now(); next <= to && more; {
		reached := next
		err := l.readRaw(ctx, next, to, given)
		switch {
		case err == nil:
			return nil
		case next > reached:
			began = time.Now()
		}
		if !errors.Is(err, errLost) || time.Since(began) > recoverWithin {
			return fmt.Errorf("reading the ledger from revision %d: %w", next, err)
		}
	}
	return nil
}

// readRaw reads with one consumer, until that is lost.
func (l *Ledger) readRaw(ctx context.Context, first, to events.Revision, yield func(events.Raw) bool) error {
	c, err := l.consume(ctx, from{sequence: first, filters: everything, raw: true, beats: l.beats()})
	if err != nil {
		return err
	}
	defer c.close()
	lag := progress{}
	for left := c.pending; left > 0 || l.replicated; {
		d, err := c.take(ctx)
		if err != nil {
			return err
		}
		if l.replicated && lag.note(d.reached) != nil {
			return errLost // another broker may have it
		}
		for _, r := range d.raw {
			if r.Revision < first {
				continue // a broker that lags behind begins where it is
			}
			if r.Revision > to || !yield(r) || r.Revision == to {
				return nil
			}
		}
		left -= min(left, d.count)
		if l.replicated && d.reached >= to || !l.replicated && c.stuck(d) {
			return nil
		}
		c.taken(d)
	}
	return nil
}

// rawMessage takes a message as it is stored.
func rawMessage(msg *nats.Msg, meta metadata) events.Raw {
	r := events.Raw{Revision: meta.stream, Stored: time.Unix(0, meta.nanoseconds).UTC(), Subject: msg.Subject, Payload: msg.Data}
	r.Header = make([]events.HeaderField, 0, len(msg.Header))
	for name, values := range msg.Header {
		if strings.HasPrefix(name, brokerHeaders) {
			continue
		}
		for _, value := range values {
			r.Header = append(r.Header, events.HeaderField{Name: name, Value: value})
		}
	}
	slices.SortStableFunc(r.Header, func(a, b events.HeaderField) int { return cmp.Compare(a.Name, b.Name) })
	return r
}

// Trim implements events.Trimmer.
func (l *Ledger) Trim(ctx context.Context, revision events.Revision) error {
	state, err := l.state(ctx)
	switch {
	case err != nil:
		return err
	case revision > state.LastSeq:
		return fmt.Errorf("trimming the ledger up to revision %d: it ends at %d", revision, state.LastSeq)
	case revision < state.FirstSeq:
		return nil
	}
	var purged struct {
		Success bool `json:"success"`
	}
	if err := l.request(ctx, apiPurge, map[string]any{"seq": revision + 1}, &purged); err != nil {
		return fmt.Errorf("trimming the ledger up to revision %d: %w", revision, err)
	}
	if !purged.Success {
		return fmt.Errorf("trimming the ledger up to revision %d: the broker did not", revision)
	}
	return nil
}
