package seal_test

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/events/seal"
	"github.com/wakehq/wake/schemas"
)

// marker is in whatever must stay secret.
const marker = "hunter2"

// object makes a Secret out of what is drawn.
func object(t *rapid.T) *corev1.Secret {
	hidden := rapid.Custom(func(t *rapid.T) string {
		return rapid.String().Draw(t, "before") + marker + rapid.String().Draw(t, "after")
	})
	key := rapid.StringMatching(`[a-z]{1,8}`)
	s := &corev1.Secret{Type: corev1.SecretType(rapid.SampledFrom([]string{"Opaque", "kubernetes.io/tls"}).Draw(t, "type")),
		Immutable: rapid.Ptr(rapid.Bool(), true).Draw(t, "immutable"), StringData: rapid.MapOf(key, hidden).Draw(t, "stringData"), Data: map[string][]byte{}}
	for k, v := range rapid.MapOf(key, hidden).Draw(t, "data") {
		s.Data[k] = []byte(v)
	}
	s.Name, s.Namespace, s.UID = key.Draw(t, "name"), "default", "u-1"
	s.Labels = rapid.MapOf(key, key).Draw(t, "labels")
	s.Annotations = rapid.MapOf(key, hidden).Draw(t, "annotations")
	s.Annotations["kubectl.kubernetes.io/last-applied-configuration"] = `{"data":{"password":"` + marker + `"}}`
	s.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl", Operation: "Apply", FieldsV1: metav1.NewFieldsV1(`{"f:data":{"f:password":{}}}`)}}
	return s
}

func kind(t testing.TB) *schemas.Kind {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	k, ok := registry.ByStorage("", "secrets")
	require.True(t, ok)
	return k
}

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	require.TestingT
	Context() context.Context
}

func raws(t tester, l *memory.Ledger) (all []events.Raw) {
	require.NoError(t, l.ReadRaw(t.Context(), 1, 0, func(r events.Raw) bool { all = append(all, r); return true }))
	return all
}

func TestNothingSecretIsInAShell(t *testing.T) {
	k, key := kind(t), filepath.Join(t.TempDir(), "key")
	rapid.Check(t, func(t *rapid.T) {
		want := object(t)
		payload, err := k.EncodeDesired(want)
		require.NoError(t, err)
		beneath := memory.New(memory.Faults{})
		sealed, err := seal.New(beneath, key)
		require.NoError(t, err)
		p := secret(want.Name)
		p.Payload = payload
		_, err = sealed.Append(t.Context(), p)
		require.NoError(t, err)

		stored := raws(t, beneath)[0]
		redacted := seal.Redact(stored)
		require.Equal(t, stored.Digest(), redacted.Digest())
		require.Less(t, len(redacted.Payload), len(stored.Payload))
		again := seal.Redact(redacted)
		require.Equal(t, redacted.Payload, again.Payload)
		require.Equal(t, stored.Digest(), again.Digest())

		var shown, opened events.Event
		require.NoError(t, seal.Shell(beneath).Read(t.Context(), events.Query{}, func(e events.Event) bool { shown = e; return true }))
		require.NoError(t, sealed.Read(t.Context(), events.Query{}, func(e events.Event) bool { opened = e; return true }))
		require.Equal(t, payload, opened.Payload)
		fromExport, err := redacted.Event()
		require.NoError(t, err)
		require.NoError(t, seal.OpenShell(&fromExport))
		require.Equal(t, shown.Payload, fromExport.Payload)
		for _, bytes := range [][]byte{stored.Payload, redacted.Payload, shown.Payload} {
			require.NotContains(t, string(bytes), marker)
		}

		for k := range want.Data {
			want.Data[k] = nil
		}
		for k := range want.StringData {
			want.StringData[k] = ""
		}
		for k := range want.Annotations {
			want.Annotations[k] = ""
		}
		expected, err := k.EncodeDesired(want)
		require.NoError(t, err)
		require.Equal(t, expected, shown.Payload, "all that is not secret is there")
		_, err = k.Decode(shown.Payload, nil)
		require.NoError(t, err)
	})
}

