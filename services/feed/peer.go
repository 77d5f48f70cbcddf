package feed

import (
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
)

// peerOf is all that other nodes are told of a node: its name, where its pods are, and where it is itself. It is nil for one to whose pods nobody
// can send: without an agent, without a range, or without an address.
func peerOf(o *events.Object) *corev1.Node {
	if o == nil {
		return nil
	}
	node := o.Typed().(*corev1.Node)
	peer := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID}, Spec: corev1.NodeSpec{PodCIDR: node.Spec.PodCIDR, PodCIDRs: node.Spec.PodCIDRs}}
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			peer.Status.Addresses = append(peer.Status.Addresses, address)
		}
	}
	if node.Labels[events.AgentLabel] != "true" || peer.Spec.PodCIDR == "" || len(peer.Status.Addresses) == 0 {
		return nil
	}
	return peer
}

func isPeer(o *events.Object) bool { return peerOf(o) != nil }

// samePeer says that a change is none to other nodes. A node that is lost, cordoned or full is where it was.
func samePeer(before, after *events.Object) bool {
	return reflect.DeepEqual(peerOf(before), peerOf(after))
}

// encodePeer words a node for the others. It has no revision: most of the node's changes aren't told.
func encodePeer(name object, o *events.Object) (nodewire.Object, error) {
	data, err := peerOf(o).Marshal()
	if err != nil {
		return nodewire.Object{}, fmt.Errorf("encoding %s for other nodes: %w", o.Ref, err)
	}
	return nodewire.Object{Resource: name.resource, Name: name.name, UID: o.UID(), Data: data}, nil
}
