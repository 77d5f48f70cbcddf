package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/proxytest"
)

var update = flag.Bool("update", false, "rewrite the golden transcripts")

// memory is a backend that keeps what it is told, and fails when asked to.
type memory struct {
	t          require.TestingT
	servers    map[proxy.Key]proxy.VirtualServer
	transcript strings.Builder
	fail       error
}

func (m *memory) Reconcile(_ context.Context, state proxy.State) error {
	if m.fail != nil {
		return m.fail
	}
	m.servers = maps.Clone(state.Servers)
	fmt.Fprintf(&m.transcript, "reconcile %d\n", len(state.Servers))
	return nil
}

func (m *memory) Update(_ context.Context, diff proxy.Diff) error {
	if m.fail != nil {
		return m.fail
	}
	require.False(m.t, diff.Empty(), "an update without a change")
	for _, key := range diff.Gone {
		require.Contains(m.t, m.servers, key, "removes what isn't there")
		delete(m.servers, key)
	}
	for _, server := range diff.Put {
		require.False(m.t, m.servers[server.Key].Equal(server), "puts what is there already: %s", server)
		m.servers[server.Key] = server
	}
	m.transcript.WriteString(diff.String())
	return nil
}

func (m *memory) Intact(context.Context) (bool, error) { return true, nil }

func (m *memory) Remove(context.Context) error { return nil }
func (m *memory) Close() error                 { return nil }

var node = proxy.Node{Name: "node-a", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestTranscripts applies the objects of testdata/*.yaml, one document after the other, and compares the differences
// with the golden transcript. The first step is full; "gone: Service/name" documents remove.
func TestTranscripts(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, inputs)
	for _, input := range inputs {
		t.Run(filepath.Base(input), func(t *testing.T) {
			backend := &memory{t: t}
			p := proxy.New(backend, node, quiet())
			require.NoError(t, p.Apply(t.Context(), proxy.Change{Full: true}))
			for _, doc := range documents(t, input) {
				change, title := readChange(t, doc)
				fmt.Fprintf(&backend.transcript, "== %s\n", title)
				require.NoError(t, p.Apply(t.Context(), change))
			}
			golden := strings.TrimSuffix(input, ".yaml") + ".txt"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(backend.transcript.String()), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(string(want), backend.transcript.String()))
		})
	}
}

func documents(t *testing.T, path string) [][]byte {
	t.Helper()
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	var docs [][]byte
	reader := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(file)))
	for {
		buf := make([]byte, len(file))
		n, err := reader.Read(buf)
		if errors.Is(err, io.EOF) {
			return docs
		}
		require.NoError(t, err)
		docs = append(docs, buf[:n])
	}
}

func readChange(t *testing.T, doc []byte) (change proxy.Change, title string) {
	t.Helper()
	var head struct {
		Kind, Title, Gone, Zone string
	}
	require.NoError(t, yaml.Unmarshal(doc, &head))
	switch {
	case head.Zone != "":
		change.Zone = &head.Zone
	case head.Gone != "":
		kind, name, _ := strings.Cut(head.Gone, "/")
		names := []types.NamespacedName{{Namespace: "default", Name: name}}
		if kind == "Service" {
			change.ServicesGone = names
		} else {
			change.SlicesGone = names
		}
	case head.Kind == "Service":
		var svc corev1.Service
		require.NoError(t, yaml.UnmarshalStrict(bytes.Replace(doc, []byte("title:"), []byte("#"), 1), &svc))
		change.Services = append(change.Services, &svc)
	default:
		var slice discoveryv1.EndpointSlice
		require.NoError(t, yaml.UnmarshalStrict(bytes.Replace(doc, []byte("title:"), []byte("#"), 1), &slice))
		change.SlicesPut = append(change.SlicesPut, &slice)
	}
	return change, head.Title
}

// Any grouping of changes leads to what the remaining objects lead to at once, and every difference is minimal (the
// memory backend checks that).
func TestIncrementalEqualsFull(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cluster := proxytest.NewCluster()
		incremental := &memory{t: t}
		p := proxy.New(incremental, node, quiet())
		require.NoError(t, p.Apply(t.Context(), proxy.Change{Full: true}))
		for range rapid.IntRange(1, 15).Draw(t, "calls") {
			changes := make([]proxy.Change, rapid.IntRange(1, 4).Draw(t, "changes"))
			for i := range changes {
				changes[i] = cluster.Change(t)
			}
			require.NoError(t, p.Apply(t.Context(), changes...))
		}
		atOnce := &memory{t: t}
		require.NoError(t, proxy.New(atOnce, node, quiet()).Apply(t.Context(), cluster.Everything()))
		require.Empty(t, cmp.Diff(atOnce.servers, incremental.servers, proxytest.Comparers...))
	})
}

func TestFirstChangeMustBeFull(t *testing.T) {
	backend := &memory{t: t}
	p := proxy.New(backend, node, quiet())
	require.ErrorIs(t, p.Apply(t.Context(), proxy.Change{}), proxy.ErrNotFull)
	require.ErrorIs(t, p.Apply(t.Context()), proxy.ErrNotFull)
	require.ErrorIs(t, p.Reconcile(t.Context()), proxy.ErrNotFull)
	require.Empty(t, backend.transcript.String())
	require.NoError(t, p.Apply(t.Context(), proxy.Change{}, proxy.Change{Full: true}))
	require.Equal(t, "reconcile 0\n", backend.transcript.String())
}

func TestFailureIsMadeUpFor(t *testing.T) {
	cluster := proxytest.NewCluster()
	backend := &memory{t: t, fail: errors.New("no such table")}
	p := proxy.New(backend, node, quiet())
	require.ErrorIs(t, p.Apply(t.Context(), cluster.Everything()), backend.fail)
	backend.fail = nil
	require.NoError(t, p.Apply(t.Context(), proxy.Change{}))
	require.Equal(t, "reconcile 0\n", backend.transcript.String())
	require.NoError(t, p.Apply(t.Context(), proxy.Change{}))
	require.Equal(t, "reconcile 0\n", backend.transcript.String(), "nothing to do, but something done")
}
