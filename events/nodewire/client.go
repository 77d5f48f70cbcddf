package nodewire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	answerWithin = 5 * time.Second
	// beatWithin and sliceWithin are shorter: where one feed ends, another answers soon.
	beatWithin  = time.Second
	sliceWithin = 2 * time.Second
	retryEvery  = 500 * time.Millisecond
	// resyncEvery is how often, at most, a full slice is asked for because another feed speaks: two may for a moment.
	resyncEvery = time.Second
	// catchUpWithin is how long a feed may take to catch up with what another one has told the node.
	catchUpWithin  = 10 * time.Second
	sliceBacklog   = 4096
	logChunkBytes  = 32 << 10
	headerEnd      = "Wake-End"
	headerEndError = "Wake-Error"
)

// Client is a node's line to the feed. It may be used by many goroutines.
type Client struct {
	conn *nats.Conn
	node string

	mu     sync.Mutex
	known  Beat          // the slice last handed on
	behind time.Time     // since when full slices are of before that; zero if they aren't
	resync chan struct{} // asks for a full slice
}

// NewClient returns the client of a node; conn stays the caller's.
func NewClient(conn *nats.Conn, node string) *Client {
	return &Client{conn: conn, node: node, resync: make(chan struct{}, 1)}
}

// Slices gives the node's slices: a full one, then changes in an unbroken chain. When the chain breaks (a lost message, a new feed) it
// goes on with another full one. The channel closes when ctx ends.
func (c *Client) Slices(ctx context.Context) (<-chan Slice, error) {
	live := make(chan *nats.Msg, sliceBacklog)
	sub, err := c.conn.ChanSubscribe(Subject(c.node, VerbSlice), live)
	if err != nil {
		return nil, fmt.Errorf("subscribing to the slices of node %s: %w", c.node, err)
	}
	out := make(chan Slice)
	go func() {
		defer close(out)
		defer func() { _ = sub.Unsubscribe() }()
		c.chain(ctx, live, out)
	}()
	return out, nil
}

func (c *Client) chain(ctx context.Context, live <-chan *nats.Msg, out chan<- Slice) {
	for ctx.Err() == nil {
		full, err := c.snapshot(ctx)
		if err != nil || c.stepsBack(full) {
			wait(ctx, retryEvery)
			continue
		}
		began := time.Now()
		for next := full; ; {
			select {
			case out <- next:
			case <-ctx.Done():
				return
			}
			c.mu.Lock()
			c.known = Beat{Epoch: next.Epoch, Revision: next.Revision}
			c.mu.Unlock()
			var unbroken bool
			if next, unbroken = c.following(ctx, next, began, live); !unbroken {
				break
			}
		}
	}
}

// stepsBack says that a full slice is of before what the node knows: the feed that took over lags behind, and pods that it hasn't seen yet are not to end for that. If that
// goes on, the ledger itself was put back to an earlier time.
func (c *Client) stepsBack(full Slice) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if full.Revision >= c.known.Revision {
		c.behind = time.Time{}
		return false
	}
	if c.behind.IsZero() {
		c.behind = time.Now()
	}
	return time.Since(c.behind) < catchUpWithin
}

// following returns the slice that continues last, or false when a full one is needed. Another feed's slices are no part of the chain; that one speaks means that it may
// have taken over, which asking for a full slice finds out.
func (c *Client) following(ctx context.Context, last Slice, full time.Time, live <-chan *nats.Msg) (Slice, bool) {
	var parts []Object
	var other <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return Slice{}, false
		case <-c.resync:
			return Slice{}, false
		case <-other:
			return Slice{}, false
		case msg := <-live:
			var s Slice
			err := json.Unmarshal(msg.Data, &s)
			if err == nil && s.Epoch != last.Epoch {
				if other == nil {
					other = time.After(resyncEvery - time.Since(full))
				}
				continue
			}
			if err != nil || s.Previous > last.Revision {
				return Slice{}, false
			}
			if s.Revision <= last.Revision {
				continue
			}
			parts = append(parts, s.Objects...)
			if s.Objects = parts; !s.More {
				return s, true
			}
		}
	}
}

