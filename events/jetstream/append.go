package jetstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wakehq/wake/events"
)

const (
	// answerWithin is how long one attempt waits for its acknowledgement before it is made again.
	answerWithin = 2 * time.Second
	// appendWithin bounds all attempts: the leader of a replicated stream may take some seconds to be replaced.
	appendWithin = 15 * time.Second
	// slowestBytesPerSecond is the line that large appends are given time for.
	slowestBytesPerSecond = 16 << 20
	retryAfter            = 50 * time.Millisecond
	// settleChecks is how often a conflict is looked into whose cause isn't in the stream yet.
	settleChecks = 20

	idHeader = events.HeaderID
)

// Append implements events.Ledger.
func (l *Ledger) Append(ctx context.Context, proposals ...events.Proposal) (events.Revision, error) {
	if err := events.CheckBatch(proposals); err != nil {
		return 0, err
	}
	repeated := proposals[len(proposals)-1].ID != "" // the ID is the caller's: this may be the same append again
	return l.append(ctx, l.ids.Identify(proposals), repeated)
}

// append appends proposals that have IDs. repeated says that they may be in the ledger already.
func (l *Ledger) append(ctx context.Context, proposals []events.Proposal, repeated bool) (events.Revision, error) {
	transfer := transferTime(proposals)
	ctx, cancel := context.WithTimeout(ctx, appendWithin+3*transfer)
	defer cancel()
	for attempt := 1; ; attempt++ {
		revision, err := l.attempt(ctx, proposals, answerWithin+transfer)
		switch {
		case err == nil:
			return revision, nil
		case isConflict(err) && repeated:
			return l.settle(ctx, &proposals[len(proposals)-1])
		case isConflict(err):
			return 0, conflict(&proposals[0], len(proposals))
		case !again(err):
			return 0, fmt.Errorf("appending %s: %w", describe(proposals), err)
		case ctx.Err() != nil:
			return 0, fmt.Errorf("appending %s: the ledger did not answer %d attempts (is the broker running?): %w", describe(proposals), attempt, err)
		}
		repeated = true
		pause(ctx)
	}
}

// transferTime allows for the bytes of a large append on a slow line.
func transferTime(proposals []events.Proposal) time.Duration {
	size := 0
	for i := range proposals {
		size += len(proposals[i].Payload)
	}
	return time.Duration(size) * time.Second / slowestBytesPerSecond
}

func (l *Ledger) attempt(ctx context.Context, proposals []events.Proposal, within time.Duration) (events.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var out message
	last := len(proposals) - 1
	if last > 0 {
		// Each attempt is a batch of its own: the broker may still hold a part of the one before.
		batch := l.ids.Next()
		if err := l.openBatch(&out, batch, proposals); err != nil {
			return 0, err
		}
		out.set(&proposals[last])
		out.inBatch(batch, last)
		out.header(headerBatchCommit, "1")
	} else {
		out.set(&proposals[last])
	}
	answer, err := l.conn.RequestMsgWithContext(ctx, &out.msg)
	if err != nil {
		return 0, err
	}
	return acknowledgement(answer)
}

// openBatch sends all proposals of a batch but the last. What is wrong with them is told in answer to the last.
func (l *Ledger) openBatch(out *message, batch string, proposals []events.Proposal) error {
	for i := range len(proposals) - 1 {
		out.set(&proposals[i])
		out.inBatch(batch, i)
		if err := l.conn.PublishMsg(&out.msg); err != nil {
			return err
		}
	}
	return nil
}

// settle finds out whether a conflict is with p itself: the event after the one that p expects is p if p was appended before.
func (l *Ledger) settle(ctx context.Context, p *events.Proposal) (events.Revision, error) {
	for range settleChecks {
		revision, id, err := l.next(ctx, events.Subject(p.Facet, p.Ref), p.Expect)
		switch {
		case err != nil:
			return 0, fmt.Errorf("finding out whether %s %s was appended: %w", p.Type, p.Ref, err)
		case revision != 0 && id == p.ID:
			return revision, nil
		case revision != 0 || !l.replicated:
			return 0, conflict(p, 1)
		}
		pause(ctx) // on a replicated stream the cause of a conflict may still be under way
	}
	return 0, conflict(p, 1)
}

func conflict(p *events.Proposal, count int) error {
	if count > 1 {
		return fmt.Errorf("%d proposals beginning with %s %s: %w", count, p.Type, p.Ref, events.ErrConflict)
	}
	return fmt.Errorf("%s %s (%s, expected revision %d): %w", p.Type, p.Ref, p.Facet, p.Expect, events.ErrConflict)
}

func describe(proposals []events.Proposal) string {
	if len(proposals) == 1 {
		return fmt.Sprintf("%s %s", proposals[0].Type, proposals[0].Ref)
	}
	return fmt.Sprintf("%d proposals beginning with %s %s", len(proposals), proposals[0].Type, proposals[0].Ref)
}

func isConflict(err error) bool {
	c := code(err)
	return c == codeWrongSequence || c == codeWrongSequenceToo
}

// again says that an attempt that ended with err may be made again: nothing is known against it.
func again(err error) bool {
	switch code(err) {
	case codeBatchIncomplete, codeTooManyBatches, codeTooManyRequests, codeTimeout:
		return true
	case 0:
		return !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrMaxPayload) && !errors.Is(err, context.Canceled)
	}
	return false
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(retryAfter):
	}
}

// acknowledgement reads the broker's answer to an append.
func acknowledgement(answer *nats.Msg) (events.Revision, error) {
	if first(answer.Header, headerStatus) == statusNoResponders {
		return 0, nats.ErrNoResponders
	}
	const before = `"seq":`
	if at := bytes.Index(answer.Data, []byte(before)); at >= 0 && !bytes.Contains(answer.Data, []byte(`"error"`)) {
		rest := answer.Data[at+len(before):]
		end := bytes.IndexAny(rest, ",}")
		if sequence, err := strconv.ParseUint(string(bytes.TrimSpace(rest[:max(end, 0)])), 10, 64); err == nil {
			return sequence, nil
		}
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &failed); err != nil {
		return 0, fmt.Errorf("the broker's answer %q: %w", answer.Data, err)
	}
	if failed.Error == nil {
		return 0, fmt.Errorf("the broker's answer %q is not an acknowledgement", answer.Data)
	}
	return 0, failed.Error
}
