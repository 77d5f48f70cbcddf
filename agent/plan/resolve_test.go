package plan

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/agent/dns/resolv"
)

// TestResolver checks what Docker is told of a pod's resolver.
func TestResolver(t *testing.T) {
	node := Node{ClusterDNS: []string{"10.244.0.1"}, ClusterDomain: "cluster.local", Resolver: resolv.Conf{Nameservers: []string{"192.0.2.53"}, Searches: []string{"example.org"}}}
	cluster := []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org"}
	asks := &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1"}}
	for name, test := range map[string]struct {
		spec                   corev1.PodSpec
		servers, search, needs []string
	}{
		"the cluster's":              {corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst}, []string{"10.244.0.1"}, cluster, []string{"ndots:5"}},
		"with another server":        {corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst, DNSConfig: asks}, []string{"10.244.0.1", "192.0.2.1"}, cluster, []string{"ndots:5"}},
		"on the host":                {corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst, HostNetwork: true}, nil, nil, nil},
		"on the host, told to":       {corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirstWithHostNet, HostNetwork: true}, []string{"10.244.0.1"}, cluster, []string{"ndots:5"}},
		"the node's":                 {corev1.PodSpec{DNSPolicy: corev1.DNSDefault}, nil, nil, nil},
		"the node's, and more":       {corev1.PodSpec{DNSPolicy: corev1.DNSDefault, DNSConfig: asks}, []string{"192.0.2.53", "192.0.2.1"}, []string{"example.org"}, nil},
		"its own, nothing to search": {corev1.PodSpec{DNSPolicy: corev1.DNSNone, DNSConfig: asks}, []string{"192.0.2.1"}, []string{"."}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := sandboxSpec(Input{Node: node, Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: test.spec}}, 0)
			require.Equal(t, test.servers, s.DNS)
			require.Equal(t, test.search, s.DNSSearch)
			require.Equal(t, test.needs, s.DNSOptions)
		})
	}
}

// TestWhoWaitsForTheNetwork has pods of the host's network wait if they ask the name server that is on the other.
func TestWhoWaitsForTheNetwork(t *testing.T) {
	require.True(t, needsNetwork(&corev1.Pod{}))
	require.False(t, needsNetwork(&corev1.Pod{Spec: corev1.PodSpec{HostNetwork: true, DNSPolicy: corev1.DNSClusterFirst}}))
	require.True(t, needsNetwork(&corev1.Pod{Spec: corev1.PodSpec{HostNetwork: true, DNSPolicy: corev1.DNSClusterFirstWithHostNet}}))
}
