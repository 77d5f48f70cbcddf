package behaviour

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/agent/proxy"
)

// service makes a service of TCP port 80 and UDP port 53.
func service(name, clusterIP string, with ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{
			Type:      corev1.ServiceTypeClusterIP,
			ClusterIP: clusterIP, ClusterIPs: []string{clusterIP},
			Ports: []corev1.ServicePort{
				{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80},
				{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53},
			},
		},
	}
	for _, change := range with {
		change(svc)
	}
	return svc
}

// exposed gives a service a node port for each port, and the public address.
func exposed(policy corev1.ServiceExternalTrafficPolicy) func(*corev1.Service) {
	return func(svc *corev1.Service) {
		svc.Spec.Type = corev1.ServiceTypeNodePort
		svc.Spec.ExternalTrafficPolicy = policy
		svc.Spec.ExternalIPs = []string{publicIP}
		svc.Spec.Ports[0].NodePort, svc.Spec.Ports[1].NodePort = 30080, 30053
	}
}

// sticky gives a service client affinity.
func sticky(svc *corev1.Service) {
	svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	timeout := int32(600)
	svc.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &timeout}}
}

// backedBy makes the slice of a service whose endpoints are those pods, each on this node and ready.
func backedBy(service string, pods ...int) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: service + "-1",
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{
			{Name: ptr("http"), Protocol: ptr(corev1.ProtocolTCP), Port: ptr(int32(tcpPort))},
			{Name: ptr("dns"), Protocol: ptr(corev1.ProtocolUDP), Port: ptr(int32(udpPort))},
		},
	}
	for _, i := range pods {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{podIP(i)}, NodeName: ptr(nodeName)})
	}
	return slice
}

// elsewhere moves all endpoints of a slice to another node.
func elsewhere(slice *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	for i := range slice.Endpoints {
		slice.Endpoints[i].NodeName = ptr("node-b")
	}
	return slice
}

func ptr[T any](v T) *T { return &v }

// put is a change that adds or replaces slices.
func put(slices ...*discoveryv1.EndpointSlice) proxy.Change { return proxy.Change{SlicesPut: slices} }
