package nodes

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/jetstream"
	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/gateway"
	"github.com/wakehq/wake/gateway/joining"
	"github.com/wakehq/wake/gateway/pki"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/feed"
)

const patience = 20 * time.Second

// world is a control plane with a gate, as "wake up --nodes-listen" has them.
type world struct {
	t         *testing.T
	broker    *broker.Broker
	ledger    events.Ledger
	view      *events.View
	authority *pki.Authority
	gate      *broker.Gate
	api       string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	quiet := slog.New(slog.DiscardHandler)
	var err error
	w.broker, err = broker.Start(broker.Config{Dir: t.TempDir(), Log: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.broker.Close() })
	toLedger, err := w.broker.Ledger()
	require.NoError(t, err)
	w.ledger, err = jetstream.Open(ctx, toLedger, jetstream.Config{})
	require.NoError(t, err)
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	w.view, err = events.OpenView(ctx, w.ledger, registry)
	require.NoError(t, err)
	w.authority, err = pki.Open(t.TempDir())
	require.NoError(t, err)
	w.gate, err = w.broker.OpenGate(broker.GateConfig{Listen: "127.0.0.1:0", TLS: w.authority.NodeGate(), Admit: w.admit, Log: quiet})
	require.NoError(t, err)
	line, err := w.broker.Nodes()
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.api = "https://" + listener.Addr().String()
	api := gateway.New(gateway.Config{View: w.view, Ledger: w.ledger, Registry: registry, Authority: w.authority, Hosts: []string{"127.0.0.1", pki.GatewayHost}, Version: "test",
		Log: quiet, Joining: &gateway.Joining{Broker: w.gate.Addr().String(), Cluster: "c1", ServiceCIDR: "10.96.0.0/16"}})
	nodes := feed.New(feed.Config{View: w.view, Ledger: w.ledger, Line: nodewire.NewServer(line), Log: quiet, Registers: func(string) bool { return false },
		Grace: time.Hour}) // a node that says nothing isn't called lost: what is written comes from what nodes say
	running.Go(func() { _ = api.Serve(ctx, listener) })
	running.Go(func() { _ = w.gate.Run(ctx) })
	running.Go(func() { _ = nodes.Run(ctx) })
	return w
}

func (w *world) admit(leaf *x509.Certificate) (broker.Guest, error) {
	n, ok := pki.NodeOf(leaf)
	if !ok {
		return broker.Guest{}, errors.New("not a node")
	}
	return broker.Guest{Name: n.Name, Publish: nodewire.Publishes(n.Name), Subscribe: nodewire.Subscribes(n.Name), Inbox: nodewire.Inbox(n.Name)}, joining.Admitted(w.view.State(), n)
}

// do appends what an administrator does.
func (w *world) do(proposals ...events.Proposal) {
	w.t.Helper()
	events.Audit{Actor: "user:tester", At: time.Now()}.Sign(proposals)
	revision, err := w.ledger.Append(w.t.Context(), proposals...)
	require.NoError(w.t, err)
	_, err = w.view.WaitFor(w.t.Context(), revision)
	require.NoError(w.t, err)
}

func (w *world) token(terms joining.Terms) joining.Token {
	w.t.Helper()
	token := joining.NewToken(w.authority.Fingerprint())
	secret := token.Secret(terms)
	secret.UID = types.UID("uid-of-" + token.ID)
	w.do(events.Create(w.view.State(), secret, "SecretCreated"))
	return token
}

// post asks the gateway as a machine does, and returns the answer and its code.
func (w *world) post(path string, own *tls.Certificate, request joining.Request) (int, joining.Answer, string) {
	w.t.Helper()
	config := pki.Pinned(w.authority.Fingerprint(), pki.GatewayHost)
	if own != nil {
		config.Certificates = []tls.Certificate{*own}
	}
	content, err := json.Marshal(request)
	require.NoError(w.t, err)
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Post(w.api+path, "application/json", bytes.NewReader(content))
	require.NoError(w.t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(w.t, err)
	require.NoError(w.t, response.Body.Close())
	var answer joining.Answer
	if response.StatusCode == http.StatusOK {
		require.NoError(w.t, json.Unmarshal(body, &answer))
	}
	return response.StatusCode, answer, string(body)
}

// join makes a machine a node and returns its certificate.
func (w *world) join(name string) tls.Certificate {
	w.t.Helper()
	key, request, err := pki.NewNodeKey()
	require.NoError(w.t, err)
	token := w.token(joining.Terms{Expires: time.Now().Add(time.Hour), Nodes: 1})
	code, answer, body := w.post(joining.JoinPath, nil, joining.Request{Token: token.Text(), Node: name, Request: string(request)})
	require.Equal(w.t, http.StatusOK, code, body)
	require.Equal(w.t, w.gate.Addr().String(), answer.Broker)
	pair, err := tls.X509KeyPair([]byte(answer.Certificate), key)
	require.NoError(w.t, err)
	return pair
}

func (w *world) config(pair tls.Certificate) *tls.Config {
	config := pki.Pinned(w.authority.Fingerprint(), pki.BrokerHost)
	config.Certificates = []tls.Certificate{pair}
	return config
}

// dial connects as an agent does.
func (w *world) dial(name string, pair tls.Certificate) *nats.Conn {
	w.t.Helper()
	conn, err := nodewire.Dial(name, nodewire.Brokers{Addresses: func() []string { return []string{w.gate.Addr().String()} },
		TLS: func() (*tls.Config, error) { return w.config(pair), nil }, Tell: func(error) {}})
	require.NoError(w.t, err)
	w.t.Cleanup(conn.Close)
	require.Eventually(w.t, conn.IsConnected, patience, 5*time.Millisecond)
	return conn
}

// pod makes a pod that is bound to a node.
func (w *world) pod(name, node string) *events.Object {
	w.t.Helper()
	ref := events.Ref{Resource: "pods", Namespace: "default", Name: name}
	w.do(events.Create(w.view.State(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, "PodCreated"))
	o, _ := w.view.State().Get(ref)
	w.do(events.Place(o, events.Placement{Node: node}, "PodBound"))
	o, _ = w.view.State().Get(ref)
	return o
}

// written lists what has come into the ledger after a revision.
func (w *world) written(after events.Revision) (all []events.Event) {
	w.t.Helper()
	require.NoError(w.t, w.ledger.Read(w.t.Context(), events.Query{From: after + 1}, func(e events.Event) bool {
		all = append(all, e)
		return true
	}))
	return all
}

func (w *world) end() events.Revision {
	w.t.Helper()
	last, _, err := w.ledger.Last(w.t.Context())
	require.NoError(w.t, err)
	return last
}

func ready() nodewire.NodeReport {
	return nodewire.NodeReport{At: time.Now(), Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
}

// in returns the world as a subtest sees it.
func (w *world) in(t *testing.T) *world {
	same := *w
	same.t = t
	return &same
}
