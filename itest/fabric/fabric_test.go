package fabric

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What answers may take long on a busy machine; what doesn't is not waited for.
const (
	surely = 10 * time.Second
	soon   = 300 * time.Millisecond
)

// reaches says whether an address answers at a port of TCP, from a machine.
func reaches(t *testing.T, from *Machine, address string, within time.Duration) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	conn, err := from.Dial(ctx, "tcp", address)
	if err != nil {
		return false
	}
	require.NoError(t, conn.Close())
	return true
}

// listen has a machine accept connections until the test ends.
func listen(t *testing.T, m *Machine) string {
	t.Helper()
	var listener net.Listener
	require.NoError(t, m.Within(func() (err error) {
		listener, err = net.Listen("tcp", m.Addr.String()+":0")
		return err
	}))
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, conn); _ = conn.Close() }()
		}
	}()
	return listener.Addr().String()
}

func TestLinksAreCutAndHeal(t *testing.T) {
	for name, config := range map[string]Config{"shared": {Controls: []string{"a", "b", "c"}}, "routed": {Controls: []string{"a", "b", "c"}, Routed: true}} {
		t.Run(name, func(t *testing.T) {
			f := New(t, config)
			a, b, c, out := f.Machine("a"), f.Machine("b"), f.Machine("c"), f.Machine(Outside)
			at := listen(t, b)
			for _, m := range []*Machine{a, c, out} {
				require.True(t, reaches(t, m, at, surely), "from %s", m.Name)
			}
			require.NoError(t, a.CutTo(b))
			require.False(t, reaches(t, a, at, soon))
			require.True(t, reaches(t, c, at, surely))
			require.NoError(t, a.HealTo(b))
			require.True(t, reaches(t, a, at, surely))
			require.NoError(t, b.Cut())
			for _, m := range []*Machine{a, c, out} {
				require.False(t, reaches(t, m, at, soon), "from %s", m.Name)
			}
			require.NoError(t, b.Heal())
			require.True(t, reaches(t, out, at, surely))

			require.NoError(t, b.Slow(Shape{Loss: 100}))
			require.False(t, reaches(t, a, at, soon))
			require.NoError(t, b.Slow(Shape{KBits: 8000}))
			require.Greater(t, sending(t, a, at, 512<<10), 400*time.Millisecond)
			require.NoError(t, b.Slow(Shape{}))
			f.Eventually("the link is as fast as before", func() error {
				if took := sending(t, a, at, 512<<10); took >= 400*time.Millisecond {
					return fmt.Errorf("it took %s", took)
				}
				return nil
			})
		})
	}
}

// sending measures how long it takes until so many bytes have been received.
func sending(t *testing.T, from *Machine, to string, bytes int) time.Duration {
	t.Helper()
	conn, err := from.Dial(t.Context(), "tcp", to)
	require.NoError(t, err)
	began := time.Now()
	_, err = conn.Write(make([]byte, bytes))
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	_, err = io.Copy(io.Discard, conn)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	return time.Since(began)
}

func TestNodesJoinAndRunPods(t *testing.T) {
	f := New(t, Config{Nodes: []string{"a", "b"}})
	c := f.Control()
	c.Up()
	c.Join(f.Nodes()...)
	for _, name := range []string{"a", "b"} {
		c.Apply(strings.ReplaceAll(`
apiVersion: v1
kind: Pod
metadata: {name: on-NODE}
spec:
  nodeName: NODE
  containers: [{name: main, image: "wake.dev/demo:1", imagePullPolicy: IfNotPresent}]
`, "NODE", name))
	}
	for _, n := range f.Nodes() {
		c.Expect("the pod on "+n.Name+" runs", "Running", "get", "pod", "on-"+n.Name, "-o", "jsonpath={.status.phase}")
		ip := strings.TrimSpace(c.Kubectl("get", "pod", "on-"+n.Name, "-o", "jsonpath={.status.podIP}"))
		client := &http.Client{Transport: &http.Transport{DialContext: n.Dial, DisableKeepAlives: true}}
		f.Eventually("the pod answers on its node", func() error {
			response, err := client.Get("http://" + ip + ":8080/")
			if err != nil {
				return err
			}
			said, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err == nil && string(said) != "Hello from on-"+n.Name+"\n" {
				err = fmt.Errorf("it said %q", said)
			}
			return err
		})
	}

	b := f.Node("b")
	require.Contains(t, b.Docker("ps"), "on-b")
	b.PowerOff()
	f.Eventually("nothing of it runs", func() error { // what waited for it outside ends a moment later
		if out, err := exec.Command("pgrep", "-f", f.Dir()+"/b/").CombinedOutput(); err == nil {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	require.False(t, b.On())
	require.Contains(t, f.Node("a").Docker("ps"), "on-a")
	b.PowerOn()
	require.Contains(t, b.Docker("ps", "--all"), "Exited", "what is on its disk is still there")
	b.Agent()
	c.Expect("the pod's container is started again", "1", "get", "pod", "on-b", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
}
