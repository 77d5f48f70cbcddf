package ingress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// status is what a server's process says of itself.
type status struct {
	PID       int       `json:"pid"`
	Build     string    `json:"build"`
	Addresses Addresses `json:"addresses"`
	Listening bool      `json:"listening,omitempty"`
	Failed    string    `json:"failed,omitempty"` // why it can't serve
	mark
}

// mark says up to where a server was told: by whom, and how often.
type mark struct {
	Teller string `json:"teller,omitempty"`
	Count  uint64 `json:"count,omitempty"`
}

// told is a change with its place in the order.
type told struct {
	mark
	Change
}

// The paths at which a server's process is spoken to.
const (
	pathStatus   = "/status"   // what it is
	pathWatch    = "/watch"    // an answer that ends when it doesn't listen any more
	pathApply    = "/apply"    // a change
	pathQuit     = "/quit"     // it is to end
	pathHandover = "/handover" // its listening sockets, for another process
)

// process is a server in a process of its own, as the agent speaks to it.
type process struct {
	server *Server
	build  string
	quit   context.CancelFunc

	mu      sync.Mutex
	at      mark
	failed  error
	failing chan struct{} // closed with failed
}

// Serve serves Ingresses as an agent's Keeper says by the socket, until that says that it is to end, or ctx does. Build tells apart the versions of this program.
func Serve(ctx context.Context, socket, build string, server *Server) error {
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) { // who starts a process has asked whether one is there
		return fmt.Errorf("removing the socket of an earlier process: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("listening for the agent at %s: %w", socket, err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return errors.Join(err, listener.Close())
	}
	if unix, ok := listener.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false) // the next process may have its own there by then
	}
	p := &process{server: server, build: build, quit: quit, failing: make(chan struct{})}
	control := &http.Server{Handler: p.handler(), ReadHeaderTimeout: headerWithin}
	ended := make(chan error, 1)
	go func() { ended <- control.Serve(listener) }()
	err = server.Run(ctx)
	if ctx.Err() == nil { // it can't serve; the agent is to hear why
		p.fail(err)
		<-ctx.Done()
	}
	_ = control.Close()
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (p *process) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = err
	close(p.failing)
}

func (p *process) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, func(w http.ResponseWriter, _ *http.Request) { p.tell(w) })
	mux.HandleFunc("POST "+pathApply, p.apply)
	mux.HandleFunc("GET "+pathHandover, p.handover)
	mux.HandleFunc("POST "+pathQuit, func(http.ResponseWriter, *http.Request) { p.quit() })
	mux.HandleFunc("GET "+pathWatch, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-p.server.silent:
		case <-p.failing:
		case <-r.Context().Done():
		}
	})
	return mux
}

func (p *process) tell(w http.ResponseWriter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := status{PID: os.Getpid(), Build: p.build, Addresses: p.server.addresses, Listening: p.server.serving.Load() != nil, mark: p.at}
	if p.failed != nil {
		s.Failed = p.failed.Error()
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s)
}

// apply takes a change in, if it follows what was taken in before.
func (p *process) apply(w http.ResponseWriter, r *http.Request) {
	var t told
	if err := json.NewDecoder(r.Body).Decode(&t); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !t.Full && (t.Teller != p.at.Teller || t.Count != p.at.Count+1) {
		http.Error(w, "this doesn't follow what was told before", http.StatusConflict)
		return
	}
	if err := p.server.Apply(t.Change); err != nil {
		p.at = mark{}
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	p.at = t.mark
}

// client speaks to the process behind a socket, whichever that is at the moment: no connection is kept.
func client(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", socket)
	}}}
}

// Stop ends the process behind a socket, if there is one, and returns when it listens no more. Requests under way come to their end.
func Stop(ctx context.Context, socket string) error {
	if _, err := os.Stat(socket); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	c := client(socket)
	defer c.CloseIdleConnections()
	watch, err := call(ctx, c, http.MethodGet, pathWatch, nil)
	if err != nil {
		return os.Remove(socket) // of one that was killed
	}
	defer func() { _ = watch.Close() }()
	quit, err := call(ctx, c, http.MethodPost, pathQuit, nil)
	if err != nil {
		return fmt.Errorf("ending the process that serves Ingresses: %w", err)
	}
	_ = quit.Close()
	_, _ = watch.Read(make([]byte, 1)) // the end of it
	return errors.Join(ctx.Err(), os.Remove(socket))
}
