package dns

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/agent/dns/resolv"
)

// TestTheCLibrary asks as the C library of a pod does: with the pod's resolv.conf, in a mount namespace of its own.
func TestTheCLibrary(t *testing.T) {
	for _, tool := range []string{"unshare", "getent"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, for port 53 and a mount")
	}
	address := fmt.Sprintf("127.%d.%d.53", 64+rand.IntN(64), rand.IntN(256)) // hardly one that another test on this machine uses
	a := newAuthority(t)
	s := serve(t, Config{Listen: []string{address + ":53"}, Upstreams: []netip.AddrPort{a.addr}})
	require.Equal(t, "10.96.0.10", said(ask(t, s, "udp", webName, dns.TypeA)))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst}}
	conf := resolv.ForPod(pod, resolv.Conf{Searches: []string{"example.org"}}, resolv.Cluster{Servers: []string{address}, Domain: "cluster.local"})
	file := filepath.Join(t.TempDir(), "resolv.conf")
	require.NoError(t, os.WriteFile(file, []byte(conf.String()), 0o600))

	getent := func(database, name string) []string {
		script := `mount --bind "$1" /etc/resolv.conf && exec getent "$2" "$3"`
		out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", script, "sh", file, database, name).CombinedOutput()
		if err != nil && len(out) == 0 {
			return nil // not found
		}
		require.NoError(t, err, "%s", out)
		return strings.Fields(string(out))
	}
	for name, want := range map[string]string{
		"web": "10.96.0.10", "web.shop": "10.96.0.10", "kubernetes.default": "10.96.0.1", "kubernetes.default.svc": "10.96.0.1",
		"db-0.db": "10.244.0.6", "alias": "10.96.0.10", "mail": "192.0.2.25", "mx": "192.0.2.25", "mx.example.org": "192.0.2.25",
		"10-1-2-3.shop.pod.cluster.local": "10.1.2.3",
	} {
		require.Contains(t, getent("ahostsv4", name), want, name)
	}
	require.Contains(t, getent("ahostsv6", "web"), "fd00:96::10")
	require.Contains(t, getent("hosts", "10.244.1.6"), "db-1.db.shop.svc.cluster.local")
	require.Empty(t, getent("ahostsv4", "nothing"))
}
