package ingress

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events/nodewire"
)

// The test binary is also the process that serves, when it is called with these.
const (
	childSocket = "WAKE_TEST_INGRESS_SOCKET"
	childHTTP   = "WAKE_TEST_INGRESS_HTTP"
	childBuild  = "WAKE_TEST_INGRESS_BUILD"
	childTakes  = "WAKE_TEST_INGRESS_TAKES"
)

func TestMain(m *testing.M) {
	socket := os.Getenv(childSocket)
	if socket == "" {
		os.Exit(m.Run())
	}
	server, err := NewServer(Addresses{HTTP: os.Getenv(childHTTP)}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err == nil && os.Getenv(childTakes) == "true" {
		err = server.TakeOver(context.Background(), socket)
	}
	if err == nil {
		err = Serve(context.Background(), socket, os.Getenv(childBuild), server)
	}
	if err != nil {
		slog.Error("serving", "error", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// keeping is a Keeper's life, with processes of its own.
type keeping struct {
	*Keeper
	stop func()
}

func keep(t *testing.T, socket, http, build string) *keeping {
	t.Helper()
	config := KeeperConfig{Socket: socket, Addresses: Addresses{HTTP: http}, Build: build, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	config.Start = func(takeOver bool) error {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childSocket+"="+socket, childHTTP+"="+http, childBuild+"="+build, fmt.Sprintf("%s=%v", childTakes, takeOver))
		child.Stderr = os.Stderr
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			return err
		}
		go func() { _ = child.Wait() }()
		return nil
	}
	k := &keeping{Keeper: NewKeeper(config)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	k.stop = func() { cancel(); require.ErrorIs(t, <-ended, context.Canceled); k.stop = func() {} }
	t.Cleanup(func() {
		k.stop()
		require.NoError(t, Stop(context.Background(), socket))
	})
	return k
}

func (k *keeping) status(t *testing.T) status {
	t.Helper()
	s, err := k.ask(t.Context(), client(k.Socket))
	require.NoError(t, err)
	return s
}

// TestKeeper kills agents and processes, and holds that what is served goes on as it should.
func TestKeeper(t *testing.T) {
	socket, at := filepath.Join(t.TempDir(), "s"), freeAddress(t)
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	until := func(want string) {
		t.Helper()
		require.Eventually(t, func() bool {
			_, body, err := tryGet(c, "http://"+at+"/")
			return err == nil && body == want
		}, patience, 5*time.Millisecond, want)
	}
	one, two := says(t, "one"), says(t, "two")
	k := keep(t, socket, at, "1")
	k.Apply(false, objects(t, service("early"))) // of a slice that isn't full
	k.Apply(true, objects(t, ingress(t, "i", toService("web")), service("web"), slice("web", "s", one)))
	until("one")
	k.Apply(false, objects(t, slice("web", "s", two)))
	until("two")
	first := k.status(t).PID

	// The agent dies, and comes back with other knowledge. The process stays, and nobody notices.
	k.stop()
	until("two")
	k = keep(t, socket, at, "1")
	until("two")
	require.Equal(t, first, k.status(t).PID)
	require.NotEqual(t, k.at.Teller, k.status(t).Teller, "an agent that knows nothing yet says nothing")
	k.Apply(true, objects(t, ingress(t, "i", toService("web")), service("web"), slice("web", "s", one)))
	until("one")
	require.Equal(t, first, k.status(t).PID)

	// The process dies, and there is another that knows everything.
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	require.Eventually(t, func() bool {
		s, err := k.ask(t.Context(), client(socket))
		return err == nil && s.PID != first
	}, patience, 5*time.Millisecond)
	until("one")

	// Another version of the program takes over, and no client notices.
	second := k.status(t).PID
	k.stop()
	stop := ceaseless(t, "http://"+at+"/")
	k = keep(t, socket, at, "2")
	k.Apply(true, objects(t, ingress(t, "i", toService("web")), service("web"), slice("web", "s", two)))
	until("two")
	require.NotEqual(t, second, k.status(t).PID)
	require.Equal(t, "2", k.status(t).Build)
	require.Eventually(t, func() bool { return syscall.Kill(second, 0) != nil }, patience, 5*time.Millisecond, "the process before ends")
	stop()

	// Other addresses are other sockets.
	k.stop()
	at = freeAddress(t)
	k = keep(t, socket, at, "2")
	k.Apply(true, objects(t, ingress(t, "i", toService("web")), service("web"), slice("web", "s", one)))
	until("one")

	k.stop()
	require.NoError(t, Stop(t.Context(), socket))
	_, _, err := tryGet(c, "http://"+at+"/")
	require.Error(t, err)
	require.NoError(t, Stop(t.Context(), socket), "there is nothing to stop")
}

// ceaseless asks a URL without a pause, over connections that are kept and over new ones, until it is told to stop; no request may fail.
func ceaseless(t *testing.T, url string) (stop func()) {
	t.Helper()
	ending := make(chan struct{})
	var clients sync.WaitGroup
	var asked, failed atomic.Int64
	for _, keep := range []bool{true, false, true, false} {
		clients.Go(func() {
			c := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: !keep}}
			defer c.CloseIdleConnections()
			for {
				select {
				case <-ending:
					return
				default:
				}
				asked.Add(1)
				if status, body, err := tryGet(c, url); err != nil || status != http.StatusOK {
					failed.Add(1)
					t.Logf("%d %s %v", status, body, err)
				}
			}
		})
	}
	end := sync.OnceFunc(func() { close(ending); clients.Wait() })
	t.Cleanup(end)
	return func() {
		end()
		t.Logf("%d requests, %d failed", asked.Load(), failed.Load())
		require.Zero(t, failed.Load())
		require.Greater(t, asked.Load(), int64(50))
	}
}

// TestAddressThatIsTaken holds that a process that can't listen is tried again until it can.
func TestAddressThatIsTaken(t *testing.T) {
	socket, at := filepath.Join(t.TempDir(), "s"), freeAddress(t)
	other := &http.Server{Addr: at, ReadHeaderTimeout: time.Second}
	go func() { _ = other.ListenAndServe() }()
	require.Eventually(t, func() bool { _, _, err := tryGet(http.DefaultClient, "http://"+at+"/"); return err == nil }, patience, time.Millisecond)
	k := keep(t, socket, at, "1")
	k.Apply(true, nil)
	require.Eventually(t, func() bool {
		s, err := k.ask(t.Context(), client(socket))
		return err == nil && s.Failed != ""
	}, patience, 5*time.Millisecond)
	require.NoError(t, other.Close())
	require.Eventually(t, func() bool {
		s, err := k.ask(t.Context(), client(socket))
		status, _, asked := tryGet(http.DefaultClient, "http://"+at+"/")
		return err == nil && s.Failed == "" && asked == nil && status == http.StatusNotFound
	}, patience, 5*time.Millisecond)
}

// TestSecretsThatAreTold holds that a process is told only of Secrets that Ingresses name.
func TestSecretsThatAreTold(t *testing.T) {
	a := newAuthority(t)
	k := NewKeeper(KeeperConfig{Log: slog.New(slog.DiscardHandler)})
	names := func(c Change) (told []string) {
		for _, o := range c.Objects {
			name := string(o.Resource) + "/" + o.Name
			if o.Deleted {
				name = "-" + name
			}
			told = append(told, name)
		}
		return told
	}
	const naming = "defaultBackend: {service: {name: web, port: {number: 80}}}\ntls: [{secretName: "
	k.Apply(true, append(objects(t, a.secret("one", "x"), a.secret("two", "x"), ingress(t, "i", naming+"one}]")), nodewire.Object{Resource: nodewire.ConfigMaps, Name: "c"}))
	require.ElementsMatch(t, []string{"secrets/one", "ingresses/i"}, names(k.due(true)))
	k.Apply(false, objects(t, ingress(t, "i", naming+"two}]")))
	require.ElementsMatch(t, []string{"-secrets/one", "secrets/two", "ingresses/i"}, names(k.due(false)))
	k.Apply(false, []nodeObject{gone(object(t, ingress(t, "i", naming+"two}]")))})
	require.ElementsMatch(t, []string{"-secrets/two", "-ingresses/i"}, names(k.due(false)))
	require.Empty(t, names(k.due(false)))
}
