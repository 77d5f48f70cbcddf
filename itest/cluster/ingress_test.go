package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// shops are two applications behind two hosts, one of them with a certificate, and an Ingress of another's class.
const shops = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: pears}
spec:
  selector: {matchLabels: {app: pears}}
  template:
    metadata: {labels: {app: pears}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: "wake.dev/demo:1", env: [{name: GREETING, value: pears}], ports: [{name: http, containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: pears}
spec: {selector: {app: pears}, ports: [{name: web, port: 80, targetPort: http}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shops}
spec:
  tls: [{hosts: [secure.example.com], secretName: secure}]
  rules:
    - host: secure.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
    - host: "*.example.org"
      http: {paths: [{path: /, pathType: Exact, backend: {service: {name: pears, port: {name: web}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: another}
spec: {controller: example.com/another}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: theirs}
spec:
  ingressClassName: another
  rules: [{host: theirs.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: pears, port: {number: 80}}}}]}}]
`

// edge is a cluster whose node serves Ingresses, and clients outside of it.
type edge struct {
	*cluster
	http, https string
	trusted     *x509.CertPool
}

// newEdge starts one; web (see deployWeb) runs on it, and the shops.
func newEdge(t *testing.T) *edge {
	demo(t)
	e := &edge{http: freeAddress(t), https: freeAddress(t), trusted: x509.NewCertPool()}
	e.cluster = start(t, "--ingress", "--ingress-http", e.http, "--ingress-https", e.https)
	e.certificate("secure", "secure.example.com")
	e.apply(web)
	e.apply(shops)
	e.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	e.kubectl("rollout", "status", "deployment/pears", "--timeout=60s")
	return e
}

// certificate has kubectl make a Secret of a certificate that signs itself.
func (e *edge) certificate(secret, host string) {
	e.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(e.t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{host}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(e.t, err)
	own, err := x509.MarshalECPrivateKey(key)
	require.NoError(e.t, err)
	files := map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "EC PRIVATE KEY", Bytes: own}}
	args := []string{"create", "secret", "tls", secret}
	for name, block := range files {
		file := filepath.Join(e.dir, secret+"."+name)
		require.NoError(e.t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
		args = append(args, "--"+name, file)
	}
	e.kubectl(args...)
	cert, err := x509.ParseCertificate(der)
	require.NoError(e.t, err)
	e.trusted.AddCert(cert)
}

// client reaches the node whatever host a URL names. It dials anew for every request unless it is to keep its connections.
func (e *edge) client(keep bool) *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: !keep, ForceAttemptHTTP2: keep, TLSClientConfig: &tls.Config{RootCAs: e.trusted},
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if strings.HasSuffix(address, ":443") {
					return dialer.DialContext(ctx, network, e.https)
				}
				return dialer.DialContext(ctx, network, e.http)
			}}}
}

// expect waits until a URL is answered by what begins so.
func (e *edge) expect(url, begins string) {
	e.t.Helper()
	e.eventually(url+" answers "+begins, func() error {
		body, err := get(e.client(false), url)
		if err == nil && !strings.HasPrefix(body, begins) {
			err = errors.New(body)
		}
		return err
	})
}

// refuses waits until a URL is answered by a status.
func (e *edge) refuses(url string, status int) {
	e.t.Helper()
	e.eventually(fmt.Sprintf("%s answers %d", url, status), func() error {
		response, err := e.client(false).Get(url)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != status {
			return errors.New(response.Status)
		}
		return nil
	})
}

// load asks urls without a pause, over connections that are kept and over new ones, and counts, until stop is called: it returns how many requests there were and which
// failed.
func (e *edge) load(urls ...string) (asked *atomic.Int64, stop func() (int64, []error)) {
	var ending atomic.Bool
	asked = new(atomic.Int64)
	type client struct{ failed []error }
	e.t.Cleanup(func() { ending.Store(true) })
	done := make(chan client, 2*len(urls))
	for _, url := range urls {
		for _, keep := range []bool{true, false} {
			go func() {
				var c client
				for h := e.client(keep); !ending.Load(); asked.Add(1) {
					if _, err := get(h, url); err != nil {
						c.failed = append(c.failed, fmt.Errorf("%s (kept: %v) at %s: %w", url, keep, time.Now().Format("15:04:05.000"), err))
					}
				}
				done <- c
			}()
		}
	}
	return asked, func() (int64, []error) {
		ending.Store(true)
		var failed []error
		for range 2 * len(urls) {
			failed = append(failed, (<-done).failed...)
		}
		return asked.Load(), failed
	}
}

// TestIngress reaches two hosts from outside, with and without TLS, through a rollout, through the death of Wake, and through that of what serves.
func TestIngress(t *testing.T) {
	e := newEdge(t)
	e.expect("http://any.example.org/", "pears from pears-")
	e.expect("https://secure.example.com/", "one from web-")
	e.refuses("http://secure.example.com/", http.StatusPermanentRedirect)
	e.refuses("http://any.example.org/deeper", http.StatusNotFound)
	e.refuses("http://example.org/", http.StatusNotFound)
	response, err := e.client(true).Get("https://secure.example.com/")
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, errors.Join(err, response.Body.Close()))
	require.Equal(t, "HTTP/2.0", response.Proto)

	address := strings.TrimSpace(e.kubectl("get", "node", "n1", "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`))
	status := []string{"get", "ingress", "shops", "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"}
	e.eventually("the status says where it is served", func() error {
		if out, err := e.tryKubectl(status...); err != nil || out != address {
			return fmt.Errorf("%q, %w", out, err)
		}
		return nil
	})
	contains(t, e.kubectl("get", "ingress", "shops"), "wake", "secure.example.com,*.example.org", strings.ReplaceAll(address, " ", ","), "80, 443")
	e.refuses("http://theirs.example.com/", http.StatusNotFound)
	require.Empty(t, e.kubectl("get", "ingress", "theirs", "-o", "jsonpath={.status.loadBalancer.ingress}"), "another controller's Ingress is left alone")
	contains(t, e.kubectl("get", "ingressclass", "wake", "-o", "yaml"), `is-default-class: "true"`, "wake.dev/ingress-controller")

	t.Run("rollout", func(t *testing.T) { e.in(t).rollout() })
	t.Run("deaths", func(t *testing.T) { e.in(t).deaths() })
	t.Run("changes", func(t *testing.T) { e.in(t).changes() })
}

