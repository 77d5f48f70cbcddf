package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/agent/proxy"
)

func freePort(t *testing.T) (uint16, net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	require.NoError(t, err)
	return uint16(l.Addr().(*net.TCPAddr).Port), l
}

// TestAnswers asks as a load balancer does.
func TestAnswers(t *testing.T) {
	port, taken := freePort(t)
	ctx, cancel := context.WithCancel(t.Context())
	var log strings.Builder
	s := New(ctx, slog.New(slog.NewTextHandler(&log, nil)))
	check := proxy.HealthCheck{Service: types.NamespacedName{Namespace: "shop", Name: "web"}, Port: port, Local: 2}
	s.Report([]proxy.HealthCheck{check}, true)
	require.Contains(t, log.String(), "service=shop/web")
	require.NoError(t, taken.Close())
	ask := func() (*http.Response, string, error) {
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
		if err != nil {
			return nil, "", err
		}
		text, err := io.ReadAll(response.Body)
		return response, string(text), errors.Join(err, response.Body.Close())
	}
	require.Eventually(t, func() bool { _, _, err := ask(); return err == nil }, 20*time.Second, 20*time.Millisecond, "a port that was taken is tried again")

	response, text, err := ask()
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.JSONEq(t, `{"service": {"namespace": "shop", "name": "web"}, "localEndpoints": 2, "serviceProxyHealthy": true}`, text)
	require.Equal(t, "application/json", response.Header.Get("Content-Type"))
	require.Equal(t, "2", response.Header.Get("X-Load-Balancing-Endpoint-Weight"))

	for _, sick := range []struct {
		local   int
		healthy bool
	}{{0, true}, {2, false}} {
		check.Local = sick.local
		s.Report([]proxy.HealthCheck{check}, sick.healthy)
		response, text, err = ask()
		require.NoError(t, err)
		require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
		require.JSONEq(t, fmt.Sprintf(`{"service": {"namespace": "shop", "name": "web"}, "localEndpoints": %d, "serviceProxyHealthy": %v}`, sick.local, sick.healthy), text)
	}
	s.Report(nil, true)
	_, _, err = ask()
	require.ErrorContains(t, err, "refused")
	s.Report([]proxy.HealthCheck{check}, true)
	_, _, err = ask()
	require.NoError(t, err)
	cancel()
	require.Eventually(t, func() bool { _, _, err := ask(); return err != nil }, 20*time.Second, 20*time.Millisecond)
}
