// Package healthcheck answers the health checks of load balancers outside the cluster (healthCheckNodePort), as kube-proxy does.
//
//   - A port answers 200 while the node has ready endpoints of the service and the proxy serves them, and else 503; the body is kube-proxy's.
//   - Ports that nobody asks for any more are closed. One that is taken by something else is tried again, and told in the log once.
//   - All ports are closed when the context ends.
package healthcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/wakehq/wake/agent/proxy"
)

const (
	retryEvery = time.Second
	readWithin = 5 * time.Second
)

// Server answers on the ports that it is told of. It is safe for concurrent use.
type Server struct {
	ctx context.Context
	log *slog.Logger

	mu      sync.Mutex
	wanted  map[uint16]proxy.HealthCheck
	healthy bool
	open    map[uint16]*http.Server
	told    map[uint16]bool // that it can't be opened
	retry   *time.Timer
}

var _ proxy.HealthReporter = (*Server)(nil)

// New makes a server that answers until ctx ends.
func New(ctx context.Context, log *slog.Logger) *Server {
	s := &Server{ctx: ctx, log: log, open: map[uint16]*http.Server{}, told: map[uint16]bool{}}
	context.AfterFunc(ctx, func() { s.Report(nil, false) })
	return s
}

// Report implements proxy.HealthReporter.
func (s *Server) Report(checks []proxy.HealthCheck, healthy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted, s.healthy = map[uint16]proxy.HealthCheck{}, healthy
	if s.ctx.Err() == nil {
		for _, c := range checks {
			s.wanted[c.Port] = c
		}
	}
	s.settle()
}

// settle opens and closes ports; s.mu is held.
func (s *Server) settle() {
	for port, server := range s.open {
		if _, wanted := s.wanted[port]; !wanted {
			_ = server.Close()
			delete(s.open, port)
		}
	}
	missing := false
	for port, check := range s.wanted {
		if s.open[port] != nil {
			continue
		}
		err := s.listen(port)
		if err == nil {
			delete(s.told, port)
			continue
		}
		missing = true
		if !s.told[port] {
			s.told[port] = true
			s.log.Error("a service's health checks can't be answered; trying again", "service", check.Service.String(), "port", port, "error", err)
		}
	}
	if s.retry != nil {
		s.retry.Stop()
		s.retry = nil
	}
	if missing {
		s.retry = time.AfterFunc(retryEvery, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.settle()
		})
	}
}

func (s *Server) listen(port uint16) error {
	l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(int(port))))
	if err != nil {
		return fmt.Errorf("listening for health checks: %w", err)
	}
	server := &http.Server{ReadHeaderTimeout: readWithin, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { s.answer(w, port) })}
	s.open[port] = server
	go func() { _ = server.Serve(l) }() // it ends when it is closed
	return nil
}

// body is what kube-proxy answers.
type body struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints      int  `json:"localEndpoints"`
	ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
}

func (s *Server) answer(w http.ResponseWriter, port uint16) {
	s.mu.Lock()
	check, healthy := s.wanted[port], s.healthy
	s.mu.Unlock()
	answer := body{LocalEndpoints: check.Local, ServiceProxyHealthy: healthy}
	answer.Service.Namespace, answer.Service.Name = check.Service.Namespace, check.Service.Name
	text, err := json.MarshalIndent(answer, "", "\t")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(check.Local))
	if check.Local == 0 || !healthy {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(text) // who asked may have left
}