func TestWithoutTheKey(t *testing.T) {
	beneath := memory.New(memory.Faults{})
	sealed := open(t, beneath, filepath.Join(t.TempDir(), "key"))
	payload, err := kind(t).EncodeDesired(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "pass"}, Data: map[string][]byte{"a": []byte(marker)}})
	require.NoError(t, err)
	p := secret("pass")
	p.Payload = payload
	revision, err := sealed.Append(t.Context(), p)
	require.NoError(t, err)
	shells := seal.Shell(beneath)
	b := follow(t, shells)
	require.Empty(t, b.SetAside)
	require.NotEmpty(t, b.Events[0].Payload)

	p.Expect = revision
	_, err = shells.Append(t.Context(), p)
	require.ErrorContains(t, err, "without the key")
	configMap := events.Proposal{Event: events.Event{Ref: events.Ref{Resource: "configmaps", Namespace: "default", Name: "c"}, UID: "c", Type: "ConfigMapCreated", Payload: []byte("c")}}
	results := shells.AppendEach(t.Context(), []events.Proposal{p, configMap})
	require.ErrorContains(t, results[0].Err, "without the key")
	require.Equal(t, revision+1, results[1].Revision)
	gone := secret("pass")
	gone.Payload, gone.Tombstone, gone.Expect = nil, true, revision
	_, err = shells.Append(t.Context(), gone)
	require.NoError(t, err)
	_, err = shells.Append(t.Context(), events.Proposal{Event: events.Event{Ref: events.Ref{Resource: "pods", Namespace: "default", Name: "p"}, UID: "p", Type: "PodCreated", Payload: []byte("p")}})
	require.NoError(t, err)
	require.Len(t, follow(t, shells).Events, 3)
}

// The key and an event as the first format had them, for payload plain.
const (
	firstKey    = "48aab6bf2e7671ca8659aaeec201343217865eaa6cc1fd0f0750bc3d9074f71b"
	firstSealed = "aa4844ebca3d982035b5b25507d61796f18a361546eeacf36cc159c5f72a2a72284256f82adb2a90e42f68223701139fe6cb4fac05208b29"
)

func TestTheFirstFormatStillOpens(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(key, []byte(firstKey+"\n"), 0o600))
	old := secret("pass")
	cipher, err := hex.DecodeString(firstSealed)
	require.NoError(t, err)
	old.Payload = append([]byte("wake-sealed-1:"), cipher...)
	beneath := memory.New(memory.Faults{})
	_, err = beneath.Append(t.Context(), old)
	require.NoError(t, err)
	require.Equal(t, plain, string(read(t, open(t, beneath, key))[0].Payload))
	require.Contains(t, follow(t, seal.Shell(beneath)).SetAside[0].Reason, "without a shell")
	require.Empty(t, seal.Redact(raws(t, beneath)[0]).Payload)
}

func TestAnAlteredEnvelopeDoesNotOpen(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	payload, err := kind(t).EncodeDesired(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "pass", Labels: map[string]string{"a": "b"}}, Data: map[string][]byte{"a": []byte(marker)}})
	require.NoError(t, err)
	p := secret("pass")
	p.Payload = payload
	whole := memory.New(memory.Faults{})
	_, err = open(t, whole, key).Append(t.Context(), p)
	require.NoError(t, err)
	envelope := raws(t, whole)[0].Payload
	for at := range envelope {
		beneath := memory.New(memory.Faults{})
		altered := secret("pass")
		altered.Payload = []byte(strings.Clone(string(envelope)))
		altered.Payload[at] ^= 1
		_, err := beneath.Append(t.Context(), altered)
		require.NoError(t, err)
		require.Len(t, follow(t, open(t, beneath, key)).SetAside, 1, "byte %d", at)
	}
	for length := 1; length < len(envelope); length++ {
		beneath := memory.New(memory.Faults{})
		cut := secret("pass")
		cut.Payload = envelope[:length]
		_, err := beneath.Append(t.Context(), cut)
		require.NoError(t, err)
		require.Len(t, follow(t, open(t, beneath, key)).SetAside, 1, "%d bytes", length)
		_ = follow(t, seal.Shell(beneath)) // never panics
	}
}

