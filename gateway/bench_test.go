package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// BenchmarkCreate creates pods over the API, from several clients at once; client and gateway share the machine.
func BenchmarkCreate(b *testing.B) {
	c := newCluster(b)
	client := c.speaking(b, runtime.ContentTypeProtobuf)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p := pod("")
			p.GenerateName = "pod-"
			if _, err := client.CoreV1().Pods("default").Create(b.Context(), p, metav1.CreateOptions{}); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkList lists 5,000 pods.
func BenchmarkList(b *testing.B) {
	c := newCluster(b)
	for i := range 5000 {
		c.createPod(b, fmt.Sprint("pod-", i), func(p *corev1.Pod) { p.ManagedFields = nil })
	}
	for _, accept := range []string{"application/json", "application/vnd.kubernetes.protobuf", "application/json;as=Table;v=v1;g=meta.k8s.io"} {
		b.Run(accept, func(b *testing.B) {
			for b.Loop() {
				request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, c.config.Host+"/api/v1/pods", nil)
				require.NoError(b, err)
				request.Header.Set("Accept", accept)
				response, err := c.http.Do(request)
				require.NoError(b, err)
				n, err := io.Copy(io.Discard, response.Body)
				require.NoError(b, err)
				require.NoError(b, response.Body.Close())
				b.SetBytes(n)
			}
		})
	}
}