// in is the same cluster for another test.
func (e *edge) in(t *testing.T) *edge {
	outer := e.t
	e.t = t
	t.Cleanup(func() { e.t = outer })
	return e
}

func (e *edge) none(stop func() (int64, []error)) {
	e.t.Helper()
	asked, failed := stop()
	e.t.Logf("%d requests, %d failed", asked, len(failed))
	require.Empty(e.t, failed[:min(len(failed), 5)])
	require.Greater(e.t, asked, int64(100))
}

// rollout replaces the pods behind a host under load, twice.
func (e *edge) rollout() {
	_, stop := e.load("https://secure.example.com/", "http://any.example.org/")
	for _, greeting := range []string{"two", "three"} {
		e.kubectl("set", "env", "deployment/web", "GREETING="+greeting)
		e.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
		e.expect("https://secure.example.com/", greeting+" from web-")
	}
	e.kubectl("annotate", "ingress", "shops", "touched=yes")
	e.none(stop)
}

// deaths kills Wake under load, and starts it again, then as another version of the program; at last it kills what serves.
func (e *edge) deaths() {
	asked, stop := e.load("https://secure.example.com/", "http://any.example.org/")
	process := e.served()
	e.kill()
	until := asked.Load() + 500
	e.eventually("500 requests were made without Wake", func() error {
		if now := asked.Load(); now < until {
			return fmt.Errorf("%d are missing", until-now)
		}
		return nil
	})
	e.begin()
	require.Equal(e.t, process.Pid, e.served().Pid, "what serves goes on")
	e.kill()
	now := time.Now()
	require.NoError(e.t, os.Chtimes(program(e.t, "wake"), now, now)) // as an update does
	e.begin()
	e.eventually("what serves is of the new version", func() error {
		pid, err := e.tryServed()
		if err == nil && pid == process.Pid {
			err = errors.New("not yet")
		}
		return err
	})
	e.kubectl("set", "env", "deployment/web", "GREETING=four")
	e.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	e.expect("https://secure.example.com/", "four from web-")
	e.none(stop)

	process = e.served()
	require.NoError(e.t, process.Kill())
	e.expect("https://secure.example.com/", "four from web-")
	require.NotEqual(e.t, process.Pid, e.served().Pid)
}

// tryServed returns the ID of the process that serves; while another takes over there may be none.
func (e *edge) tryServed() (pid int, err error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(e.dir, "ingress.sock"))
	}}}
	said, err := get(client, "http://ingress/status")
	if err == nil {
		_, err = fmt.Sscanf(said, `{"pid":%d`, &pid)
	}
	return pid, err
}

// served is the process that serves.
func (e *edge) served() *os.Process {
	e.t.Helper()
	pid, err := e.tryServed()
	require.NoError(e.t, err)
	process, err := os.FindProcess(pid)
	require.NoError(e.t, err)
	return process
}

// changes takes things away.
func (e *edge) changes() {
	e.kubectl("scale", "deployment/pears", "--replicas=0")
	e.refuses("http://any.example.org/", http.StatusServiceUnavailable)
	e.kubectl("scale", "deployment/pears", "--replicas=1")
	e.expect("http://any.example.org/", "pears")
	e.kubectl("patch", "ingress", "shops", "--type=merge", "-p", `{"spec":{"ingressClassName":"another"}}`)
	e.refuses("http://any.example.org/", http.StatusNotFound)
	e.eventually("the status is withdrawn", func() error {
		if out, err := e.tryKubectl("get", "ingress", "shops", "-o", "jsonpath={.status.loadBalancer.ingress}"); err != nil || out != "" {
			return fmt.Errorf("%q, %w", out, err)
		}
		return nil
	})
	e.stop()
	e.wake("down", "--containers")
	_, err := get(e.client(false), "http://any.example.org/")
	require.ErrorContains(e.t, err, "refused", "nothing is left")
}