// snapshot asks for a full slice and puts its messages together.
func (c *Client) snapshot(ctx context.Context) (Slice, error) {
	inbox := c.conn.NewInbox()
	sub, err := c.conn.SubscribeSync(inbox)
	if err != nil {
		return Slice{}, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := c.conn.PublishRequest(Subject(c.node, VerbSnapshot), inbox, nil); err != nil {
		return Slice{}, err
	}
	var full Slice
	for {
		part, cancel := context.WithTimeout(ctx, sliceWithin)
		msg, err := sub.NextMsgWithContext(part)
		cancel()
		if err != nil {
			return Slice{}, fmt.Errorf("waiting for the full slice of node %s: %w", c.node, err)
		}
		var next Slice
		if err := json.Unmarshal(msg.Data, &next); err != nil {
			return Slice{}, fmt.Errorf("the full slice of node %s: %w", c.node, err)
		}
		if full.Epoch != "" && next.Epoch != full.Epoch {
			continue // two feeds answer: the first that did is taken
		}
		next.Objects = append(full.Objects, next.Objects...)
		full = next
		if !full.More {
			return full, nil
		}
	}
}

// ReportPod says what has become of a pod. A nil error with Answer.Error empty means that it is in the ledger.
func (c *Client) ReportPod(ctx context.Context, r PodReport) (Answer, error) {
	return c.report(ctx, VerbPod, r)
}

// ReportNode says how the node is; the first time it registers it.
func (c *Client) ReportNode(ctx context.Context, r NodeReport) (Answer, error) {
	return c.report(ctx, VerbStatus, r)
}

func (c *Client) report(ctx context.Context, verb string, report any) (Answer, error) {
	var a Answer
	err := c.request(ctx, verb, answerWithin, report, &a)
	return a, err
}

// Heartbeat says that the node lives, and notices if slices were missed.
func (c *Client) Heartbeat(ctx context.Context) error {
	c.mu.Lock()
	before := c.known
	c.mu.Unlock()
	var beat Beat
	if err := c.request(ctx, VerbHeartbeat, beatWithin, struct{}{}, &beat); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// A slice may be on its way: only one that is still missing a whole heartbeat later is lost.
	if before == c.known && before.Epoch != "" && (beat.Epoch != before.Epoch || beat.Revision > before.Revision) {
		select {
		case c.resync <- struct{}{}:
		default:
		}
	}
	return nil
}

func (c *Client) request(ctx context.Context, verb string, within time.Duration, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("encoding a %s message: %w", verb, err)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	msg, err := c.conn.RequestWithContext(ctx, Subject(c.node, verb), body)
	if err != nil {
		return fmt.Errorf("node %s, %s: no answer from the node feed: %w", c.node, verb, err)
	}
	if err := json.Unmarshal(msg.Data, answer); err != nil {
		return fmt.Errorf("node %s, %s: the node feed's answer: %w", c.node, verb, err)
	}
	return nil
}

// ServeLogs answers log requests with handle, which writes the log until it ends or ctx does, until ctx ends.
func (c *Client) ServeLogs(ctx context.Context, handle func(context.Context, LogRequest, io.Writer) error) error {
	sub, err := c.conn.Subscribe(Subject(c.node, VerbLogs), func(msg *nats.Msg) {
		go c.answerLogs(ctx, msg, handle)
	})
	if err != nil {
		return fmt.Errorf("serving the logs of node %s: %w", c.node, err)
	}
	<-ctx.Done()
	return errors.Join(ctx.Err(), sub.Unsubscribe())
}

func (c *Client) answerLogs(ctx context.Context, msg *nats.Msg, handle func(context.Context, LogRequest, io.Writer) error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := nats.NewMsg(msg.Reply)
	end.Header.Set(headerEnd, "1")
	var request LogRequest
	err := json.Unmarshal(msg.Data, &request)
	if err == nil {
		err = handle(ctx, request, &chunkWriter{ctx: ctx, conn: c.conn, reply: msg.Reply})
	}
	if err != nil {
		end.Header.Set(headerEndError, err.Error())
	}
	_ = c.conn.PublishMsg(end) // nobody is left to tell
}

// chunkWriter sends what is written to it, a request per chunk: the reader's answer is the flow control and tells when it has left.
type chunkWriter struct {
	ctx   context.Context
	conn  *nats.Conn
	reply string
}

func (w *chunkWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), logChunkBytes)
		ctx, cancel := context.WithTimeout(w.ctx, answerWithin)
		_, err := w.conn.RequestWithContext(ctx, w.reply, p[:n])
		cancel()
		if err != nil {
			return written, fmt.Errorf("the reader has left: %w", err)
		}
		written, p = written+n, p[n:]
	}
	return written, nil
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
