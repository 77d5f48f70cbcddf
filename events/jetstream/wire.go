package jetstream

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	wireBuffer = 64 << 10
	// wireWithin is how long a broker in this process may take to let a reader in.
	wireWithin = 5 * time.Second
	maxWireMsg = 64 << 20 // more than any broker sends
)

var newline = []byte("\r\n")

// wire is a connection to a broker in this process that only reads one subscription. nats.go makes a map of the headers of each message, which takes as long as all
// else that reading an event does; here they stay bytes. It speaks the little of NATS' protocol that this takes.
type wire struct {
	conn net.Conn
	from *bufio.Reader
	body []byte // of the last frame
}

// frame is a message as it came. It is overwritten by the next.
type frame struct {
	subject, reply, header, payload []byte
}

// dialWire opens a connection like conn's and subscribes subject on it. It returns nil if that can't be done: conn is not to a broker in this process, or that broker
// is just starting again, which conn waits for and tells about.
func dialWire(conn *nats.Conn, subject string) *wire {
	if conn.Opts.InProcessServer == nil || conn.Opts.Password == "" {
		return nil
	}
	c, err := conn.Opts.InProcessServer.InProcessConn()
	if err != nil {
		return nil
	}
	w := &wire{conn: c, from: bufio.NewReaderSize(c, wireBuffer)}
	if err := w.begin(conn.Opts, subject); err != nil {
		w.close()
		return nil
	}
	return w
}

// begin introduces itself and subscribes; when it returns the broker knows of the subscription.
func (w *wire) begin(as nats.Options, subject string) error {
	if err := w.conn.SetDeadline(time.Now().Add(wireWithin)); err != nil {
		return err
	}
	if line, err := w.line(); err != nil || !bytes.HasPrefix(line, []byte("INFO ")) {
		return fmt.Errorf("the broker begins with %.40q: %w", line, err)
	}
	hello, err := json.Marshal(map[string]any{"user": as.User, "pass": as.Password, "name": as.Name + " reader", "lang": "go", "version": nats.Version, "protocol": 1,
		"verbose": false, "pedantic": false, "headers": true, "no_responders": false})
	if err != nil {
		return err
	}
	if err := w.send("CONNECT " + string(hello) + "\r\nSUB " + subject + " 1\r\nPING\r\n"); err != nil {
		return err
	}
	for {
		line, err := w.line()
		switch {
		case err != nil:
			return err
		case bytes.Equal(line, []byte("PONG")):
			return w.conn.SetDeadline(time.Time{})
		case bytes.HasPrefix(line, []byte("-ERR")):
			return fmt.Errorf("the broker refuses: %s", line)
		}
	}
}

func (w *wire) send(text string) error {
	_, err := io.WriteString(w.conn, text)
	return err
}

func (w *wire) close() { _ = w.conn.Close() }

// line reads a line, which stays until the next read.
func (w *wire) line() ([]byte, error) {
	line, err := w.from.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line, newline), nil
}

// next waits for a message.
func (w *wire) next() (f frame, err error) {
	for {
		line, err := w.line()
		if err != nil {
			return f, err
		}
		verb, rest, _ := bytes.Cut(line, []byte(" "))
		switch string(verb) {
		case "MSG", "HMSG":
			return w.message(rest, len(verb) == len("HMSG"))
		case "PING":
			if err := w.send("PONG\r\n"); err != nil {
				return f, err
			}
		case "-ERR":
			return f, fmt.Errorf("the broker says: %s", rest)
		}
	}
}

// message reads "<subject> <sid> [reply] [header bytes] <bytes>" and what follows it.
func (w *wire) message(line []byte, headers bool) (f frame, err error) {
	var words [5][]byte
	n := 0
	for rest, more := line, true; more && n < len(words); n++ {
		words[n], rest, more = bytes.Cut(rest, []byte(" "))
	}
	sizes := 1
	if headers {
		sizes = 2
	}
	if n < 2+sizes || n > 3+sizes {
		return f, fmt.Errorf("the broker sends a message with %q", line)
	}
	total, err := strconv.Atoi(string(words[n-1]))
	header := 0
	if err == nil && headers {
		header, err = strconv.Atoi(string(words[n-2]))
	}
	if err != nil || header < 0 || header > total || total > maxWireMsg {
		return f, fmt.Errorf("the broker sends a message with %q", line)
	}
	// The line lies in the buffer that reading on overwrites: it is moved before the message.
	subject := len(words[0])
	w.body = append(w.body[:0], words[0]...)
	if n == 3+sizes {
		w.body = append(w.body, words[2]...)
	}
	begin := len(w.body)
	w.body = append(w.body, make([]byte, total+len(newline))...)
	if _, err := io.ReadFull(w.from, w.body[begin:]); err != nil {
		return f, err
	}
	body := w.body[begin : begin+total]
	return frame{subject: w.body[:subject], reply: w.body[subject:begin], header: body[:header], payload: body[header:]}, nil
}
