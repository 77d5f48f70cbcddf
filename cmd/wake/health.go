package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/wakehq/wake/events/broker"
)

// health tells over HTTP how a process is: /healthz that it lives, /readyz whether it can do its work.
type health struct {
	listener net.Listener // nil: it tells nobody
	link     broker.Link
	plane    atomic.Pointer[plane] // nil until the ledger's present is loaded
}

func openHealth(address string, link broker.Link) (*health, error) {
	h := &health{link: link}
	if address == "" {
		return h, nil
	}
	var err error
	if h.listener, err = net.Listen("tcp", address); err != nil {
		return nil, fmt.Errorf("--health-listen %s: %w", address, err)
	}
	return h, nil
}

func (h *health) ready(p *plane) { h.plane.Store(p) }

// state returns why the process can't do its work; nil if it can.
func (h *health) state() error {
	p := h.plane.Load()
	if p == nil {
		return errors.Join(errors.New("the ledger's present is not loaded yet"), h.link.Health())
	}
	return errors.Join(h.link.Health(), p.view.Status().Following)
}

func (h *health) run(ctx context.Context) error {
	if h.listener == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.state(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		if p := h.plane.Load(); p != nil {
			p.metrics.handler().ServeHTTP(w, r)
			return
		}
		http.Error(w, "the ledger's present is not loaded yet", http.StatusServiceUnavailable)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(h.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("telling how this process is at %s: %w", h.listener.Addr(), err)
	}
	return ctx.Err()
}
