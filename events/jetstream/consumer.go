package jetstream

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wakehq/wake/events"
)

const (
	heartbeatEvery = time.Second
	// silentFor is after how long without a sign of life a consumer is taken for gone.
	silentFor = 3 * heartbeatEvery
	// maxBatchEvents bounds what is delivered at once, so that a long load makes steps.
	maxBatchEvents = 1024

	headerSequence         = "Nats-Sequence"
	headerSubject          = "Nats-Subject"
	headerTime             = "Nats-Time-Stamp"
	headerLastConsumer     = "Nats-Last-Consumer"
	headerLastStream       = "Nats-Last-Stream"
	headerStalled          = "Nats-Consumer-Stalled"
	statusIdleFlow         = "100"
	deliverAll             = "all"
	deliverFrom            = "by_start_sequence"
	deliverLastPerSubject  = "last_per_subject"
	ackNone                = "none"
	consumerLingers        = 5 * time.Second
	metadataTokensPlain    = 9
	metadataTokensExtended = 11
)

// ackPrefix begins the reply subject of every delivered message.
var ackPrefix = []byte("$JS.ACK.")

var errLost = errors.New("the consumer was lost")

// from says where a consumer begins, and what it is given.
type from struct {
	sequence uint64 // the first; ignored if present
	present  bool   // the last message per subject
	filters  []string
	raw      bool          // messages are wanted as they are
	whole    bool          // an atomic batch's events are wanted together
	beats    time.Duration // between heartbeats; 0 is heartbeatEvery
}

// delivery is what came since the last take.
type delivery struct {
	batches []events.Batch // of at most maxBatchEvents each
	raw     []events.Raw   // instead, for who wants messages as they are
	count   uint64         // messages
	reached uint64         // the stream's sequence up to which there is nothing more to come
	flow    []string
	alive   bool // a heartbeat came: there was nothing more
	lost    bool // a message or the connection is missing
}

// consumer is an ordered, ephemeral push consumer: messages are decoded as they come and taken in batches. The broker sends no more than
// is taken, but for 32 MiB.
type consumer struct {
	ledger  *Ledger
	name    string
	raw     bool
	sub     *nats.Subscription // or wire
	wire    *wire
	pending uint64 // messages that there were when it was made
	status  chan nats.Status
	idle    int // heartbeats in a row without a message, see stuck

	mu       sync.Mutex
	got      delivery
	sequence uint64 // of the consumer's deliveries
	decoder  events.Decoder
	likely   int // how many events the next batch may have
	whole    bool
	open     []arrival // of an atomic batch whose last event has not come yet
	openID   string
	beats    int // heartbeats since the last message
	arrived  chan struct{}
}