func TestRedactionOfWhatIsNoSecret(t *testing.T) {
	for subject, drops := range map[string]bool{
		"ledger.desired.core.secrets.default.x":    true,
		"ledger.desired.core.configmaps.default.x": false,
		"ledger.observed.core.secrets.default.x":   false,
		"ledger.strange.secrets":                   true,
	} {
		r := events.Raw{Revision: 1, Subject: subject, Payload: []byte(marker)}
		out := seal.Redact(r)
		require.Equal(t, drops, len(out.Payload) == 0, subject)
		require.Equal(t, r.Digest(), out.Digest())
	}
}

func TestRedactedSecretsAreToldFromDamagedOnes(t *testing.T) {
	beneath, key := memory.New(memory.Faults{}), filepath.Join(t.TempDir(), "key")
	payload, err := kind(t).EncodeDesired(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "pass"}})
	require.NoError(t, err)
	p := secret("pass")
	p.Payload = payload
	_, err = open(t, beneath, key).Append(t.Context(), p)
	require.NoError(t, err)
	p.Payload = seal.Redact(raws(t, beneath)[0]).Payload
	elsewhere := memory.New(memory.Faults{})
	_, err = elsewhere.Append(t.Context(), p)
	require.NoError(t, err)
	require.Contains(t, follow(t, open(t, elsewhere, key)).SetAside[0].Reason, "left out")
	require.Empty(t, follow(t, seal.Shell(elsewhere)).SetAside)
}

// An export without the secrets' data tells the same with the key as without it; what does have its data opens, and what is damaged doesn't.
func TestARedactedLedgerWithTheKey(t *testing.T) {
	whole, less, key := memory.New(memory.Faults{}), memory.New(memory.Faults{}), filepath.Join(t.TempDir(), "key")
	var payloads [][]byte
	for _, name := range []string{"dropped", "kept", "altered"} {
		payload, err := kind(t).EncodeDesired(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"a": []byte(marker)}})
		require.NoError(t, err)
		p := secret(name)
		p.Payload = payload
		_, err = open(t, whole, key).Append(t.Context(), p)
		require.NoError(t, err)
		payloads = append(payloads, payload)
	}
	for i, change := range []func(events.Raw) []byte{
		func(r events.Raw) []byte { return seal.Redact(r).Payload },
		func(r events.Raw) []byte { return r.Payload },
		func(r events.Raw) []byte { return r.Payload[:len(r.Payload)-1] },
	} {
		raw := raws(t, whole)[i]
		e, err := raw.Event()
		require.NoError(t, err)
		e.Payload = change(raw)
		_, err = less.Append(t.Context(), events.Proposal{Event: e})
		require.NoError(t, err)
	}
	sealed, err := seal.New(less, key)
	require.NoError(t, err)
	got, shells := follow(t, sealed.Redacted()), follow(t, seal.Shell(less))
	require.Len(t, got.Events, 2)
	require.Equal(t, shells.Events[0], got.Events[0])
	require.NotEmpty(t, got.Events[0].Payload)
	require.Equal(t, payloads[1], got.Events[1].Payload)
	require.Len(t, got.SetAside, 1)
	require.EqualValues(t, 3, got.SetAside[0].Revision)
	require.Equal(t, []events.SetAside{{Revision: 1, Subject: got.SetAside[0].Subject[:strings.LastIndex(got.SetAside[0].Subject, ".")+1] + "dropped",
		Reason: "a secret whose data was left out"}}, follow(t, sealed).SetAside[:1], "of the cluster's own ledger it is a loss")
}
