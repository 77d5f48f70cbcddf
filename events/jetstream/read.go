package jetstream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wakehq/wake/events"
)

// errTooMany says that a selection has more subjects than the broker looks up at once.
var errTooMany = errors.New("too many subjects")

// Read implements events.Ledger.
func (l *Ledger) Read(ctx context.Context, q events.Query, yield func(events.Event) bool) error {
	filters := q.Subjects()
	if !q.LastPerFacet {
		return l.readRange(ctx, from{sequence: max(q.From, 1), filters: filters}, q.To, yield)
	}
	recent := func(e events.Event) bool { return e.Revision < q.From || yield(e) }
	if q.To != 0 {
		state, err := l.state(ctx)
		if err != nil {
			return err
		}
		if q.To < state.LastSeq {
			return l.readLast(ctx, q, filters, recent)
		}
	}
	return l.readRange(ctx, from{present: true, filters: filters}, 0, recent)
}

// readRange reads what there is when it begins, up to a revision if that isn't 0.
func (l *Ledger) readRange(ctx context.Context, start from, to events.Revision, yield func(events.Event) bool) error {
	if to != 0 && start.sequence > to {
		return nil
	}
	if l.replicated {
		return l.readReplicated(ctx, start, to, yield)
	}
	for began := time.Now(); ; {
		c, err := l.consume(ctx, start)
		if err != nil {
			return err
		}
		last, err := c.drainTo(ctx, to, yield)
		c.close()
		if !errors.Is(err, errLost) || time.Since(began) > recoverWithin {
			return err
		}
		// Lost midway: what was given is not given again. The present can't be gone on with, it has moved.
		if last > 0 && start.present {
			return fmt.Errorf("reading the ledger's present: %w", err)
		}
		if last > 0 {
			start.sequence = last + 1
		}
	}
}

// drainTo yields the messages that there were when c was made, and returns the revision of the last.
func (c *consumer) drainTo(ctx context.Context, to events.Revision, yield func(events.Event) bool) (last events.Revision, _ error) {
	for left := c.pending; left > 0; {
		d, err := c.take(ctx)
		if err != nil {
			return last, err
		}
		for i := range d.batches {
			ended, n := yieldBatch(&d.batches[i], to, left, yield, &last)
			if left -= min(left, n); ended {
				return last, nil
			}
		}
		if c.stuck(d) {
			return last, nil
		}
		c.taken(d)
	}
	return last, nil
}

// yieldBatch yields what of b is not beyond revision to (if that isn't 0) or the next left messages, and counts its messages. last becomes the revision of the
// last one.
func yieldBatch(b *events.Batch, to events.Revision, left uint64, yield func(events.Event) bool, last *events.Revision) (ended bool, n uint64) {
	aside := b.SetAside
	for _, e := range b.Events {
		for ; len(aside) > 0 && aside[0].Revision < e.Revision; aside = aside[1:] {
			n++
		}
		if to != 0 && e.Revision > to || n >= left || !yield(e) {
			return true, n
		}
		n++
		*last = e.Revision
	}
	*last = max(*last, b.Revision)
	return to != 0 && *last >= to, n + uint64(len(aside))
}

// readLast yields the last event per facet as of a past revision.
func (l *Ledger) readLast(ctx context.Context, q events.Query, filters []string, yield func(events.Event) bool) error {
	found, err := l.lookUp(ctx, filters, q.To)
	if errors.Is(err, errTooMany) {
		found, err = l.replayLast(ctx, filters, q.To)
	}
	if err != nil {
		return fmt.Errorf("reading the ledger as of revision %d: %w", q.To, err)
	}
	slices.SortFunc(found, func(a, b events.Event) int { return cmp.Compare(a.Revision, b.Revision) })
	for _, e := range found {
		if !yield(e) {
			return nil
		}
	}
	return nil
}

// replayLast finds the last event per facet by reading all.
func (l *Ledger) replayLast(ctx context.Context, filters []string, to events.Revision) ([]events.Event, error) {
	type slot struct {
		facet events.Facet
		ref   events.Ref
	}
	last := map[slot]events.Event{}
	err := l.readRange(ctx, from{sequence: 1, filters: filters}, to, func(e events.Event) bool {
		last[slot{e.Facet, e.Ref}] = e
		return true
	})
	return slices.Collect(maps.Values(last)), err
}

// lookUp asks a broker for the last messages of subjects as of a revision. It answers for a limited number of them only.
func (l *Ledger) lookUp(ctx context.Context, filters []string, to events.Revision) ([]events.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, apiWithin)
	defer cancel()
	last, err := l.sentinel(ctx, to)
	if err != nil {
		return nil, err
	}
	asked := filters
	if last != "" {
		asked = append(slices.Clone(filters), last)
	}
	for {
		found, err := l.lookUpOnce(ctx, asked, to)
		if last == "" || err != nil {
			return found.Events, err
		}
		if at := slices.IndexFunc(found.Events, func(e events.Event) bool { return e.Revision == to }); at >= 0 {
			if !matchesAny(filters, last) {
				found.Events = slices.Delete(found.Events, at, at+1)
			}
			return found.Events, nil
		}
		if slices.ContainsFunc(found.SetAside, func(a events.SetAside) bool { return a.Revision == to }) {
			return found.Events, nil
		}
		if pause(ctx); ctx.Err() != nil {
			return nil, fmt.Errorf("no broker that was asked has revision %d: %w", to, errLags)
		}
	}
}

// matchesAny says that a subject is one of filters, which may have wildcards.
func matchesAny(filters []string, subject string) bool {
	tokens := strings.Split(subject, ".")
	return slices.ContainsFunc(filters, func(filter string) bool {
		parts := strings.Split(filter, ".")
		for i, part := range parts {
			if part == ">" {
				return len(tokens) > i
			}
			if i >= len(tokens) || part != "*" && part != tokens[i] {
				return false
			}
		}
		return len(parts) == len(tokens)
	})
}

// lookUpOnce asks one broker.
func (l *Ledger) lookUpOnce(ctx context.Context, filters []string, to events.Revision) (batch events.Batch, _ error) {
	body, err := json.Marshal(map[string]any{"multi_last": filters, "up_to_seq": to})
	if err != nil {
		return batch, err
	}
	inbox := nats.NewInbox()
	sub, err := l.conn.SubscribeSync(inbox)
	if err != nil {
		return batch, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := errors.Join(sub.SetPendingLimits(-1, -1), l.conn.PublishRequest(apiDirect, inbox, body)); err != nil {
		return batch, err
	}
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return batch, err
		}
		switch status := first(msg.Header, headerStatus); status {
		case "":
		case statusEndOfBatch, statusNotFound:
			return batch, nil
		case statusTooMany:
			return batch, errTooMany
		default:
			return batch, fmt.Errorf("the broker answers %s %s", status, first(msg.Header, "Description"))
		}
		revision, err := strconv.ParseUint(first(msg.Header, headerSequence), 10, 64)
		if err != nil {
			return batch, fmt.Errorf("the broker's answer has no sequence: %w", err)
		}
		stored, err := time.Parse(time.RFC3339Nano, first(msg.Header, headerTime))
		if err != nil {
			return batch, fmt.Errorf("the broker's answer has no time: %w", err)
		}
		a := arrival{subject: first(msg.Header, headerSubject), revision: revision, stored: stored}
		a.event, a.err = decode(a.subject, msg)
		a.addTo(&batch)
	}
}