// consume makes a consumer. The caller closes it.
func (l *Ledger) consume(ctx context.Context, start from) (*consumer, error) {
	c := &consumer{ledger: l, name: l.ids.Next(), raw: start.raw, whole: start.whole, arrived: make(chan struct{}, 1)}
	c.name = strings.ReplaceAll(c.name, ".", "-")
	inbox := nats.NewInbox()
	config := map[string]any{
		"name": c.name, "deliver_subject": inbox, "ack_policy": ackNone, "max_deliver": 1, "flow_control": true, "mem_storage": true, "num_replicas": 1,
		"idle_heartbeat": cmp.Or(start.beats, heartbeatEvery), "inactive_threshold": consumerLingers, "filter_subjects": start.filters, "deliver_policy": deliverAll,
	}
	switch {
	case start.present:
		config["deliver_policy"] = deliverLastPerSubject
	case start.sequence > 1:
		config["deliver_policy"], config["opt_start_seq"] = deliverFrom, start.sequence
	}
	if err := c.subscribe(inbox); err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	c.status = l.conn.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	var created struct {
		Pending uint64 `json:"num_pending"`
	}
	if err := l.request(ctx, apiConsumerCreate+"."+c.name, map[string]any{"stream_name": StreamName, "config": config}, &created); err != nil {
		c.close()
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	c.pending = created.Pending
	return c, nil
}

// subscribe has what comes to inbox received.
func (c *consumer) subscribe(inbox string) (err error) {
	if !c.raw {
		if c.wire = dialWire(c.ledger.conn, inbox); c.wire != nil {
			go c.readWire()
			return nil
		}
	}
	if c.sub, err = c.ledger.conn.Subscribe(inbox, c.receive); err != nil {
		return err
	}
	if err := c.sub.SetPendingLimits(-1, -1); err != nil {
		return errors.Join(err, c.sub.Unsubscribe())
	}
	return nil
}

// readWire receives what comes over a connection of the consumer's own, until that is closed.
func (c *consumer) readWire() {
	for {
		f, err := c.wire.next()
		if err != nil {
			c.lock(func() { c.got.lost = true })
			return
		}
		c.lock(func() { c.frame(&f) })
	}
}

// lock has f change what was got, and wakes who waits for it.
func (c *consumer) lock(f func()) {
	c.mu.Lock()
	if !c.got.lost {
		f()
	}
	c.mu.Unlock()
	select {
	case c.arrived <- struct{}{}:
	default:
	}
}

func (c *consumer) frame(f *frame) {
	if !bytes.HasPrefix(f.reply, ackPrefix) && len(f.payload) == 0 {
		header, err := nats.DecodeHeadersMsg(f.header)
		if err != nil {
			c.got.lost = true
			return
		}
		c.control(&nats.Msg{Reply: string(f.reply), Header: header})
		return
	}
	meta, ok := c.delivered(string(f.reply))
	if !ok {
		return
	}
	e, err := c.decoder.Decode(f.subject, f.header, f.payload)
	c.put(arrival{string(f.subject), e, err, meta.stream, time.Unix(0, meta.nanoseconds)}, func() (id []byte, last bool) {
		_, id, _ = bytes.Cut(f.header, batchOpens)
		id, _, _ = bytes.Cut(id, newline)
		return id, bytes.Contains(f.header, batchCloses)
	})
}

// arrival is a message that has come, as an event or why it is none.
type arrival struct {
	subject  string
	event    events.Event
	err      error
	revision events.Revision
	stored   time.Time
}

var batchOpens, batchCloses = []byte(headerBatch + ": "), []byte(headerBatchCommit + ":")

// put notes what has come. Of an atomic batch nobody sees a part: it waits until its last event is there. Of one of which a part was superseded or can't be read, that never
// comes, but what follows does, or silence.
func (c *consumer) put(a arrival, batch func() (id []byte, last bool)) {
	c.beats = 0
	if c.whole {
		id, last := batch()
		if string(id) != c.openID {
			c.flush(0)
		}
		if len(id) > 0 && !last {
			c.openID = string(id)
			c.open = append(c.open, a)
			return
		}
	}
	c.flush(1)
	a.addTo(c.batch(1))
}

// flush gives out what waited, and leaves room for more beside it.
func (c *consumer) flush(more int) {
	if len(c.open) > 0 {
		b := c.batch(len(c.open) + more)
		for i := range c.open {
			c.open[i].addTo(b)
		}
	}
	c.open, c.openID = nil, ""
}

// batch returns where the next events go, which stay together.
func (c *consumer) batch(more int) *events.Batch {
	n := len(c.got.batches)
	if n == 0 || len(c.got.batches[n-1].Events)+more > maxBatchEvents {
		c.likely = min(max(2*c.likely, 1), maxBatchEvents)
		c.got.batches = append(c.got.batches, events.Batch{Events: make([]events.Event, 0, c.likely)})
		n++
	}
	return &c.got.batches[n-1]
}

func (c *consumer) close() {
	c.ledger.conn.RemoveStatusListener(c.status)
	if c.wire != nil {
		c.wire.close()
	} else {
		_ = c.sub.Unsubscribe() // fails only with the connection
	}
	_ = c.ledger.conn.Publish(apiConsumerDelete+"."+c.name, nil) // the broker drops it later anyway
}

// receive is called by the connection, message by message.
func (c *consumer) receive(msg *nats.Msg) {
	c.lock(func() {
		if first(msg.Header, headerStatus) != "" && len(msg.Data) == 0 && !strings.HasPrefix(msg.Reply, string(ackPrefix)) {
			c.control(msg)
		} else {
			c.message(msg)
		}
	})
}

func (c *consumer) control(msg *nats.Msg) {
	if first(msg.Header, headerStatus) != statusIdleFlow {
		c.got.lost = true // the consumer was deleted or its leader moved
		return
	}
	if msg.Reply != "" {
		c.got.flow = append(c.got.flow, msg.Reply)
		return
	}
	stalled := first(msg.Header, headerStalled)
	if stalled != "" {
		c.got.flow = append(c.got.flow, stalled)
	}
	if last, err := strconv.ParseUint(first(msg.Header, headerLastConsumer), 10, 64); err == nil && last != c.sequence {
		c.got.lost = true
		return
	}
	if scanned, err := strconv.ParseUint(first(msg.Header, headerLastStream), 10, 64); err == nil {
		c.got.reached = max(c.got.reached, scanned)
	}
	if c.beats++; c.beats > 1 && stalled == "" {
		c.flush(0)
	}
	c.got.alive = c.got.alive || stalled == ""
}

func (c *consumer) message(msg *nats.Msg) {
	meta, ok := c.delivered(msg.Reply)
	switch {
	case !ok:
	case c.raw:
		c.got.raw = append(c.got.raw, rawMessage(msg, meta))
	default:
		e, err := decode(msg.Subject, msg)
		c.put(arrival{msg.Subject, e, err, meta.stream, time.Unix(0, meta.nanoseconds)}, func() (id []byte, last bool) {
			return []byte(first(msg.Header, headerBatch)), first(msg.Header, headerBatchCommit) != ""
		})
	}
}

// delivered notes a message by its reply subject. If one before it is missing, all is lost.
func (c *consumer) delivered(reply string) (metadata, bool) {
	meta, err := parseMetadata(reply)
	if err != nil || meta.consumer != c.sequence+1 {
		c.got.lost = true
		return meta, false
	}
	c.sequence = meta.consumer
	c.got.count++
	c.got.reached = max(c.got.reached, meta.stream)
	return meta, true
}

// decode reads a message.
func decode(subject string, msg *nats.Msg) (events.Event, error) {
	return events.Decode(subject, func(name string) string { return first(msg.Header, name) }, msg.Data)
}

// addTo adds what has come to a batch, as an event or set aside.
func (a *arrival) addTo(b *events.Batch) {
	b.Revision = a.revision
	if a.err != nil {
		b.SetAside = append(b.SetAside, events.SetAside{Revision: a.revision, Subject: a.subject, Reason: a.err.Error()})
		return
	}
	a.event.Revision, a.event.Stored = a.revision, a.stored.UTC()
	b.Events = append(b.Events, a.event)
}

// take waits for messages or a sign of life. The error is errLost, or that of ctx.
func (c *consumer) take(ctx context.Context) (delivery, error) {
	for {
		c.mu.Lock()
		got := c.got
		c.got = delivery{lost: got.lost}
		if n := len(got.batches); n > 0 {
			c.likely = len(got.batches[n-1].Events)
		}
		c.mu.Unlock()
		switch {
		case got.count > 0 || got.alive || len(got.flow) > 0:
			got.lost = false // the next take tells
			return got, nil
		case got.lost:
			return delivery{}, errLost
		}
		select {
		case <-c.arrived:
		case <-c.status:
			return delivery{}, errLost
		case <-time.After(silentFor):
			return delivery{}, errLost
		case <-ctx.Done():
			return delivery{}, ctx.Err()
		}
	}
}

// stuck says, told of each delivery, that what the broker had counted and not sent won't come: it can't read it, or it was trimmed meanwhile. One heartbeat
// says nothing, the broker rests for one before it goes on after each message that it can't read.
func (c *consumer) stuck(d delivery) bool {
	if d.count > 0 {
		c.idle = 0
	} else if d.alive {
		c.idle++
	}
	return c.idle >= idleBeats
}

// taken lets the broker send on.
func (c *consumer) taken(d delivery) {
	for _, subject := range d.flow {
		_ = c.ledger.conn.Publish(subject, nil) // a broker that isn't told stalls, and says so with its heartbeats
	}
}

// metadata is what a delivered message's reply subject tells.
type metadata struct {
	stream, consumer uint64
	nanoseconds      int64
}

// parseMetadata reads $JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>, which may have a
// domain and an account before the stream, and more after.
func parseMetadata(reply string) (m metadata, err error) {
	var tokens [metadataTokensExtended + 1]string
	n := 0
	for rest, more := reply, true; more && n < len(tokens); n++ {
		tokens[n], rest, more = strings.Cut(rest, ".")
	}
	at := 5
	switch {
	case n >= metadataTokensExtended:
		at += 2
	case n != metadataTokensPlain:
		return m, fmt.Errorf("reply subject %q is not that of a delivered message", reply)
	}
	var errs [3]error
	m.stream, errs[0] = strconv.ParseUint(tokens[at], 10, 64)
	m.consumer, errs[1] = strconv.ParseUint(tokens[at+1], 10, 64)
	m.nanoseconds, errs[2] = strconv.ParseInt(tokens[at+2], 10, 64)
	return m, errors.Join(errs[:]...)
}
