package nodes

import (
	"crypto/tls"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/gateway/joining"
	"github.com/wakehq/wake/gateway/pki"
)

func hourLong(nodes int) joining.Terms {
	return joining.Terms{Expires: time.Now().Add(time.Hour), Nodes: nodes}
}

func TestATokenLetsInWhomItSays(t *testing.T) {
	w := newWorld(t)
	newKey := func() string {
		_, request, err := pki.NewNodeKey()
		require.NoError(t, err)
		return string(request)
	}
	try := func(token joining.Token, node, key string) (int, string) {
		code, _, body := w.post(joining.JoinPath, nil, joining.Request{Token: token.Text(), Node: node, Request: key})
		return code, body
	}
	refused := func(token joining.Token, node, why string) {
		t.Helper()
		before := w.end()
		code, body := try(token, node, newKey())
		require.Contains(t, []int{http.StatusForbidden, http.StatusUnauthorized, http.StatusUnprocessableEntity}, code, body)
		require.Contains(t, body, why)
		require.Equal(t, before, w.end(), "nothing is written")
	}
	one, key := w.token(hourLong(1)), newKey()
	before := w.end()
	code, body := try(one, "n1", key)
	require.Equal(t, http.StatusOK, code, body)
	written := w.written(before)
	require.Len(t, written, 2)
	require.Equal(t, []string{"NodeJoined", "token:" + one.ID}, []string{written[0].Type, written[0].Actor})
	require.Equal(t, []string{"JoinTokenUsed", "token:" + one.ID}, []string{written[1].Type, written[1].Actor})
	code, body = try(one, "n1", key)
	require.Equal(t, http.StatusOK, code, "who missed the answer asks again: %s", body)
	require.Len(t, w.written(before), 2, "and that uses nothing up")

	refused(one, "n1", "by another machine")
	refused(one, "n2", "lets 1 in")
	refused(w.token(hourLong(1)), "n1", "there is a node")
	refused(w.token(joining.Terms{Expires: time.Now().Add(-time.Second), Nodes: 1}), "n2", "has expired")
	refused(w.token(joining.Terms{Expires: time.Now().Add(time.Hour), Nodes: 1, Node: "n3"}), "n2", "is for node")
	refused(w.token(hourLong(1)), "No Name/..", "name")
	refused(joining.NewToken(w.authority.Fingerprint()), "n2", "not known")
	stranger := joining.NewToken(w.authority.Fingerprint())
	stranger.ID = one.ID
	refused(stranger, "n2", "not known")

	code, body = try(w.token(joining.Terms{Expires: time.Now().Add(time.Hour), Nodes: 1, Node: "n1"}), "n1", newKey())
	require.Equal(t, http.StatusOK, code, "a token that is for it: %s", body)
	two := w.token(hourLong(2))
	for _, name := range []string{"n4", "n5"} {
		code, body = try(two, name, newKey())
		require.Equal(t, http.StatusOK, code, body)
	}
	refused(two, "n6", "lets 2 in")
	revoked := w.token(hourLong(1))
	kept, _ := w.view.State().Get(joining.SecretRef(revoked.ID))
	for _, value := range kept.Typed().(*corev1.Secret).Data {
		require.NotContains(t, revoked.Text(), "."+string(value)+".", "the token's secret is kept nowhere")
	}
	w.do(events.Remove(kept, "SecretDeleted"))
	refused(revoked, "n6", "not known")
}

func TestADeletedNodeIsOut(t *testing.T) {
	w := newWorld(t)
	pair := w.join("n1")
	conn := w.dial("n1", pair)
	client := nodewire.NewClient(conn, "n1")
	require.Eventually(t, func() bool { return client.Heartbeat(t.Context()) == nil }, patience, 10*time.Millisecond)

	code, renewed := w.renew(pair)
	require.Equal(t, http.StatusOK, code)
	again := nodewire.NewClient(w.dial("n1", renewed), "n1")
	require.NoError(t, again.Heartbeat(t.Context()), "a renewed certificate is as good")

	node, _ := w.view.State().Get(events.Ref{Resource: "nodes", Name: "n1"})
	w.do(events.Remove(node, "NodeDeleted"))
	require.Eventually(t, func() bool { return !conn.IsConnected() }, patience, 10*time.Millisecond)
	code, _ = w.renew(renewed)
	require.Equal(t, http.StatusForbidden, code)
	after := w.end()

	// The node of the same name that comes after it is another one.
	newer := w.join("n1")
	require.NotEqual(t, after, w.end())
	require.NoError(t, nodewire.NewClient(w.dial("n1", newer), "n1").Heartbeat(t.Context()))
	for _, old := range []tls.Certificate{pair, renewed} {
		stale, err := tls.Dial("tcp", w.gate.Addr().String(), w.config(old))
		if err == nil {
			said := make([]byte, 100)
			require.NoError(t, stale.SetDeadline(time.Now().Add(patience)))
			n, _ := stale.Read(said) // what counts is what was said
			require.Contains(t, string(said[:n]), "Authorization Violation")
			require.NoError(t, stale.Close())
		}
		code, _ = w.renew(old)
		require.Equal(t, http.StatusForbidden, code)
	}
}

func (w *world) renew(pair tls.Certificate) (int, tls.Certificate) {
	w.t.Helper()
	key, request, err := pki.NewNodeKey()
	require.NoError(w.t, err)
	code, answer, _ := w.post(joining.RenewPath, &pair, joining.Request{Request: string(request)})
	if code != http.StatusOK {
		return code, tls.Certificate{}
	}
	renewed, err := tls.X509KeyPair([]byte(answer.Certificate), key)
	require.NoError(w.t, err)
	return code, renewed
}

// A node's certificate opens nothing of the API but its own renewal, and a user's opens neither the gate nor that.
func TestNodesAndUsersAreApart(t *testing.T) {
	w := newWorld(t)
	pair := w.join("n1")
	for _, path := range []string{"/api/v1/secrets", "/api/v1/nodes", "/apis", "/apis/ledger.wake.dev/v1/events", "/metrics", "/at/1/api/v1/secrets", "/join/renew/../../api/v1/secrets"} {
		code, _, body := w.post(path, &pair, joining.Request{})
		require.Equal(t, http.StatusForbidden, code, "%s: %s", path, body)
	}
	identity, err := w.authority.Client("ada", pki.Administrators)
	require.NoError(t, err)
	user, err := tls.X509KeyPair(identity.Certificate, identity.Key)
	require.NoError(t, err)
	code, _ := w.renew(user)
	require.Equal(t, http.StatusForbidden, code)
	conn, err := tls.Dial("tcp", w.gate.Addr().String(), w.config(user))
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	said := make([]byte, 100)
	n, _ := conn.Read(said) // what counts is what was said
	require.Contains(t, string(said[:n]), "Authorization Violation")
	require.NoError(t, conn.Close())
}
