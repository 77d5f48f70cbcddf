package broker

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxGuestLine bounds a line of the protocol, in bytes, as the server's own limit does.
const maxGuestLine = 4 << 10

// session is one connection of a node: what comes is checked and handed on to a connection within the process, what goes is handed out.
type session struct {
	guest  Guest
	leaf   *x509.Certificate
	conn   *tls.Conn
	user   User
	limits *limits
	broker *Broker

	once  sync.Once
	cause error
	ended chan struct{} // closed by end
	inner net.Conn
	in    *bufio.Reader
	out   *bufio.Writer // to inner
	subs  map[string]struct{}
}

// violation is something that no agent does.
type violation struct{ what string }

func (v *violation) Error() string { return v.what }

// end ends the session for a reason that is worth a word.
func (s *session) end(cause error) {
	s.once.Do(func() {
		s.cause = cause
		close(s.ended)
		_ = s.conn.SetDeadline(time.Now()) // whoever reads or writes returns; closing could wait for them
	})
}

// run serves the session. It returns why the node was made to leave; nil if it left.
func (s *session) run() error {
	s.wait(s.limits.connections.take(1, time.Now()))
	var err error
	if s.inner, err = s.broker.InProcessConn(); err != nil {
		return err
	}
	s.in, s.out, s.subs = bufio.NewReaderSize(s.conn, maxGuestLine), bufio.NewWriter(s.inner), map[string]struct{}{}
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(&patientWriter{s.conn}, s.inner)
		s.end(nil)
	})
	both.Go(func() {
		<-s.ended
		_ = s.inner.Close()
	})
	err = s.takeAll()
	var bad *violation
	if errors.As(err, &bad) {
		_ = s.conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = fmt.Fprintf(s.conn, "-ERR '%s'\r\n", bad.what)
		s.end(bad)
	}
	s.end(nil)
	both.Wait()
	return s.cause
}

// patientWriter gives up on a reader that takes nothing.
type patientWriter struct{ conn net.Conn }

func (w *patientWriter) Write(p []byte) (int, error) {
	if err := w.conn.SetWriteDeadline(time.Now().Add(guestWriteTime)); err != nil {
		return 0, err
	}
	return w.conn.Write(p)
}

// wait waits for d; false if the session has ended.
func (s *session) wait(d time.Duration) bool {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.ended:
		}
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// takeAll takes what the node says until it or the session ends.
func (s *session) takeAll() error {
	first := time.AfterFunc(introductionTime, func() { s.end(errors.New("it does not introduce itself")) })
	words, err := s.line()
	first.Stop()
	if err != nil {
		return err
	}
	if err := s.connect(words); err != nil {
		return err
	}
	for {
		if s.in.Buffered() == 0 {
			if err := s.out.Flush(); err != nil {
				return err
			}
		}
		line, err := s.line()
		if err != nil {
			return err
		}
		if !s.wait(max(s.limits.messages.take(1, time.Now()), s.limits.bytes.take(float64(len(line)), time.Now()))) {
			return nil
		}
		if err := s.operation(strings.Fields(line)); err != nil {
			return err
		}
	}
}

// line reads one line, without its end.
func (s *session) line() (string, error) {
	raw, err := s.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", &violation{"a line is too long"}
	}
	if err != nil {
		return "", err
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return "", &violation{"a line holds control characters"}
	}
	return line, nil
}

// introduction is what of a client's CONNECT reaches the server. Who it is, is not the client's to say.
type introduction struct {
	Verbose      bool   `json:"verbose"`
	Pedantic     bool   `json:"pedantic"`
	Lang         string `json:"lang,omitempty"`
	Version      string `json:"version,omitempty"`
	Protocol     int    `json:"protocol"`
	Echo         *bool  `json:"echo,omitempty"`
	Headers      bool   `json:"headers"`
	NoResponders bool   `json:"no_responders"`
}

func (s *session) connect(line string) error {
	op, rest, _ := strings.Cut(line, " ")
	if !strings.EqualFold(op, "CONNECT") {
		return &violation{"CONNECT comes first"}
	}
	var said introduction
	if err := json.Unmarshal([]byte(rest), &said); err != nil {
		return &violation{"CONNECT can't be understood"}
	}
	words, err := json.Marshal(struct {
		introduction
		User string `json:"user"`
		Pass string `json:"pass"`
		Name string `json:"name"`
	}{said, s.user.Name, s.user.Password, s.user.Name})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "CONNECT %s\r\n", words)
	return err
}

// operation hands on one operation, in words of its own.
func (s *session) operation(words []string) error {
	if len(words) == 0 {
		return &violation{"an empty line"}
	}
	op, args := strings.ToUpper(words[0]), words[1:]
	switch {
	case (op == "PING" || op == "PONG") && len(args) == 0:
		return s.say(op)
	case op == "PUB" && (len(args) == 2 || len(args) == 3):
		return s.publish(op, args, 1)
	case op == "HPUB" && (len(args) == 3 || len(args) == 4):
		return s.publish(op, args, 2)
	case op == "SUB" && (len(args) == 2 || len(args) == 3):
		s.subs[args[len(args)-1]] = struct{}{}
		if len(s.subs) > maxGuestSubscriptions {
			return &violation{"too many subscriptions"}
		}
		return s.say(op, args...)
	case op == "UNSUB" && len(args) == 1:
		delete(s.subs, args[0])
		return s.say(op, args...)
	case op == "UNSUB" && len(args) == 2:
		return s.say(op, args...)
	}
	return &violation{"an operation that no node needs"}
}

func (s *session) say(op string, args ...string) error {
	_, err := s.out.WriteString(strings.Join(append([]string{op}, args...), " ") + "\r\n")
	return err
}

// publish hands on a message. The last args are sizes, in bytes: of all, and with headers of those before it.
func (s *session) publish(op string, args []string, sizes int) error {
	subjects := args[:len(args)-sizes]
	// An answer goes where the question says, in the name of whoever answers. It must not go to others.
	if len(subjects) == 2 && (!strings.HasPrefix(subjects[1], s.guest.Inbox) || strings.ContainsAny(subjects[1], "*>")) {
		return &violation{"a reply subject outside the inbox"}
	}
	size, err := strconv.ParseUint(args[len(args)-1], 10, 32)
	if err != nil || size > maxGuestPayload {
		return &violation{fmt.Sprintf("maximum payload violation: %d bytes at most", maxGuestPayload)}
	}
	header := uint64(0)
	if sizes == 2 {
		if header, err = strconv.ParseUint(args[len(args)-2], 10, 32); err != nil || header > size || header > maxGuestLine {
			return &violation{"a header's size"}
		}
	}
	if !s.wait(s.limits.bytes.take(float64(size), time.Now())) {
		return nil
	}
	body := make([]byte, size+2)
	if _, err := io.ReadFull(s.in, body); err != nil {
		return err
	}
	if !bytes.HasSuffix(body, []byte("\r\n")) {
		return &violation{"a message does not end where it says"}
	}
	if instructs(body[:header]) {
		return &violation{"a header that instructs the broker"}
	}
	if err := s.say(op, args...); err != nil {
		return err
	}
	_, err = s.out.Write(body)
	return err
}

// instructs says that a header has fields that mean something to the broker.
func instructs(header []byte) bool {
	for _, field := range bytes.FieldsFunc(bytes.ToLower(header), func(r rune) bool { return r == '\r' || r == '\n' }) {
		field = bytes.TrimLeft(field, " \t")
		if bytes.HasPrefix(field, []byte("nats-")) || bytes.HasPrefix(field, []byte("traceparent")) {
			return true
		}
	}
	return false
}
