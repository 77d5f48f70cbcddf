package ingress

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func toService(name string) string {
	return "rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: " + name + ", port: {name: web}}}}]}}]"
}

func TestAnswers(t *testing.T) {
	w := newWorld(t)
	c := w.client(false)
	status, body := get(t, c, "http://a.example.com/")
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, body, "no Ingress has a rule")
	w.apply(objects(t, ingress(t, "i", toService("web")))...)
	status, body = get(t, c, "http://a.example.com/")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "no service default/web")
	w.apply(objects(t, service("web"))...)
	status, body = get(t, c, "http://a.example.com/")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "no endpoint that is ready")

	ready, ending, over := says(t, "ready"), says(t, "ending"), says(t, "over")
	w.apply(objects(t, slice("web", "s1", ending, unready(true)), slice("web", "s2", over, unready(false)))...)
	status, body = get(t, c, "http://a.example.com/")
	require.Equal(t, []any{200, "ending"}, []any{status, body}, "who ends is asked where nobody else is")
	w.apply(objects(t, slice("web", "s3", ready))...)
	for range 10 {
		_, body = get(t, c, "http://a.example.com/")
		require.Equal(t, "ready", body)
	}
	w.apply(gone(objects(t, slice("web", "s3", ready))[0]), gone(objects(t, slice("web", "s1", ending))[0]))
	status, _ = get(t, c, "http://a.example.com/")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.NoError(t, w.server.Apply(Change{Full: true, Objects: objects(t, service("web"), slice("web", "s3", ready))}))
	status, _ = get(t, c, "http://a.example.com/")
	require.Equal(t, http.StatusNotFound, status, "what a full change doesn't name is gone")
}

// TestWhatBackendsHear holds the headers of a request that a client made up partly.
func TestWhatBackendsHear(t *testing.T) {
	heard := make(chan *http.Request, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r }))
	defer backend.Close()
	w := newWorld(t, objects(t, ingress(t, "i", toService("web")), service("web"), slice("web", "s", backend.Listener.Addr().String()))...)
	r, err := http.NewRequest(http.MethodGet, "http://a.example.com/x%2Fy?q=1;2", nil)
	require.NoError(t, err)
	r.Header = http.Header{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Host": {"evil"}, "Forwarded": {"for=evil"}, "X-Real-Ip": {"evil"}, "Connection": {"X-Hop"}, "X-Hop": {"1"}, "X-Own": {"2"}}
	response, err := w.client(false).Do(r)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	got := <-heard
	require.Equal(t, "a.example.com", got.Host)
	require.Equal(t, "/x%2Fy?q=1;2", got.RequestURI)
	_, port, _ := net.SplitHostPort(w.addresses.HTTP)
	for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "a.example.com", "X-Forwarded-Proto": "http", "X-Forwarded-Port": port,
		"X-Real-Ip": "127.0.0.1", "Forwarded": "", "X-Hop": "", "X-Own": "2"} {
		require.Equal(t, want, got.Header.Get(name), name)
	}
}

// TestSecure holds certificates, HTTP/2, and who is redirected.
func TestSecure(t *testing.T) {
	w := newWorld(t, objects(t, service("web"), slice("web", "s", says(t, "web")))...)
	host := func(name string) string {
		return "rules: [{host: " + name + ", http: {paths: [{path: /, pathType: Prefix, " + toWeb + "}]}}]\n"
	}
	both := ingress(t, "both", host("both.example.com")+"tls: [{hosts: [both.example.com], secretName: both}]")
	both.Annotations = map[string]string{"wake.dev/ssl-redirect": "false"}
	w.apply(objects(t, w.authority.secret("one", "one.example.com"), w.authority.secret("both", "both.example.com"), both,
		ingress(t, "one", host("one.example.com")+"tls: [{hosts: [one.example.com], secretName: one}]"),
		ingress(t, "late", host("late.example.com")+"tls: [{hosts: [late.example.com], secretName: late}]"))...)
	for _, http2 := range []bool{false, true} {
		c := w.client(http2)
		response, err := c.Get("https://one.example.com/")
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http2, response.ProtoMajor == 2, response.Proto)
	}
	c := w.client(true)
	response, err := c.Get("http://one.example.com/a?b=c")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	_, port, _ := net.SplitHostPort(w.addresses.HTTPS)
	require.Equal(t, http.StatusPermanentRedirect, response.StatusCode)
	require.Equal(t, "https://one.example.com:"+port+"/a?b=c", response.Header.Get("Location"))
	status, _ := get(t, c, "http://both.example.com/")
	require.Equal(t, 200, status)

	_, _, err = tryGet(c, "https://late.example.com/")
	require.ErrorContains(t, err, "ingress.invalid", "without its Secret the default certificate is shown")
	status, _ = get(t, c, "http://late.example.com/")
	require.Equal(t, 200, status, "nobody is sent to where no certificate is")
	w.apply(objects(t, w.authority.secret("late", "late.example.com"))...)
	status, _ = get(t, c, "https://late.example.com/")
	require.Equal(t, 200, status)
}

