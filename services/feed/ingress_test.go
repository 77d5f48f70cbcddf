package feed

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/schemas/ingressclass"
)

// ingress makes one of a class, with a Secret.
func ingress(name, class, secret string) *networkingv1.Ingress {
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}}
	i.Spec.IngressClassName = &class
	i.Spec.TLS = []networkingv1.IngressTLS{{SecretName: secret}}
	return i
}

func class(controller string) *networkingv1.IngressClass {
	return &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "wake", UID: "class"}, Spec: networkingv1.IngressClassSpec{Controller: controller}}
}

func ingressName(name string) object { return object{nodewire.Ingresses, "default", name} }

// randomIngress draws something that happens to Ingresses or their class.
func (h *hand) randomIngress(r *rapid.T, what string) []events.Proposal {
	if what == "class" {
		c := class(rapid.SampledFrom([]string{ingressclass.Controller, "another"}).Draw(r, "controller"))
		ref := events.Ref{Group: events.IngressClassesKind.Group, Resource: events.IngressClassesKind.Resource, Name: c.Name}
		if o, ok := h.state.Get(ref); ok {
			return []events.Proposal{events.Alter(o, c, "IngressClassChanged")}
		}
		return []events.Proposal{events.Create(h.state, c, "IngressClassCreated")}
	}
	i := ingress(rapid.SampledFrom([]string{"i1", "i2"}).Draw(r, "name"), rapid.SampledFrom([]string{"wake", "other"}).Draw(r, "class"),
		rapid.SampledFrom([]string{"s1", "s2", "s3"}).Draw(r, "secret"))
	if o, ok := h.state.Get(ingressName(i.Name).ref()); ok {
		return []events.Proposal{events.Alter(o, i, "IngressChanged")}
	}
	return []events.Proposal{events.Create(h.state, i, "IngressCreated")}
}

// TestIngressesAreForNodesThatServe holds who is told of Ingresses and of the Secrets with their certificates.
func TestIngressesAreForNodesThatServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.Context(), t)
		door := func(serves string) {
			n := peer("n1", "")
			n.Labels[events.IngressLabel] = serves
			name := object{resource: nodewire.Nodes, name: "n1"}
			if o, ok := w.view.State().Get(name.ref()); ok {
				w.do(events.Alter(o, n, "NodeChanged"))
				return
			}
			w.create(n)
		}
		door("true")
		w.create(secret("tls"))
		w.create(secret("other"))
		w.create(class(ingressclass.Controller))
		w.create(ingress("ours", "wake", "tls"))
		w.create(ingress("theirs", "nginx", "other"))
		w.attach("n1")
		w.attach("n2")
		all := []string{"ingresses/ours", "nodes/n1", "secrets/tls"}
		require.Equal(t, all, w.knows("n1"))
		require.Empty(t, w.knows("n2"))

		published := w.line.nodes["n1"].published
		i := w.get(ingressName("ours")).Typed().(*networkingv1.Ingress).DeepCopy()
		i.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}}
		w.do(events.Observe(w.get(ingressName("ours")), i, "IngressPublished"))
		require.Equal(t, published, w.line.nodes["n1"].published, "an Ingress's status is for people")

		w.do(events.Alter(w.get(ingressName("ours")), ingress("ours", "wake", "other"), "IngressChanged"))
		require.Equal(t, []string{"ingresses/ours", "nodes/n1", "secrets/other"}, w.knows("n1"))
		door("false")
		require.Equal(t, []string{"nodes/n1"}, w.knows("n1"))
		door("true")
		require.Contains(t, w.knows("n1"), "secrets/other")
		ref := events.Ref{Group: events.IngressClassesKind.Group, Resource: events.IngressClassesKind.Resource, Name: "wake"}
		o, _ := w.view.State().Get(ref)
		w.do(events.Alter(o, class("another"), "IngressClassChanged"))
		require.Equal(t, []string{"nodes/n1"}, w.knows("n1"), "the class is somebody else's now")
	})
}

// TestWhoMaySayThatItServes has a node of the cluster's own process and one that joined claim to serve Ingresses.
func TestWhoMaySayThatItServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.Context(), t)
		w.feed.Registers = func(node string) bool { return node == "own" }
		w.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "joined"}}) // without the agent's label, as a token makes it
		says := func(node, serves string) string {
			r := nodeReport(corev1.ConditionTrue)
			if serves != "" {
				r.Labels[events.IngressLabel] = serves
			}
			require.Empty(t, w.feed.Node(w.ctx, node, r).Error)
			synctest.Wait()
			return w.get(object{resource: nodewire.Nodes, name: node}).Meta().GetLabels()[events.IngressLabel]
		}
		require.Equal(t, "true", says("own", "true"))
		require.Equal(t, "", says("own", ""))
		require.Equal(t, "NodeRolesChanged", w.get(object{resource: nodewire.Nodes, name: "own"}).Facet(events.Desired).Type)
		require.Equal(t, "true", says("own", "true"))
		require.Equal(t, "", says("joined", "true"), "certificates aren't given to whoever asks")
		require.Equal(t, "", says("joined", "true"))
		o := w.get(object{resource: nodewire.Nodes, name: "joined"})
		n := o.Typed().(*corev1.Node).DeepCopy()
		n.Labels[events.IngressLabel] = "true"
		w.do(events.Alter(o, n, "NodeChanged"))
		require.Equal(t, "true", says("joined", ""), "what an administrator said stays")
	})
}
