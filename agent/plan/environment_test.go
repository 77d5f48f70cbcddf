package plan

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestServiceEnvironment(t *testing.T) {
	service := func(namespace, name string, spec corev1.ServiceSpec) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
	}
	ports := []corev1.ServicePort{{Name: "dns-tcp", Port: 53}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}}
	services := []*corev1.Service{
		service("default", "kubernetes", corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Name: "https", Port: 443}}}),
		service("shop", "both", corev1.ServiceSpec{ClusterIP: "fd00:96::7", ClusterIPs: []string{"fd00:96::7", "10.96.0.7"}, Ports: ports}),
		service("shop", "headless", corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: ports}),
		service("shop", "name", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}),
		service("shop", "pending", corev1.ServiceSpec{Ports: ports}),
	}
	api := map[string]string{
		"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "KUBERNETES_SERVICE_PORT_HTTPS": "443",
		"KUBERNETES_PORT": "tcp://10.96.0.1:443", "KUBERNETES_PORT_443_TCP": "tcp://10.96.0.1:443", "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
		"KUBERNETES_PORT_443_TCP_PORT": "443", "KUBERNETES_PORT_443_TCP_ADDR": "10.96.0.1",
	}
	of := func(links *bool) map[string]string {
		e := env{values: map[string]string{}}
		serviceEnvironment(Input{Pod: &corev1.Pod{Spec: corev1.PodSpec{EnableServiceLinks: links}}, Objects: Objects{Services: services}}, &e)
		return e.values
	}
	no := false
	require.Equal(t, api, of(&no), "the API is found without links, too")

	all := map[string]string{
		"BOTH_SERVICE_HOST": "fd00:96::7", "BOTH_SERVICE_PORT": "53", "BOTH_SERVICE_PORT_DNS_TCP": "53", "BOTH_SERVICE_PORT_DNS": "53",
		"BOTH_PORT": "tcp://[fd00:96::7]:53", "BOTH_PORT_53_TCP": "tcp://[fd00:96::7]:53", "BOTH_PORT_53_TCP_PROTO": "tcp", "BOTH_PORT_53_TCP_PORT": "53",
		"BOTH_PORT_53_TCP_ADDR": "fd00:96::7", "BOTH_PORT_53_UDP": "udp://[fd00:96::7]:53", "BOTH_PORT_53_UDP_PROTO": "udp", "BOTH_PORT_53_UDP_PORT": "53",
		"BOTH_PORT_53_UDP_ADDR": "fd00:96::7",
	}
	for name, value := range api {
		all[name] = value
	}
	require.Equal(t, all, of(nil))
}
