package ingress

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/wakehq/wake/events/nodewire"
)

// object words an object for a node.
func object(t testing.TB, o interface {
	metav1.Object
	Marshal() ([]byte, error)
}) nodewire.Object {
	t.Helper()
	data, err := o.Marshal()
	require.NoError(t, err)
	resource := map[string]nodewire.Resource{"*v1.Ingress": nodewire.Ingresses, "*v1.Service": nodewire.Services, "*v1.EndpointSlice": nodewire.EndpointSlices,
		"*v1.Secret": nodewire.Secrets}[fmt.Sprintf("%T", o)]
	return nodewire.Object{Resource: resource, Namespace: o.GetNamespace(), Name: o.GetName(), Data: data}
}

func gone(o nodewire.Object) nodewire.Object {
	o.Data, o.Deleted = nil, true
	return o
}

// ingress makes one of a spec in YAML; its age orders it among others.
func ingress(t testing.TB, name, spec string, age ...time.Duration) *networkingv1.Ingress {
	t.Helper()
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	require.NoError(t, yaml.UnmarshalStrict([]byte(spec), &i.Spec))
	for _, a := range age {
		i.CreationTimestamp = metav1.NewTime(time.Unix(1e9, 0).Add(-a))
	}
	return i
}

// service makes one with the port 80 called web.
func service(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "web", Port: 80}}}}
}

// slice makes an endpoint of a Service, under its own name, so that it can have a port of its own.
func slice(service, name, address string, change ...func(*discoveryv1.Endpoint)) *discoveryv1.EndpointSlice {
	host, text, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(text)
	port, portName := int32(number), "web"
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &portName, Port: &port}}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{host}}},
	}
	for _, c := range change {
		c(&s.Endpoints[0])
	}
	return s
}

func unready(serving bool) func(*discoveryv1.Endpoint) {
	return func(e *discoveryv1.Endpoint) {
		no, yes := false, true
		e.Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &serving, Terminating: &yes}
	}
}

// authority signs certificates.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	a := &authority{t: t, key: key, pool: x509.NewCertPool()}
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.pool.AddCert(a.cert)
	return a
}

// secret makes a Secret with a certificate for names.
func (a *authority) secret(name string, names ...string) *corev1.Secret {
	a.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour), DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.key.PublicKey, a.key)
	require.NoError(a.t, err)
	key, err := x509.MarshalECPrivateKey(a.key)
	require.NoError(a.t, err)
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key}),
	}}
}

// world is a server that listens, and its clients.
type world struct {
	t         testing.TB
	server    *Server
	addresses Addresses
	authority *authority
	end       func()
}

// freeAddress is one of this process: whoever takes ports of 127.0.0.1 can't take this before it is used.
func freeAddress(t testing.TB) string {
	t.Helper()
	pid := os.Getpid()
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 64+pid>>16&63, pid>>8&255, 1+pid&127))
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().String()
}

// newWorld starts a server that knows what objects say.
func newWorld(t testing.TB, objects ...nodewire.Object) *world {
	t.Helper()
	w := &world{t: t, addresses: Addresses{HTTP: freeAddress(t), HTTPS: freeAddress(t)}, authority: newAuthority(t)}
	var err error
	w.server, err = NewServer(w.addresses, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.server.Run(ctx) }()
	w.end = func() { cancel(); require.ErrorIs(t, <-ended, context.Canceled) }
	t.Cleanup(func() { w.end() })
	require.NoError(t, w.server.Apply(Change{Full: true, Objects: objects}))
	w.await()
	return w
}

// patience bounds every wait for what happens sooner or later: the machine may be busy with others.
const patience = time.Minute

// await waits until both addresses take connections.
func (w *world) await() {
	w.t.Helper()
	for _, address := range []string{w.addresses.HTTP, w.addresses.HTTPS} {
		require.Eventually(w.t, func() bool {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				err = conn.Close()
			}
			return err == nil
		}, patience, time.Millisecond)
	}
}

func (w *world) apply(objects ...nodewire.Object) {
	w.t.Helper()
	require.NoError(w.t, w.server.Apply(Change{Objects: objects}))
}

// client reaches the server by whatever host a URL names.
func (w *world) client(http2 bool) *http.Client {
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.authority.pool}, ForceAttemptHTTP2: http2,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			to := w.addresses.HTTP
			if _, port, _ := net.SplitHostPort(address); port == "443" {
				to = w.addresses.HTTPS
			}
			return (&net.Dialer{}).DialContext(ctx, network, to)
		}}
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get asks, and returns the status and what was answered.
func get(t testing.TB, c *http.Client, url string) (int, string) {
	t.Helper()
	status, body, err := tryGet(c, url)
	require.NoError(t, err)
	return status, body
}

func tryGet(c *http.Client, url string) (int, string, error) {
	response, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, strings.TrimSpace(string(body)), err
}

// says is a backend that answers by its name, and its address.
func says(t testing.TB, name string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

const toWeb = "backend: {service: {name: web, port: {number: 80}}}"

type nodeObject = nodewire.Object

// objects words several objects for a node.
func objects(t testing.TB, all ...interface {
	metav1.Object
	Marshal() ([]byte, error)
}) (out []nodeObject) {
	t.Helper()
	for _, o := range all {
		out = append(out, object(t, o))
	}
	return out
}
