package seal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/conformance"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/events/seal"
)

const plain = "correct horse battery staple"

func open(t *testing.T, beneath events.Ledger, key string) events.Ledger {
	t.Helper()
	sealed, err := seal.New(beneath, key)
	require.NoError(t, err)
	return sealed
}

func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T) events.Ledger {
		return open(t, memory.New(memory.Faults{}), filepath.Join(t.TempDir(), "key"))
	})
}

func secret(name string) events.Proposal {
	return events.Proposal{Event: events.Event{Ref: events.Ref{Resource: "secrets", Namespace: "default", Name: name}, UID: "u-" + name, Type: "SecretCreated",
		Actor: "user:test", Schema: events.SchemaVersion, Payload: []byte(plain)}}
}

func read(t *testing.T, l events.Ledger) (all []events.Event) {
	t.Helper()
	require.NoError(t, l.Read(t.Context(), events.Query{}, func(e events.Event) bool { all = append(all, e); return true }))
	return all
}

// follow returns the present, what was set aside included.
func follow(t *testing.T, l events.Ledger) (whole events.Batch) {
	t.Helper()
	done := errors.New("loaded")
	err := l.Follow(context.WithoutCancel(t.Context()), events.Start{Present: true}, func(b events.Batch) error {
		whole.Events, whole.SetAside = append(whole.Events, b.Events...), append(whole.SetAside, b.SetAside...)
		if b.Loaded {
			return done
		}
		return nil
	})
	require.ErrorIs(t, err, done)
	return whole
}

func TestSecretsAreSealedBeneathAndOpenAbove(t *testing.T) {
	beneath, key := memory.New(memory.Faults{}), filepath.Join(t.TempDir(), "pki", "key")
	sealed := open(t, beneath, key)
	proposal := secret("pass")
	_, err := sealed.Append(t.Context(), proposal)
	require.NoError(t, err)
	require.Equal(t, plain, string(proposal.Payload), "the writer's own proposal stays as it is")
	require.NoError(t, sealed.AppendEach(t.Context(), []events.Proposal{secret("word")})[0].Err)

	lying := read(t, beneath)
	require.Len(t, lying, 2)
	for _, e := range lying {
		require.NotContains(t, string(e.Payload), plain)
	}
	require.NotEqual(t, lying[0].Payload[:40], lying[1].Payload[:40], "each is sealed with a nonce of its own")
	for _, opened := range [][]events.Event{read(t, sealed), follow(t, sealed).Events, read(t, open(t, beneath, key))} {
		require.Len(t, opened, 2)
		require.Equal(t, plain, string(opened[0].Payload))
	}
	info, err := os.Stat(key)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestWhatDoesNotOpenIsSetAside(t *testing.T) {
	beneath, key := memory.New(memory.Faults{}), filepath.Join(t.TempDir(), "key")
	sealed := open(t, beneath, key)
	_, err := sealed.Append(t.Context(), secret("pass"))
	require.NoError(t, err)
	moved := secret("other")
	moved.Payload = read(t, beneath)[0].Payload
	_, err = beneath.Append(t.Context(), moved)
	require.NoError(t, err)
	_, err = beneath.Append(t.Context(), secret("unsealed"))
	require.NoError(t, err)

	b := follow(t, sealed)
	require.Len(t, b.Events, 1)
	require.Len(t, b.SetAside, 2)
	require.Contains(t, b.SetAside[0].Reason, "altered")
	require.Contains(t, b.SetAside[1].Reason, "not written by this wake")

	b = follow(t, open(t, beneath, filepath.Join(t.TempDir(), "another")))
	require.Empty(t, b.Events)
	require.Len(t, b.SetAside, 3)
	for _, e := range read(t, open(t, beneath, filepath.Join(t.TempDir(), "another"))) {
		require.Empty(t, e.Payload, "the past shows nothing sealed either")
	}
}

func TestADamagedKeyIsNotReplaced(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(key, []byte("torn"), 0o600))
	_, err := seal.New(memory.New(memory.Faults{}), key)
	require.ErrorContains(t, err, "put back the file")
	content, err := os.ReadFile(key)
	require.NoError(t, err)
	require.Equal(t, "torn", string(content))
}
