package nodewire

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go"
)

// maxMessageBytes keeps messages under the broker's limit: JSON makes objects a third larger.
const maxMessageBytes = 512 << 10

// ErrNotMine says that another server's handler answers this node.
var ErrNotMine = errors.New("another feed serves this node")

// Handler answers what nodes say. Each call is about one node, the one that the broker let speak. Where there are several servers, snapshots and heartbeats come to
// all of them, and all but one of the handlers return ErrNotMine; a report comes to any one.
type Handler interface {
	Snapshot(ctx context.Context, node string) (Slice, error)
	Pod(ctx context.Context, node string, report PodReport) Answer
	Node(ctx context.Context, node string, report NodeReport) Answer
	Heartbeat(ctx context.Context, node string) (Beat, error)
	// Overhear tells what a node reports of itself, whichever server it is that takes the report.
	Overhear(node string, report NodeReport)
}

// reporters is the queue group of the servers: one of them gets each report.
const reporters = "feeds"

// Server is the control plane's end of the line to the nodes. It may be used by many goroutines.
type Server struct{ conn *nats.Conn }

// NewServer returns a server on conn, a connection in the nodes' account, which stays the caller's.
func NewServer(conn *nats.Conn) *Server { return &Server{conn: conn} }

// Serve answers nodes with h until ctx ends. Every message is handled in a goroutine of its own.
func (s *Server) Serve(ctx context.Context, h Handler) error {
	verbs := map[string]func(node string, msg *nats.Msg) (any, error){
		VerbSnapshot: func(node string, msg *nats.Msg) (any, error) { return nil, s.sendFull(ctx, h, node, msg.Reply) },
		VerbPod: func(node string, msg *nats.Msg) (any, error) {
			var r PodReport
			err := json.Unmarshal(msg.Data, &r)
			if err != nil {
				return nil, err
			}
			return h.Pod(ctx, node, r), nil
		},
		VerbStatus: func(node string, msg *nats.Msg) (any, error) {
			var r NodeReport
			err := json.Unmarshal(msg.Data, &r)
			if err != nil {
				return nil, err
			}
			return h.Node(ctx, node, r), nil
		},
		VerbHeartbeat: func(node string, _ *nats.Msg) (any, error) { return h.Heartbeat(ctx, node) },
	}
	for verb, handle := range verbs {
		group := "" // none: all servers get it
		if verb == VerbPod || verb == VerbStatus {
			group = reporters
		}
		sub, err := s.conn.QueueSubscribe(AnyNode(verb), group, func(msg *nats.Msg) { go answer(msg, handle) })
		if err != nil {
			return fmt.Errorf("listening to the nodes' %s messages: %w", verb, err)
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	sub, err := s.conn.Subscribe(AnyNode(VerbStatus), func(msg *nats.Msg) { overhear(msg, h) })
	if err != nil {
		return fmt.Errorf("listening to the nodes' reports: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	<-ctx.Done()
	return ctx.Err()
}

func overhear(msg *nats.Msg, h Handler) {
	node, err := nodeOf(msg.Subject)
	var r NodeReport
	if err == nil && json.Unmarshal(msg.Data, &r) == nil {
		h.Overhear(node, r)
	}
}

func answer(msg *nats.Msg, handle func(node string, msg *nats.Msg) (any, error)) {
	node, err := nodeOf(msg.Subject)
	if err != nil || !answerable(node, msg.Reply) {
		return
	}
	reply, err := handle(node, msg)
	if errors.Is(err, ErrNotMine) {
		return
	}
	if err != nil {
		reply = Answer{Error: err.Error()}
	}
	if reply == nil {
		return
	}
	if body, err := json.Marshal(reply); err == nil {
		_ = msg.Respond(body) // a node that gets no answer asks again
	}
}

func (s *Server) sendFull(ctx context.Context, h Handler, node, reply string) error {
	full, err := h.Snapshot(ctx, node)
	if err != nil {
		return nil // the node asks again: a Slice has no room for an error
	}
	return s.send(reply, full)
}

// Publish sends a slice of changes to its node.
func (s *Server) Publish(slice Slice) error { return s.send(Subject(slice.Node, VerbSlice), slice) }

// send splits a slice into messages that the broker takes.
func (s *Server) send(subject string, slice Slice) error {
	objects := slice.Objects
	for {
		part, size := slice, 0
		count := 0
		for count < len(objects) && (count == 0 || size+len(objects[count].Data) < maxMessageBytes) {
			size += len(objects[count].Data)
			count++
		}
		part.Objects, objects = objects[:count], objects[count:]
		part.More = len(objects) > 0
		body, err := json.Marshal(part)
		if err != nil {
			return fmt.Errorf("encoding a slice for node %s: %w", slice.Node, err)
		}
		if err := s.conn.Publish(subject, body); err != nil {
			return fmt.Errorf("sending a slice to node %s: %w", slice.Node, err)
		}
		if !part.More {
			return nil
		}
	}
}

// Logs asks a node for a log. Closing the reader ends the stream.
func (s *Server) Logs(ctx context.Context, node string, request LogRequest) (io.ReadCloser, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	inbox := Subject(node, verbLog) + "." + rand.Text()
	sub, err := s.conn.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("asking node %s for a log: %w", node, err)
	}
	if err := s.conn.PublishRequest(Subject(node, VerbLogs), inbox, body); err != nil {
		return nil, errors.Join(fmt.Errorf("asking node %s for a log: %w", node, err), sub.Unsubscribe())
	}
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		w.CloseWithError(copyLog(ctx, sub, w, node, request.Options.Follow))
	}()
	return &logReader{PipeReader: r, cancel: cancel}, nil
}

// copyLog passes chunks on until the end message. A node that is silent before its first chunk isn't there, unless it follows a quiet log.
func copyLog(ctx context.Context, sub *nats.Subscription, w io.Writer, node string, follow bool) error {
	defer func() { _ = sub.Unsubscribe() }()
	for {
		next, cancel := ctx, context.CancelFunc(func() {})
		if !follow {
			next, cancel = context.WithTimeout(ctx, 2*answerWithin)
		}
		msg, err := sub.NextMsgWithContext(next)
		cancel()
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return fmt.Errorf("node %s is not connected: its logs can be read when it is back", node)
		case err != nil:
			return fmt.Errorf("reading a log from node %s: %w", node, err)
		case msg.Header.Get(headerEnd) != "":
			if text := msg.Header.Get(headerEndError); text != "" {
				return errors.New(text)
			}
			return io.EOF
		}
		if _, err := w.Write(msg.Data); err != nil {
			return err
		}
		if !answerable(node, msg.Reply) {
			return fmt.Errorf("reading a log from node %s: a chunk can't be acknowledged", node)
		}
		if err := msg.Respond(nil); err != nil {
			return fmt.Errorf("reading a log from node %s: %w", node, err)
		}
	}
}

type logReader struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (r *logReader) Close() error {
	r.cancel()
	return r.PipeReader.Close()
}
