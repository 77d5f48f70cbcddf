package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TestThresholds plays a probe in virtual time, once a second, against a command that fails when the script says so.
func TestThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		script := "-+--?+--?-++" // what the command does each time; it can't be run where it says ?
		var asked []time.Duration
		target := Target{Exec: func(context.Context, []string) (int, string, error) {
			asked = append(asked, time.Since(begun))
			switch script[min(len(asked), len(script))-1] {
			case '-':
				return 1, "sick", nil
			case '?':
				return 0, "", errors.New("no answer")
			}
			return 0, "", nil
		}}
		spec := &corev1.Probe{
			ProbeHandler:        corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"check"}}},
			InitialDelaySeconds: 5, PeriodSeconds: 1, FailureThreshold: 3, SuccessThreshold: 2,
		}
		type said struct {
			at      time.Duration
			success bool
		}
		var verdicts []said
		failures := 0
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			Watch(ctx, spec, begun, target,
				func(success bool, message string) { verdicts = append(verdicts, said{time.Since(begun), success}) },
				func(message string) {
					require.Equal(t, "sick", message)
					failures++
				})
		}()
		time.Sleep(18*time.Second + time.Millisecond)
		cancel()
		<-done
		require.Equal(t, 5*time.Second, asked[0])
		require.Len(t, asked, 14)
		require.Equal(t, 6, failures)
		require.Equal(t, []said{{14 * time.Second, false}, {16 * time.Second, true}}, verdicts)
	})
}

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, "http://192.0.2.9/", http.StatusFound)
		case "/inside":
			http.Redirect(w, r, "/sick", http.StatusFound)
		case "/sick":
			w.WriteHeader(http.StatusInternalServerError)
		case "/slow":
			<-r.Context().Done()
		case "/host":
			if r.Host != "example.com" || r.Header.Get("X-Who") != "me" {
				w.WriteHeader(http.StatusBadRequest)
			}
		}
	}))
	defer server.Close()
	addr := server.Listener.Addr().(*net.TCPAddr)
	target := Target{IP: "127.0.0.1", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(addr.Port)}}}
	for path, want := range map[string]string{
		"/": "", "away": "", "/inside": "statuscode: 500", "/sick": "statuscode: 500", "/slow": "deadline exceeded", "/host": "",
	} {
		spec := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: path, Port: intstr.FromString("web"), HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: "example.com"}, {Name: "X-Who", Value: "me"}},
		}}, TimeoutSeconds: 20}
		if path == "/slow" {
			spec.TimeoutSeconds = 1
		}
		err := once(t.Context(), spec, target)
		if want == "" {
			require.NoError(t, err, path)
		} else {
			require.ErrorContains(t, err, want, path)
		}
	}
}

func TestTCPAndNames(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	spec := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString(strconv.Itoa(port))}}, TimeoutSeconds: 20}
	require.NoError(t, once(t.Context(), spec, Target{IP: "127.0.0.1"}))
	require.NoError(t, listener.Close())
	require.ErrorContains(t, once(t.Context(), spec, Target{IP: "127.0.0.1"}), "connection refused")
	spec.TCPSocket.Port = intstr.FromString("nosuch")
	require.ErrorContains(t, once(t.Context(), spec, Target{}), `no port named "nosuch"`)
}

func TestExec(t *testing.T) {
	for _, c := range []struct {
		code   int
		output string
		err    error
		want   string
	}{
		{0, "fine", nil, ""},
		{2, "broken\n", nil, "broken"},
		{2, "", nil, `command "a b" exited with code 2`},
		{0, "", context.DeadlineExceeded, `command timed out: "a b"`},
		{0, "", errors.New("no such container"), "the container could not be asked: no such container"},
	} {
		err := Exec(t.Context(), []string{"a", "b"}, Target{Exec: func(context.Context, []string) (int, string, error) { return c.code, c.output, c.err }})
		if c.want == "" {
			require.NoError(t, err)
		} else {
			require.EqualError(t, err, c.want)
		}
	}
}
