package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Addresses are where a Server listens; an empty one isn't.
type Addresses struct {
	HTTP  string `json:"http"`
	HTTPS string `json:"https"`
}

// list are those at which is listened.
func (a Addresses) list() []string {
	return slices.DeleteFunc([]string{a.HTTP, a.HTTPS}, func(address string) bool { return address == "" })
}

const (
	headerWithin = 10 * time.Second // which a client has to send a request's header
	clientIdle   = 75 * time.Second // an open connection of a client is kept without a request
	drainWithin  = 30 * time.Second // requests under way may take when the server ends
)

// Server serves Ingresses. It is safe for concurrent use.
type Server struct {
	addresses Addresses
	log       *slog.Logger
	fallback  tls.Certificate
	forwarder *forwarder
	known     chan struct{} // closed when a full change has arrived
	silent    chan struct{} // closed when it listens no more

	inherited   []door                 // sockets of the process before; none: they are opened
	predecessor io.Closer              // that process: it ends when this is closed
	serving     atomic.Pointer[[]door] // nil: it doesn't listen yet
	retiring    atomic.Bool            // another process listens

	table atomic.Pointer[table]

	mu   sync.Mutex
	fold *fold
}

// NewServer returns a Server that knows nothing and doesn't listen yet.
func NewServer(addresses Addresses, log *slog.Logger) (*Server, error) {
	fallback, err := selfSigned()
	if err != nil {
		return nil, fmt.Errorf("making the certificate that is shown where there is none: %w", err)
	}
	return &Server{addresses: addresses, log: log, fallback: fallback, forwarder: newForwarder(log), known: make(chan struct{}), silent: make(chan struct{}), fold: newFold(log)}, nil
}

// Apply takes a change in: from its return on, requests are served by it. The first one must be full.
func (s *Server) Apply(c Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.table.Load() == nil
	if first && !c.Full {
		return errors.New("a server that knows nothing was told of changes")
	}
	if s.fold.apply(c) {
		s.table.Store(s.fold.table())
	}
	if first {
		close(s.known)
	}
	return nil
}

// Run listens when the node's Ingresses are known, and serves until ctx ends; then it lets requests under way come to their end.
func (s *Server) Run(ctx context.Context) error {
	select {
	case <-s.known:
	case <-ctx.Done():
		return ctx.Err()
	}
	doors := s.inherited
	if doors == nil {
		var err error
		if doors, err = s.open(ctx); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	var listening sync.WaitGroup
	for _, d := range doors {
		server := s.httpServer()
		listening.Add(1)
		server.RegisterOnShutdown(listening.Done)
		group.Go(func() error {
			serve := server.Serve
			if d.secure {
				serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
			}
			if err := serve(d); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serving Ingresses at %s: %w", d.Addr(), err)
			}
			return ctx.Err()
		})
		group.Go(func() error {
			<-ctx.Done()
			draining, end := context.WithTimeout(context.WithoutCancel(ctx), drainWithin)
			defer end()
			return errors.Join(ctx.Err(), server.Shutdown(draining))
		})
	}
	s.serving.Store(&doors)
	if s.predecessor != nil {
		_ = s.predecessor.Close()
	}
	go func() {
		listening.Wait()
		close(s.silent)
	}()
	return group.Wait()
}

// open listens at all addresses, or at none.
func (s *Server) open(ctx context.Context) (doors []door, err error) {
	for _, address := range s.addresses.list() {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			for _, d := range doors {
				_ = d.Close()
			}
			return nil, fmt.Errorf("listening at %s for Ingresses: %w", address, err)
		}
		doors = append(doors, newDoor(listener, address == s.addresses.HTTPS))
	}
	return doors, nil
}

func (s *Server) httpServer() *http.Server {
	return &http.Server{
		Handler: s, ReadHeaderTimeout: headerWithin, IdleTimeout: clientIdle,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // what clients do wrong
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := s.table.Load().certificate(hello.ServerName); c != nil {
				return c, nil
			}
			return &s.fallback, nil
		}},
	}
}

// ServeHTTP serves one request by the table of the moment.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.retiring.Load() && r.Header.Get("Upgrade") == "" {
		w.Header().Set("Connection", "close") // the next request goes to the process that is there now; HTTP/2 is told likewise
	}
	to := s.table.Load().match(r.Host, r.URL.Path)
	if to == nil {
		page(w, r, http.StatusNotFound, "no Ingress has a rule for this")
		return
	}
	if to.redirect && r.TLS == nil && s.addresses.HTTPS != "" {
		http.Redirect(w, r, "https://"+s.securePort(hostOf(r.Host))+r.URL.RequestURI(), http.StatusPermanentRedirect)
		return
	}
	e := to.backend.now.Load()
	if len(e.addresses) == 0 {
		page(w, r, http.StatusServiceUnavailable, e.why)
		return
	}
	s.forwarder.forward(w, r, to.backend)
}

// securePort is a host with the port of HTTPS, if that isn't the usual one.
func (s *Server) securePort(host string) string {
	_, port, err := net.SplitHostPort(s.addresses.HTTPS)
	if err == nil && port != "443" && port != "https" {
		return net.JoinHostPort(host, port)
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// page answers by a page of the server's own, or a line for clients that don't ask for one.
func page(w http.ResponseWriter, r *http.Request, status int, why string) {
	title := fmt.Sprintf("%d %s", status, http.StatusText(status))
	w.Header().Set("Cache-Control", "no-store")
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Error(w, strings.TrimSuffix(title+": "+why, ": "), status)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!doctype html><title>%s</title><h1>%s</h1><p>%s</p>\n", title, title, html.EscapeString(why))
}
