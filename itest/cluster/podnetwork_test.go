package cluster

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"
)

// inPod is a place in a pod's network from which a test asks.
type inPod struct {
	name string
	ns   netns.NsHandle
}

// enter gives the network of a pod that runs.
func (c *cluster) enter(namespace, pod string) inPod {
	c.t.Helper()
	id := c.kubectl("-n", namespace, "get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].containerID}")
	out, err := exec.Command("docker", "inspect", "--format", "{{.State.Pid}}", strings.TrimPrefix(strings.TrimSpace(id), "docker://")).CombinedOutput()
	require.NoError(c.t, err, "%s", out)
	var pid int
	_, err = fmt.Sscan(string(out), &pid)
	require.NoError(c.t, err)
	ns, err := netns.GetFromPid(pid)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = ns.Close() })
	return inPod{name: pod, ns: ns}
}

// dial connects from the pod.
func (p inPod) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err = netns.Set(p.ns); err == nil {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		}
	}()
	<-done
	return conn, err
}

// connection is one TCP connection to a web server, from a pod.
type connection struct {
	net.Conn
	answers *bufio.Reader
}

// connect opens a connection, within a time.
func (p inPod) connect(address string, within time.Duration) (*connection, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	conn, err := p.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &connection{conn, bufio.NewReader(conn)}, nil
}

// ask asks over the open connection.
func (c *connection) ask(within time.Duration) (string, error) {
	if err := c.SetDeadline(time.Now().Add(within)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: web\r\n\r\n"); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(response.Body)
	return strings.TrimSpace(string(body)), err
}

// get asks over a connection of its own.
func (p inPod) get(address string, within time.Duration) (string, error) {
	conn, err := p.connect(address, within)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	return conn.ask(within)
}
