// Package calls lets one process of a control plane ask another, by plain messages in the ledger's account: the gateway asks the keeper what it has witnessed. It
// guarantees:
//
//   - A question that nobody serves fails at once with ErrNobody; one whose server ends before it has answered fails when its time is over.
//   - A question is answered once, by one of those who serve it. Questions, answers and errors are JSON; nothing of them is kept.
package calls

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// ErrNobody says that no process serves what was asked.
var ErrNobody = errors.New("no process that could answer is running")

const (
	prefix      = "calls."
	headerError = "Wake-Error"
)

// Link connects to the ledger's account.
type Link interface {
	Ledger(options ...nats.Option) (*nats.Conn, error)
}

// Client asks. It may be used by many goroutines.
type Client struct{ conn *nats.Conn }

// NewClient returns a client with a connection of its own.
func NewClient(link Link) (*Client, error) {
	conn, err := link.Ledger()
	if err != nil {
		return nil, err
	}
	return &Client{conn}, nil
}

// Close ends the connection; questions under way fail.
func (c *Client) Close() error {
	c.conn.Close()
	return nil
}

// Ask asks what is served under a name, and waits for the answer until ctx ends.
func (c *Client) Ask(ctx context.Context, name string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("asking for %s: %w", name, err)
	}
	msg, err := c.conn.RequestWithContext(ctx, prefix+name, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("asking for %s: %w", name, ErrNobody)
	case err != nil:
		return fmt.Errorf("asking for %s: %w", name, err)
	}
	if text := msg.Header.Get(headerError); text != "" {
		return errors.New(text)
	}
	if err := json.Unmarshal(msg.Data, answer); err != nil {
		return fmt.Errorf("the answer to %s: %w", name, err)
	}
	return nil
}

// Server answers. Register before Run.
type Server struct {
	conn     *nats.Conn
	handlers map[string]func(context.Context, []byte) (any, error)
}

// NewServer returns a server with a connection of its own.
func NewServer(link Link) (*Server, error) {
	conn, err := link.Ledger()
	if err != nil {
		return nil, err
	}
	return &Server{conn, map[string]func(context.Context, []byte) (any, error){}}, nil
}

// Close ends the connection.
func (s *Server) Close() error {
	s.conn.Close()
	return nil
}

// Handle has questions under a name answered by answer, each in a goroutine of its own.
func Handle[Q, A any](s *Server, name string, answer func(context.Context, Q) (A, error)) {
	s.handlers[name] = func(ctx context.Context, body []byte) (any, error) {
		var question Q
		if err := json.Unmarshal(body, &question); err != nil {
			return nil, fmt.Errorf("the question for %s: %w", name, err)
		}
		return answer(ctx, question)
	}
}

// Run answers until ctx ends, and returns its error.
func (s *Server) Run(ctx context.Context) error {
	for name, handle := range s.handlers {
		sub, err := s.conn.QueueSubscribe(prefix+name, "servers", func(msg *nats.Msg) {
			go func() { _ = msg.RespondMsg(respond(ctx, handle, msg)) }() // who gets no answer asks again
		})
		if err != nil {
			return fmt.Errorf("serving %s: %w", name, err)
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	<-ctx.Done()
	return ctx.Err()
}

func respond(ctx context.Context, handle func(context.Context, []byte) (any, error), question *nats.Msg) *nats.Msg {
	out := nats.NewMsg(question.Reply)
	answer, err := handle(ctx, question.Data)
	if err == nil {
		out.Data, err = json.Marshal(answer)
	}
	if err != nil {
		out.Data = nil
		out.Header.Set(headerError, err.Error())
	}
	return out
}
