package network

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/agent/dns"
	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/itest/fabric"
)

// toolsImage has the C library's resolver (getent) and busybox, both of this machine.
const toolsImage = "wake.dev/tools:1"

func buildTools(t *testing.T) {
	t.Helper()
	const script = `set -e
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/etc" "$dir/bin" "$dir/tmp"
cp -L "$(command -v busybox)" "$dir/bin/busybox"
cp -L "$(command -v getent)" "$dir/bin/getent"
for name in sh sleep wget cat; do ln -s busybox "$dir/bin/$name"; done
cp --parents -L $(ldd "$(command -v getent)" | grep -o '/[^ ]*') $(ls -d /lib/*/libnss_dns.so.2 /lib/*/libnss_files.so.2 /lib/*/libresolv.so.2) "$dir"
echo 'hosts: files dns' > "$dir/etc/nsswitch.conf"
tar -C "$dir" -c . | docker import --change 'CMD ["/bin/sleep", "1000000"]' - ` + toolsImage
	out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// tools is a pod to look around from.
func tools(name, node, spec string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "%s", imagePullPolicy: IfNotPresent, command: [/bin/sleep, "1000000"]}]
%s`, name, node, toolsImage, spec)
}

// asker runs programs in pods.
type asker struct {
	t *testing.T
	f *fabric.Fabric
	c *fabric.Control
	// containers are the pods' by name, so that they can be entered without the control plane.
	containers map[string]string
}

func (a asker) in(pod, node string, command ...string) string {
	a.t.Helper()
	if a.containers[pod] == "" {
		a.c.Expect(pod+" runs", "Running", "get", "pod", pod, "-o", "jsonpath={.status.phase}")
		a.containers[pod] = container(a.c, pod)
	}
	script := strings.Join(command, " ") + " 2>&1; true"
	return a.f.Node(node).Docker("exec", a.containers[pod], "/bin/sh", "-c", script)
}

// eventually asks until the answer contains want.
func (a asker) eventually(pod, node, want string, command ...string) {
	a.t.Helper()
	a.f.Eventually(pod+" asks "+strings.Join(command, " "), func() error {
		if got := a.in(pod, node, command...); !strings.Contains(got, want) {
			return fmt.Errorf("got %q, want %q in it", got, want)
		}
		return nil
	})
}

// outsideNames serves mail.office.svc.example.org at a machine beyond the cluster.
func outsideNames(t *testing.T, m *fabric.Machine) string {
	t.Helper()
	var server *dns.Server
	require.NoError(t, m.Within(func() (err error) {
		server, err = dns.Open(dns.Config{Listen: []string{m.Addr.String() + ":53"}, Domain: "example.org"})
		return err
	}))
	require.NoError(t, server.Apply(proxy.Change{Full: true, Services: []*corev1.Service{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "office", Name: "mail"},
		Spec:       corev1.ServiceSpec{ClusterIP: "192.0.2.25", ClusterIPs: []string{"192.0.2.25"}},
	}}}))
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-served) })
	return m.Addr.String()
}

const named = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: b1}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {selector: {app: one}, clusterIP: None, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: post}
spec: {type: ExternalName, externalName: mail.office.svc.example.org}
`

// TestNames asks from real pods for what the cluster's DNS names, on every node, with the control plane and without.
func TestNames(t *testing.T) {
	buildTools(t)
	f := fabric.New(t, fabric.Config{Nodes: []string{"a", "b"}, Images: []string{toolsImage}})
	upstream := outsideNames(t, f.Machine(fabric.Outside))
	c := f.Control()
	c.Up("--cluster-domain", "ship.test")
	token := strings.Fields(c.Wake("token", "create", "--ttl", "10m", "--nodes", "2"))[0]
	start := []string{"--dns-upstream", upstream}
	for _, n := range f.Nodes() {
		n.Agent(append(start, "--server", c.Server(), "--join", token)...)
		c.ExpectReady(n.Name, "True")
	}
	c.Apply(named)
	one := strings.Replace(pod("one", "b", ""), "spec:", "spec:\n  hostname: first\n  subdomain: peers", 1)
	ips := running(t, c, map[string]string{
		"b1": pod("b1", "b", ""), "one": one, "asker": tools("asker", "a", ""), "hosted": tools("hosted", "a", "  hostNetwork: true\n  dnsPolicy: ClusterFirstWithHostNet\n"),
		"own":     tools("own", "a", "  dnsPolicy: None\n  dnsConfig: {nameservers: [192.0.2.1], searches: [example.net], options: [{name: ndots, value: \"2\"}]}\n"),
		"of-node": tools("of-node", "a", "  dnsPolicy: Default\n"), "on-b": tools("on-b", "b", ""),
	})
	web := strings.TrimSpace(c.Kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"))
	a := asker{t: t, f: f, c: c, containers: map[string]string{}}

	for _, from := range []struct{ pod, node string }{{"asker", "a"}, {"hosted", "a"}, {"on-b", "b"}} {
		a.eventually(from.pod, from.node, web, "getent", "ahostsv4", "web")
		a.eventually(from.pod, from.node, ips["one"], "getent", "ahostsv4", "peers.default.svc")
		a.eventually(from.pod, from.node, ips["one"], "getent", "ahostsv4", "first.peers")
		a.eventually(from.pod, from.node, "192.0.2.25", "getent", "ahostsv4", "post")
		a.eventually(from.pod, from.node, "192.0.2.25", "getent", "ahostsv4", "mail.office.svc.example.org")
		a.eventually(from.pod, from.node, "first.peers.default.svc.ship.test", "getent", "hosts", ips["one"])
		a.eventually(from.pod, from.node, "b1", "wget", "-q", "-O", "-", "http://web/")
		require.Empty(t, a.in(from.pod, from.node, "getent", "hosts", "nothing"))
	}
	resolver := a.in("asker", "a", "cat", "/etc/resolv.conf")
	require.Contains(t, resolver, "search default.svc.ship.test svc.ship.test ship.test")
	require.Contains(t, resolver, "ndots:5")
	require.Equal(t, []string{"search", "example.net", "nameserver", "192.0.2.1", "options", "ndots:2"}, strings.Fields(a.in("own", "a", "cat", "/etc/resolv.conf")))
	require.NotContains(t, a.in("of-node", "a", "cat", "/etc/resolv.conf"), "ship.test")

	t.Run("without the control plane", func(t *testing.T) { namesLast(t, a, web, start) })
}

// namesLast starts an agent again while the cluster is away, and lets names change when it is back.
func namesLast(t *testing.T, a asker, web string, start []string) {
	a.t, a.f = t, a.f.In(t)
	node, c := a.f.Node("a"), a.f.Control()
	c.Kill()
	a.eventually("asker", "a", web, "getent", "ahostsv4", "web")
	node.StopAgent()
	require.Empty(t, a.in("asker", "a", "getent", "ahostsv4", "web"), "nobody else answers")
	node.Agent(start...)
	a.eventually("asker", "a", web, "getent", "ahostsv4", "web")
	a.eventually("asker", "a", "192.0.2.25", "getent", "ahostsv4", "post")

	c.Up()
	c.ExpectReady("a", "True")
	c.Kubectl("delete", "service", "web")
	began := time.Now()
	a.f.Eventually("the name is gone", func() error {
		if got := a.in("asker", "a", "getent", "ahostsv4", "web"); got != "" {
			return fmt.Errorf("still %s", got)
		}
		return nil
	})
	t.Logf("gone after %s", time.Since(began).Round(10*time.Millisecond))
}