// TestEndpointsThatFail has endpoints refuse connections, and break them.
func TestEndpointsThatFail(t *testing.T) {
	well := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}))
	defer well.Close()
	refused := freeAddress(t)
	w := newWorld(t, objects(t, ingress(t, "i", toService("web")), service("web"), slice("web", "s1", well.Listener.Addr().String()), slice("web", "s2", refused))...)
	post := func(body string) (int, string) {
		response, err := w.client(false).Post("http://a.example.com/", "text/plain", strings.NewReader(body))
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, string(text)
	}
	for i := range 8 {
		body := strings.Repeat("x", i*10000)
		status, echoed := post(body)
		require.Equal(t, []any{200, body}, []any{status, echoed}, "who refused the connection has heard nothing")
	}

	breaks, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = breaks.Close() }()
	var broken atomic.Int64
	go func() {
		for {
			conn, err := breaks.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(conn).ReadString('\n')
			broken.Add(1)
			_ = conn.Close()
		}
	}()
	w.apply(objects(t, slice("web", "s2", breaks.Addr().String()))...)
	for range 8 {
		status, _ := get(t, w.client(false), "http://a.example.com/")
		require.Equal(t, 200, status, "what may be repeated is")
	}
	require.NotZero(t, broken.Load())
	before, failed := broken.Load(), 0
	for range 8 {
		if status, _ := post("once"); status == http.StatusBadGateway {
			failed++
		}
	}
	require.EqualValues(t, failed, broken.Load()-before, "what may not be repeated is asked once")
	require.NotZero(t, failed)
}

// TestUpgradesPass opens a WebSocket-like connection, and keeps it through a change of everything.
func TestUpgradesPass(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		_, _ = io.Copy(conn, buffered)
	}))
	defer backend.Close()
	all := objects(t, ingress(t, "i", toService("web")), service("web"), slice("web", "s", backend.Listener.Addr().String()))
	w := newWorld(t, all...)
	conn, err := net.Dial("tcp", w.addresses.HTTP)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	require.NoError(t, err)
	answers := bufio.NewReader(conn)
	response, err := http.ReadResponse(answers, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	require.Equal(t, "websocket", response.Header.Get("Upgrade"))
	echo := func(line string) {
		_, err := io.WriteString(conn, line+"\n")
		require.NoError(t, err)
		got, err := answers.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, line+"\n", got)
	}
	echo("one")
	require.NoError(t, w.server.Apply(Change{Full: true}))
	echo("two")
}

// TestBackendsProtocols asks backends that speak HTTPS, and HTTP/2 without TLS.
func TestBackendsProtocols(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Proto, " ", r.TLS != nil)
	})
	secure := httptest.NewTLSServer(handler)
	defer secure.Close()
	clear := httptest.NewUnstartedServer(handler)
	clear.Config.Protocols = &http.Protocols{}
	clear.Config.Protocols.SetUnencryptedHTTP2(true)
	clear.Start()
	defer clear.Close()
	app := func(name, protocol string) *corev1.Service {
		s := service(name)
		s.Spec.Ports[0].AppProtocol = &protocol
		return s
	}
	annotated := ingress(t, "annotated", "rules: [{host: c, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: c, port: {number: 80}}}}]}}]")
	annotated.Annotations = map[string]string{"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}
	w := newWorld(t, objects(t, annotated, service("c"), slice("c", "c", clear.Listener.Addr().String()),
		app("a", "https"), slice("a", "a", secure.Listener.Addr().String()), app("b", "kubernetes.io/h2c"), slice("b", "b", clear.Listener.Addr().String()),
		ingress(t, "i", "rules: [{host: a, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}},"+
			"{host: b, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: b, port: {number: 80}}}}]}}]"))...)
	for host, want := range map[string]string{"a": "HTTP/1.1 true", "b": "HTTP/2.0 false", "c": "HTTP/2.0 false"} {
		_, body := get(t, w.client(false), "http://"+host+"/")
		require.Equal(t, want, body, host)
	}
}

// TestReloadUnderLoad asks without a pause, in every way, while endpoints, Ingresses and certificates change, and holds that no request fails.
func TestReloadUnderLoad(t *testing.T) {
	w := newWorld(t, objects(t, service("web"), slice("web", "s-first", says(t, "first")))...)
	w.apply(objects(t, w.authority.secret("tls", "a.example.com"), ingress(t, "i", "tls: [{hosts: [a.example.com], secretName: tls}]\n"+
		"rules: [{host: a.example.com, http: {paths: [{path: /, pathType: Prefix, "+toWeb+"}]}}, {host: b.example.com, http: {paths: [{path: /, pathType: Prefix, "+toWeb+"}]}}]"))...)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var asked atomic.Int64
	failures := make(chan error, 1000)
	ask := func(url string, http2, keep bool) {
		clients.Go(func() {
			c := w.client(http2)
			c.Transport.(*http.Transport).DisableKeepAlives = !keep
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status, body, err := tryGet(c, url); err != nil || status != 200 {
					failures <- fmt.Errorf("%s after %d requests: %d %s %w", url, asked.Load(), status, body, err)
				}
				asked.Add(1)
			}
		})
	}
	for _, keep := range []bool{true, false} {
		ask("http://b.example.com/", false, keep)
		ask("https://a.example.com/", false, keep)
		ask("https://a.example.com/", true, keep)
	}
	var before *httptest.Server
	for i := range 100 {
		served, enough := atomic.Int64{}, make(chan struct{})
		next := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "next")
			if served.Add(1) == 10 {
				close(enough)
			}
		}))
		w.apply(objects(t, slice("web", "s-moving", next.Listener.Addr().String()))...)
		if i == 0 {
			w.apply(gone(objects(t, slice("web", "s-first", ""))[0]))
		}
		w.apply(objects(t, w.authority.secret("tls", "a.example.com"),
			ingress(t, fmt.Sprintf("other-%d", i%5), fmt.Sprintf("rules: [{host: h%d.example.com, http: {paths: [{path: /, pathType: Prefix, %s}]}}]", i, toWeb)))...)
		if before != nil {
			before.Close() // it lets requests under way come to their end, as a pod does
		}
		before = next
		<-enough // a pod lives longer than that
	}
	close(stop)
	clients.Wait()
	before.Close()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	t.Logf("%d requests", asked.Load())
	require.Greater(t, asked.Load(), int64(500))
}
