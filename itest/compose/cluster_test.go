package compose

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/itest/fabric"
)

const (
	patience = 2 * time.Minute
	nodePort = "30081"
)

var nodes = []string{"node1", "node2", "node3"}

// cluster is the one that runs on this machine.
type cluster struct {
	t   *testing.T
	dir string
}

// open finds the cluster, which the task that runs these tests has started.
func open(t *testing.T) *cluster {
	t.Helper()
	dir := os.Getenv("WAKE_TEST_CLUSTER")
	if dir == "" {
		t.Skip("it needs the cluster in containers: go tool task cluster:test")
	}
	return &cluster{t, dir}
}

func run(stdin, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (c *cluster) tryWake(stdin string, args ...string) (string, error) {
	return run(stdin, "../../bin/wake", append([]string{"--data-dir", c.dir}, args...)...)
}

func (c *cluster) wake(args ...string) string {
	c.t.Helper()
	out, err := c.tryWake("", args...)
	require.NoError(c.t, err)
	return out
}

func (c *cluster) kubectl(args ...string) string {
	c.t.Helper()
	return strings.TrimSpace(c.wake(append([]string{"kubectl"}, args...)...))
}

// apply makes what a manifest says, and removes it with the test.
func (c *cluster) apply(manifest string) {
	c.t.Helper()
	_, err := c.tryWake(manifest, "kubectl", "apply", "-f", "-")
	require.NoError(c.t, err)
}

// docker does something to machines; the cluster has all of them again after the test.
func (c *cluster) docker(verb string, machines ...string) {
	c.t.Helper()
	args := []string{verb}
	for _, m := range machines {
		args = append(args, "wake-"+m)
	}
	_, err := run("", "docker", args...)
	require.NoError(c.t, err)
	if verb == "kill" {
		c.t.Cleanup(func() { _, _ = run("", "docker", append([]string{"start"}, args[1:]...)...) })
	}
}

// eventually waits until check returns nil, and returns how long that took.
func (c *cluster) eventually(what string, check func() error) time.Duration {
	c.t.Helper()
	began := time.Now()
	err := check()
	for ; err != nil; err = check() {
		if time.Since(began) > patience {
			require.NoError(c.t, err, "%s: not after %s", what, patience)
		}
		time.Sleep(100 * time.Millisecond) // between two looks at another process
	}
	return time.Since(began)
}

// expect waits until kubectl says want.
func (c *cluster) expect(what, want string, args ...string) time.Duration {
	c.t.Helper()
	return c.eventually(what, func() error {
		out, err := c.tryWake("", append([]string{"kubectl"}, args...)...)
		if err == nil && strings.TrimSpace(out) != want {
			err = fmt.Errorf("%q, not %q", strings.TrimSpace(out), want)
		}
		return err
	})
}

func (c *cluster) expectReady(node, want string) time.Duration {
	c.t.Helper()
	return c.expect(node+" is ready: "+want, want, "get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
}

// pod is one of the application's that is ready.
type pod struct{ name, node, ip string }

func (c *cluster) ready(selector string) (pods []pod, _ error) {
	out, err := c.tryWake("", "kubectl", "get", "pods", "-l", selector, "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName} {.status.podIP} {.metadata.deletionTimestamp} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 4 && f[3] == "True" { // one more if it is to end
			pods = append(pods, pod{f[0], f[1], f[2]})
		}
	}
	return pods, nil
}

// expectPods waits until so many pods are ready, none of them on a node that is named without.
func (c *cluster) expectPods(selector string, want int, without string) (pods []pod, after time.Duration) {
	c.t.Helper()
	after = c.eventually(fmt.Sprintf("%d pods of %s", want, selector), func() (err error) {
		if pods, err = c.ready(selector); err != nil {
			return err
		}
		for _, p := range pods {
			if p.node == without {
				return fmt.Errorf("%s is still on %s", p.name, p.node)
			}
		}
		if len(pods) != want {
			return fmt.Errorf("%d are ready: %v", len(pods), pods)
		}
		return nil
	})
	return pods, after
}

// machine connects from a machine, or from this one if node is empty.
func (c *cluster) machine(node string) fabric.DialFunc {
	c.t.Helper()
	if node == "" {
		return (&net.Dialer{}).DialContext
	}
	return fabric.DialFrom("/proc/" + c.pid(node) + "/ns/net")
}

func (c *cluster) pid(node string) string {
	c.t.Helper()
	out, err := run("", "docker", "inspect", "--format", "{{.State.Pid}}", "wake-"+node)
	require.NoError(c.t, err)
	return strings.TrimSpace(out)
}

// inside connects from inside of a pod.
func (c *cluster) inside(p pod) fabric.DialFunc {
	c.t.Helper()
	id := strings.TrimPrefix(c.kubectl("get", "pod", p.name, "-o", "jsonpath={.status.containerStatuses[0].containerID}"), "docker://")
	out, err := run("", "docker", "exec", "wake-"+p.node, "docker", "inspect", "--format", "{{.State.Pid}}", id)
	require.NoError(c.t, err)
	return fabric.DialFrom("/proc/" + c.pid(p.node) + "/root/proc/" + strings.TrimSpace(out) + "/ns/net")
}

func (c *cluster) address(node string) string {
	c.t.Helper()
	return c.kubectl("get", "node", node, "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`)
}

// fetch gets a page.
func fetch(dial fabric.DialFunc, url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return strings.TrimSpace(string(body)), err
}
