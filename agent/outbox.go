package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/wakehq/wake/events/nodewire"
)

const (
	outboxSize     = 64
	deliverRetry   = 200 * time.Millisecond
	deliverRetryUp = 5 * time.Second
)

// outbox delivers a pod's reports in order. While they can't be delivered the newest are kept.
type outbox struct {
	feed Feed
	log  *slog.Logger
	wake chan struct{}

	mu     sync.Mutex
	queue  []nodewire.PodReport
	closed bool
}

func newOutbox(feed Feed, log *slog.Logger) *outbox {
	return &outbox{feed: feed, log: log, wake: make(chan struct{}, 1)}
}

// put adds a report.
func (o *outbox) put(r nodewire.PodReport) {
	o.mu.Lock()
	o.queue = append(o.queue, r)
	if len(o.queue) > outboxSize {
		o.queue = o.queue[1:]
	}
	o.mu.Unlock()
	o.nudge()
}

// close ends deliver once what is in the outbox is delivered.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.nudge()
}

func (o *outbox) nudge() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// deliver delivers until the outbox is closed and empty, or ctx ends.
func (o *outbox) deliver(ctx context.Context) {
	retry := deliverRetry
	for ctx.Err() == nil {
		r, some, closed := o.head()
		switch {
		case !some && closed:
			return
		case !some:
			select {
			case <-o.wake:
			case <-ctx.Done():
			}
			continue
		}
		answer, err := o.feed.ReportPod(ctx, r)
		if err == nil && (answer.Error == "" || answer.Gone) {
			o.drop(r)
			retry = deliverRetry
			continue
		}
		o.log.Debug("a report was not taken", "pod", r.Name, "type", r.Type, "error", err, "answer", answer.Error)
		pause(ctx, retry)
		retry = min(2*retry, deliverRetryUp)
	}
}

func (o *outbox) head() (r nodewire.PodReport, some, closed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return r, false, o.closed
	}
	return o.queue[0], true, o.closed
}

// drop removes r, unless it has already made room for newer ones.
func (o *outbox) drop(r nodewire.PodReport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) > 0 && o.queue[0].At.Equal(r.At) && o.queue[0].Type == r.Type {
		o.queue = o.queue[1:]
	}
}
