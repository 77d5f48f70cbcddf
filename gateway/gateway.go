package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/events/timetravel"
	"github.com/wakehq/wake/gateway/joining"
	"github.com/wakehq/wake/gateway/ledgerapi"
	"github.com/wakehq/wake/gateway/pki"
	"github.com/wakehq/wake/schemas"
)

const (
	// headerTimeout is how long a client may take to send a request's header.
	headerTimeout = 10 * time.Second
	// maxStreams is how many requests one connection carries at once; a client's watches share it.
	maxStreams = 1000
	// drainTimeout is how long requests in progress get when the gateway stops.
	drainTimeout = 3 * time.Second
)

// LogSource opens containers' logs on the nodes they run on.
type LogSource interface {
	Logs(ctx context.Context, node string, request nodewire.LogRequest) (io.ReadCloser, error)
}

// Config is what a gateway works with.
type Config struct {
	View      *events.View
	Ledger    events.Ledger
	Registry  *schemas.Registry
	Authority *pki.Authority
	Hosts     []string  // names and addresses that the server's certificate is for
	Logs      LogSource // nil: logs are refused
	// ServiceCIDRs are where the addresses of services come from, at most one of each family, the preferred family first; a requested address must
	// lie in one. None allows any IPv4 address.
	ServiceCIDRs []netip.Prefix
	Version      string              // of wake, as in "0.1.0"
	Health       func() error        // nil, or why the ledger refuses appends; may be nil itself
	Metrics      http.Handler        // serves /metrics; nil: nothing does
	Recorder     *ledgerapi.Recorder // nil: nothing is exported
	Witness      ledgerapi.Witness   // nil: nothing is proven
	Archive      ledgerapi.Archive   // nil: there is none
	Joining      *Joining            // nil: no machine can join
	Log          *slog.Logger
	// Explain tells, as JSON, what a pod that waits for a node waits for; nil if it doesn't wait. Nil: nobody can tell.
	Explain func(state *events.State, pod events.Ref) any
}

// Gateway serves the API.
type Gateway struct {
	config   Config
	past     *timetravel.Past
	pinned   *pinnedStates
	encoded  *encodedObjects
	echo     *echo.Echo
	stopping chan struct{} // closed when watches should end
}

// New returns a gateway that works with config.
func New(config Config) *Gateway {
	g := &Gateway{
		config:   config,
		past:     timetravel.New(config.Ledger, config.Registry),
		pinned:   &pinnedStates{},
		encoded:  newEncodedObjects(),
		echo:     echo.New(),
		stopping: make(chan struct{}),
	}
	g.routes()
	return g
}

func (g *Gateway) routes() {
	e := g.echo
	e.HTTPErrorHandler = g.fail
	e.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{LogErrorFunc: func(_ echo.Context, err error, stack []byte) error {
		g.config.Log.Error("a request handler panicked", "error", err, "stack", string(stack))
		return err
	}}))
	e.Pre(cutMoment)
	e.Use(authenticate, g.guardPast)
	for _, path := range []string{"/healthz", "/livez", "/readyz"} {
		e.GET(path, g.health)
	}
	e.GET("/version", g.version)
	if g.config.Metrics != nil {
		e.GET("/metrics", echo.WrapHandler(g.config.Metrics))
	}
	g.discoveryRoutes(e)
	api := ledgerapi.API{Ledger: g.config.Ledger, Registry: g.config.Registry, Past: g.past, View: g.config.View, Health: g.config.Health,
		Recorder: g.config.Recorder, Witness: g.config.Witness, Archive: g.config.Archive, Explain: g.config.Explain,
		Actor: func(ctx context.Context) string { return userFrom(ctx).actor() }}
	api.Register(e.Group(ledgerapi.Prefix))
	e.POST(restorePath, g.restore)
	if g.config.Joining != nil {
		e.POST(joining.JoinPath, g.join)
		e.POST(joining.RenewPath, g.renew)
	}
	e.Any("/api/v1/*", g.resource)
	e.Any("/apis/:group/:version/*", g.resource)
}

// Handler returns the API as a handler. Requests without a verified client certificate are refused.
func (g *Gateway) Handler() http.Handler { return g.echo }

// Serve serves the API over TLS on listener until ctx ends, and then lets the requests in progress finish, briefly. Watches end at once.
func (g *Gateway) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           g.echo,
		TLSConfig:         g.config.Authority.Server(g.config.Hosts...),
		ReadHeaderTimeout: headerTimeout,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:          slog.NewLogLogger(g.config.Log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		close(g.stopping)
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		stopped <- errors.Join(server.Shutdown(drain), server.Close())
	})
	err := server.ServeTLS(listener, "", "")
	if stop() {
		return fmt.Errorf("serving the API on %s: %w", listener.Addr(), err)
	}
	if err := <-stopped; err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stopping the API: %w", err)
	}
	return nil
}
