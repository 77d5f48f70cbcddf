package resolv

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

var (
	node    = Parse("# the node's\nnameserver 192.0.2.53\nnameserver 192.0.2.54 ; second\nsearch example.org. corp.example.org\noptions edns0 ndots:2\n")
	cluster = Cluster{Servers: []string{"10.96.0.10"}, Domain: "cluster.local"}
)

func pod(policy corev1.DNSPolicy, change ...func(*corev1.PodSpec)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: corev1.PodSpec{DNSPolicy: policy}}
	for _, c := range change {
		c(&p.Spec)
	}
	return p
}

func TestPolicies(t *testing.T) {
	const (
		ofCluster = "search shop.svc.cluster.local svc.cluster.local cluster.local example.org corp.example.org\nnameserver 10.96.0.10\noptions ndots:5\n"
		ofNode    = "search example.org corp.example.org\nnameserver 192.0.2.53\nnameserver 192.0.2.54\noptions edns0 ndots:2\n"
	)
	host := func(s *corev1.PodSpec) { s.HostNetwork = true }
	ndots := "2"
	own := func(s *corev1.PodSpec) {
		s.DNSConfig = &corev1.PodDNSConfig{
			Nameservers: []string{"10.96.0.10", "203.0.113.1"}, Searches: []string{"my.example.org", "cluster.local"},
			Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &ndots}, {Name: "edns0"}},
		}
	}
	for name, c := range map[string]struct {
		pod     *corev1.Pod
		cluster Cluster
		want    string
	}{
		"cluster first":                          {pod(corev1.DNSClusterFirst), cluster, ofCluster},
		"no policy":                              {pod(""), cluster, ofCluster},
		"cluster first on the host's network":    {pod(corev1.DNSClusterFirst, host), cluster, ofNode},
		"cluster first with the host's network":  {pod(corev1.DNSClusterFirstWithHostNet, host), cluster, ofCluster},
		"default":                                {pod(corev1.DNSDefault), cluster, ofNode},
		"cluster first in a cluster without DNS": {pod(corev1.DNSClusterFirst), Cluster{Domain: "cluster.local"}, ofNode},
		"none":                                   {pod(corev1.DNSNone), cluster, ""},
		"none with a config": {pod(corev1.DNSNone, own), cluster,
			"search my.example.org cluster.local\nnameserver 10.96.0.10\nnameserver 203.0.113.1\noptions ndots:2 edns0\n"},
		"cluster first with a config": {pod(corev1.DNSClusterFirst, own), cluster,
			"search shop.svc.cluster.local svc.cluster.local cluster.local example.org corp.example.org my.example.org\n" +
				"nameserver 10.96.0.10\nnameserver 203.0.113.1\noptions ndots:2 edns0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ForPod(c.pod, node, c.cluster)
			require.Equal(t, c.want, got.String())
			require.Equal(t, got, Parse(got.String()), "a pod reads what was written")
		})
	}
}

func TestLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.IntRange(1, 300), 0, 60).Draw(t, "lengths")
		config := &corev1.PodDNSConfig{}
		for i, n := range names {
			config.Nameservers = append(config.Nameservers, fmt.Sprintf("192.0.2.%d", i%7))
			config.Searches = append(config.Searches, strings.Repeat("x", n))
		}
		got := ForPod(pod(corev1.DNSClusterFirst, func(s *corev1.PodSpec) { s.DNSConfig = config }), node, cluster)
		require.LessOrEqual(t, len(got.Nameservers), MaxNameservers)
		require.LessOrEqual(t, len(got.Searches), MaxSearches)
		require.LessOrEqual(t, len(strings.Join(got.Searches, " ")), MaxSearchChars)
		require.Equal(t, []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"}, got.Searches[:3], "the cluster's come first")
		require.Equal(t, "10.96.0.10", got.Nameservers[0])
		require.Len(t, node.Searches, 2, "the node's own list is left alone")
	})
}
