package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	attempts    = 3                // endpoints that a request tries
	dialWithin  = 2 * time.Second  // which an endpoint has to take a connection
	coolDown    = 2 * time.Second  // how long one that didn't is asked last
	idleFor     = 60 * time.Second // an open connection to an endpoint is kept
	idlePerHost = 128              // connections kept
)

// forwarder sends requests to endpoints.
type forwarder struct {
	transports map[protocol]http.RoundTripper
	proxy      *httputil.ReverseProxy

	mu       sync.Mutex
	refusing map[string]time.Time // until when, by address
}

func newForwarder(log *slog.Logger) *forwarder {
	f := &forwarder{refusing: map[string]time.Time{}, transports: map[protocol]http.RoundTripper{}}
	for _, p := range []protocol{plain, encrypted, h2c} {
		t := &http.Transport{
			DialContext: (&net.Dialer{Timeout: dialWithin, KeepAlive: 30 * time.Second}).DialContext, DisableCompression: true,
			MaxIdleConns: 0, MaxIdleConnsPerHost: idlePerHost, IdleConnTimeout: idleFor, Protocols: &http.Protocols{},
			// Backends are reached by address, and their certificates are hardly ever for that. Who may be one is the Service's to say.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as said
		}
		t.Protocols.SetHTTP1(p != h2c)
		t.Protocols.SetUnencryptedHTTP2(p == h2c)
		t.Protocols.SetHTTP2(p == encrypted)
		f.transports[p] = t
	}
	f.proxy = &httputil.ReverseProxy{
		Rewrite: rewrite, Transport: f, ErrorHandler: fail, BufferPool: &buffers{},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return f
}

// rewrite words a request for a backend.
func rewrite(r *httputil.ProxyRequest) {
	r.Out.Host = r.In.Host
	r.Out.URL.RawQuery = r.In.URL.RawQuery // also where Go would read it otherwise: nothing here depends on it
	r.SetXForwarded()
	port := "80"
	if r.In.TLS != nil {
		port = "443"
	}
	if local, ok := r.In.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		port = strconv.Itoa(local.Port)
	}
	r.Out.Header.Set("X-Forwarded-Port", port)
	if client, _, err := net.SplitHostPort(r.In.RemoteAddr); err == nil {
		r.Out.Header.Set("X-Real-Ip", client)
	}
	if _, named := r.In.Header["User-Agent"]; !named {
		r.Out.Header.Set("User-Agent", "") // none, instead of Go's
	}
}

// targetKey is where a request's context has its backend.
type targetKey struct{}

// forward serves a request from one of the backend's endpoints.
func (f *forwarder) forward(w http.ResponseWriter, r *http.Request, b *backend) {
	f.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), targetKey{}, b)))
}

// errNoEndpoint says that there is nobody to ask, or nobody else.
var errNoEndpoint = errors.New("the backend has no further endpoint")

// RoundTrip implements http.RoundTripper: it asks one endpoint after the other, as far as that does no harm. Which there are is looked up each time, since
// one that refuses has often just been replaced.
func (f *forwarder) RoundTrip(r *http.Request) (*http.Response, error) {
	to := r.Context().Value(targetKey{}).(*backend)
	var body *heldBody
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
		body = &heldBody{Reader: r.Body}
	}
	var failed error
	tried := make([]string, 0, attempts)
	for len(tried) < attempts {
		e := to.now.Load()
		address := to.choose(e, tried, f.isRefusing)
		if address == "" {
			return nil, errors.Join(failed, errNoEndpoint)
		}
		tried = append(tried, address)
		out := *r
		at := *r.URL
		at.Host, at.Scheme = address, "http"
		if e.protocol == encrypted {
			at.Scheme = "https"
		}
		out.URL = &at
		if body != nil {
			out.Body, out.GetBody = io.NopCloser(body), body.again
		}
		response, err := f.transports[e.protocol].RoundTrip(&out)
		if err == nil {
			return response, nil
		}
		failed = errors.Join(failed, err)
		unheard := isDial(err)
		if unheard {
			f.refused(address)
		}
		if r.Context().Err() != nil || !unheard && !repeatable(r) {
			break
		}
	}
	return nil, failed
}

// heldBody is a request's body that can be sent on another connection as long as nothing of it was.
type heldBody struct {
	io.Reader
	touched atomic.Bool
}

func (b *heldBody) Read(p []byte) (int, error) {
	b.touched.Store(true)
	return b.Reader.Read(p)
}

func (b *heldBody) again() (io.ReadCloser, error) {
	if b.touched.Load() {
		return nil, errors.New("a part of the request's body was sent already")
	}
	return io.NopCloser(b), nil
}

// isDial says that a connection was never made, so that the request wasn't sent.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// repeatable says that a request may be sent twice.
func repeatable(r *http.Request) bool {
	return (r.Body == nil || r.Body == http.NoBody) && slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace}, r.Method) &&
		r.Header.Get("Upgrade") == ""
}

func (f *forwarder) isRefusing(address string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	until, known := f.refusing[address]
	if known && time.Now().After(until) {
		delete(f.refusing, address)
		return false
	}
	return known
}

func (f *forwarder) refused(address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for other, until := range f.refusing {
		if now.After(until) {
			delete(f.refusing, other)
		}
	}
	f.refusing[address] = now.Add(coolDown)
}

// fail answers a request that no endpoint did.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		panic(http.ErrAbortHandler) // nobody listens any more
	case errors.As(err, &timeout) && timeout.Timeout():
		page(w, r, http.StatusGatewayTimeout, "")
	default:
		page(w, r, http.StatusBadGateway, "")
	}
}

// buffers are those through which bodies are copied.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
