package gateway_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/gateway"
	"github.com/wakehq/wake/gateway/pki"
	"github.com/wakehq/wake/schemas"
)

// cluster is a gateway over a ledger in memory, without any service: nothing happens that a test doesn't do.
type cluster struct {
	ledger     events.Ledger
	view       *events.View
	kubeconfig string
	config     *rest.Config
	client     kubernetes.Interface
	dynamic    dynamic.Interface
	http       *http.Client
}

// logs is a LogSource that answers with what it was asked.
type logs struct{}

func (logs) Logs(_ context.Context, node string, request nodewire.LogRequest) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("log of " + request.Options.Container + " in " + request.Name + " on " + node + "\n")), nil
}

func newCluster(t testing.TB) *cluster { return newClusterOn(t, memory.New(memory.Faults{})) }

func newClusterOn(t testing.TB, ledger events.Ledger) *cluster {
	t.Helper()
	if test, ok := t.(*testing.T); ok {
		test.Parallel() // stopping a server takes a second in which nothing happens
	}
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	c := &cluster{ledger: ledger, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	ctx, cancel := context.WithCancel(context.Background())
	c.view, err = events.OpenView(ctx, c.ledger, registry)
	require.NoError(t, err)
	authority, err := pki.Open(t.TempDir())
	require.NoError(t, err)
	services := netip.MustParsePrefix("10.96.0.0/16")
	require.NoError(t, gateway.Bootstrap(ctx, c.ledger, c.view, gateway.BootstrapConfig{API: netip.MustParseAddrPort("192.0.2.1:6443"), ServiceCIDRs: []netip.Prefix{services}}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := gateway.New(gateway.Config{View: c.view, Ledger: c.ledger, Registry: registry, Authority: authority, Hosts: []string{"127.0.0.1"},
		Logs: logs{}, ServiceCIDRs: []netip.Prefix{services}, Version: "test", Log: slog.New(slog.DiscardHandler)})
	served := make(chan error, 1)
	go func() { served <- g.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
	})
	identity, err := authority.Client("ada", pki.Administrators)
	require.NoError(t, err)
	config := pki.Kubeconfig{Cluster: "test", Server: "https://" + listener.Addr().String(), Authority: authority.CertificatePEM(), Identity: identity}
	require.NoError(t, config.Write(c.kubeconfig))
	c.connect(t)
	return c
}

func (c *cluster) connect(t testing.TB) {
	t.Helper()
	var err error
	c.config, err = clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	require.NoError(t, err)
	c.config.QPS, c.config.Burst, c.config.UserAgent = 1e6, 1e6, "tester/1"
	c.client, err = kubernetes.NewForConfig(c.config)
	require.NoError(t, err)
	c.dynamic, err = dynamic.NewForConfig(c.config)
	require.NoError(t, err)
	c.http, err = rest.HTTPClientFor(c.config)
	require.NoError(t, err)
}

// speaking returns a client that sends and asks for a format.
func (c *cluster) speaking(t testing.TB, format string) kubernetes.Interface {
	t.Helper()
	config := *c.config
	config.ContentType, config.AcceptContentTypes = format, format
	client, err := kubernetes.NewForConfig(&config)
	require.NoError(t, err)
	return client
}

// do makes a plain request and returns the answer's code, header and body.
func (c *cluster) do(t testing.TB, method, path, body string, headers ...string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, c.config.Host+path, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.http.Do(request)
	require.NoError(t, err)
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode, response.Header, string(content)
}

// last returns the newest event of the ledger.
func (c *cluster) last(t testing.TB) events.Event {
	t.Helper()
	revision, _, err := c.ledger.Last(t.Context())
	require.NoError(t, err)
	var last events.Event
	require.NoError(t, c.ledger.Read(t.Context(), events.Query{From: revision}, func(e events.Event) bool {
		last = e
		return true
	}))
	return last
}

func (c *cluster) createPod(t testing.TB, name string, edit ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	p := pod(name)
	for _, e := range edit {
		e(p)
	}
	created, err := c.client.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
	require.NoError(t, err)
	return created
}

func (c *cluster) bind(t testing.TB, name, node string) {
	t.Helper()
	require.NoError(t, c.client.CoreV1().Pods("default").Bind(t.Context(), &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}, metav1.CreateOptions{}))
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "demo"}}}}
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"key": value}}
}
