package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	probeEvery = 500 * time.Millisecond
	// probeBytes is how much must be writable before appends are let in again: some way to go to the next failure.
	probeBytes = 4 << 20
	// appends are the subjects of the ledger's stream.
	appends = "ledger.>"
	// refusedCode is the error code of a refused append: JetStream's own for "insufficient resources".
	refusedCode = 10023
)

// A stream of JetStream that failed to write stays as it is until its server restarts: it takes no message any more and does not
// answer either. So the broker answers in its place until writing works again, and then restarts the server.

// logger passes the server's words on and notices when it tells of a failed write: it tells nobody else.
type logger struct {
	to     *slog.Logger
	failed chan<- error
}

func (l *logger) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.to.Error("broker", "message", text)
	lower := strings.ToLower(text)
	if !strings.Contains(lower, "critical write error") && !strings.Contains(lower, "will be disabled") {
		return
	}
	cause := errors.New(text)
	for _, arg := range v {
		if err, ok := arg.(error); ok {
			cause = err
		}
	}
	select {
	case l.failed <- cause:
	default:
	}
}

func (l *logger) Warnf(format string, v ...any) {
	l.to.Warn("broker", "message", fmt.Sprintf(format, v...))
}
func (l *logger) Fatalf(format string, v ...any) { l.Errorf(format, v...) }
func (l *logger) Noticef(string, ...any)         {}
func (l *logger) Debugf(string, ...any)          {}
func (l *logger) Tracef(string, ...any)          {}

// watch waits for a failed write, refuses appends until the directory can be written again, and restarts the server.
func (b *Broker) watch() {
	for {
		select {
		case <-b.done:
			return
		case cause := <-b.failed:
			if !b.outlast(cause) {
				return
			}
		}
	}
}

// outlast returns true when appends work again, false when the broker is closed.
func (b *Broker) outlast(cause error) bool {
	failing := b.describe(cause)
	b.setFailing(failing)
	stop, err := b.standBy(failing)
	if err != nil {
		b.config.Log.Error("appends can't be refused, they time out instead", "error", err)
	}
	defer func() { stop() }()
	for {
		select {
		case <-b.done:
			return false
		case <-time.After(probeEvery):
		}
		if b.probe() != nil {
			continue
		}
		stop()
		if err = b.restart(); err == nil {
			b.config.Log.Info("the broker writes again", "dir", b.config.Dir)
			return true
		}
		b.config.Log.Error("restarting the broker", "error", err)
	}
}

func (b *Broker) describe(cause error) error {
	if errors.Is(cause, syscall.ENOSPC) || strings.Contains(cause.Error(), "no space left") || errors.Is(cause, syscall.EDQUOT) {
		return fmt.Errorf("no space left for the ledger in %s: free some; appends are refused until then, nothing that was acknowledged is lost (%w)", b.config.Dir, cause)
	}
	return fmt.Errorf("the ledger in %s can't be written: repair the directory or its disk; appends are refused until then (%w)", b.config.Dir, cause)
}

func (b *Broker) setFailing(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failing = err
}

// standBy has a broker that can't write do the least harm. One of several leaves the others to do the work; one on its own refuses appends.
func (b *Broker) standBy(failing error) (stop func(), _ error) {
	if b.config.Cluster == nil {
		return b.refuse(failing)
	}
	b.config.Log.Error("this broker stops until it can write again; the others go on", "error", failing)
	b.mu.Lock()
	s := b.server
	b.mu.Unlock()
	s.Shutdown()
	s.WaitForShutdown()
	return func() {}, nil
}

// refuse answers appends with err. The function that it returns ends that and may be called again.
func (b *Broker) refuse(err error) (stop func(), _ error) {
	type apiError struct {
		Code        int    `json:"code"`
		ErrorCode   int    `json:"err_code"`
		Description string `json:"description"`
	}
	answer, marshalErr := json.Marshal(map[string]any{"stream": "", "seq": 0, "error": apiError{507, refusedCode, err.Error()}})
	conn, connErr := b.Ledger()
	if err := errors.Join(marshalErr, connErr); err != nil {
		return func() {}, err
	}
	_, subErr := conn.Subscribe(appends, func(msg *nats.Msg) {
		if msg.Reply != "" {
			_ = msg.Respond(answer) // who gets no answer asks again
		}
	})
	return conn.Close, subErr
}

// probe finds out whether the directory can be written, and some space is left.
func (b *Broker) probe() error {
	path := filepath.Join(b.config.Dir, "probe")
	err := os.WriteFile(path, make([]byte, probeBytes), 0o600)
	return errors.Join(err, os.Remove(path))
}

func (b *Broker) restart() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.server.Shutdown() // which may be done already
	b.server.WaitForShutdown()
	s, err := b.startServer()
	if err != nil {
		return err
	}
	b.server, b.failing = s, nil
	return nil
}
