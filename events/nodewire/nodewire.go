// Package nodewire is the language between the node feed (services/feed) and the node agents (agent): the messages, the
// subjects that carry them, and the connection underneath. It guarantees:
//
//   - A Slice carries the revision it is true at and the revision it follows, so a receiver notices every gap.
//   - Nothing in a message gives a node a say over anything but itself: the node's name is a token of the subject,
//     which the broker's account permissions bind to the node's credentials, and the feed checks the rest.
//   - An answer reaches nobody but the node that asked, whatever reply subject it named.
//   - Message bodies are JSON except for Kubernetes objects, which travel as they lie in the ledger (protobuf).
package nodewire

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Resource names what an Object in a Slice is.
type Resource string

// The resources a node is told of: the pods bound to it, what those pods name, what the service proxy needs, itself, and of the other nodes what the
// pod network needs.
const (
	Pods           Resource = "pods"
	Secrets        Resource = "secrets"
	ConfigMaps     Resource = "configmaps"
	Services       Resource = "services"
	EndpointSlices Resource = "endpointslices"
	Nodes          Resource = "nodes"
	IPAddresses    Resource = "ipaddresses" // those that the node is to announce
	Ingresses      Resource = "ingresses"   // of a node that serves them: all that are Wake's
)

// Object is one Kubernetes object of a Slice: its generated protobuf encoding, status included, without an envelope.
type Object struct {
	Resource  Resource `json:"resource"`
	Namespace string   `json:"namespace,omitempty"`
	Name      string   `json:"name"`
	UID       string   `json:"uid"`
	Revision  uint64   `json:"revision"`       // of the object: its resourceVersion
	Cause     uint64   `json:"cause"`          // the ledger event that this state comes from; reports name it as theirs
	Data      []byte   `json:"data,omitempty"` // nil when Deleted
	Deleted   bool     `json:"deleted,omitempty"`
}

// Slice is a node's part of the cluster at Revision. Full replaces everything the node knew; otherwise Objects are the changes since
// Previous, the Revision of the Slice before, and a receiver that holds another one asks for a full Slice.
type Slice struct {
	Node     string   `json:"node"`
	Epoch    string   `json:"epoch"` // the feed instance; revisions of different epochs don't chain
	Revision uint64   `json:"revision"`
	Previous uint64   `json:"previous,omitempty"`
	Full     bool     `json:"full,omitempty"`
	More     bool     `json:"more,omitempty"` // too large for one message: the rest follows, to be taken together
	Objects  []Object `json:"objects,omitempty"`
}

// PodReport is what a node says of one of its pods. The feed refuses it unless a pod of that UID is bound to the node.
type PodReport struct {
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	UID       string           `json:"uid"`
	Type      string           `json:"type"`  // past tense, what happened: ContainerStarted, ImagePullFailed
	Cause     uint64           `json:"cause"` // Object.Cause of the state acted on
	At        time.Time        `json:"at"`    // the node's clock
	Note      *Note            `json:"note,omitempty"`
	Status    corev1.PodStatus `json:"status"`            // complete
	Removed   bool             `json:"removed,omitempty"` // a terminating pod is gone from the node: the object may go too
}

// Note is the human side of a fact, shown as a Kubernetes Event ("kubectl describe").
type Note struct {
	Reason  string `json:"reason"`            // UpperCamelCase: Pulled, BackOff
	Message string `json:"message"`           // one line
	Warning bool   `json:"warning,omitempty"` // Kubernetes' Event type Warning rather than Normal
}

// NodeReport is a node's word on itself: its labels and status. The first one registers the node.
type NodeReport struct {
	Labels map[string]string `json:"labels,omitempty"`
	Status corev1.NodeStatus `json:"status"`
	At     time.Time         `json:"at"`
}

// Answer is the feed's reply to a report. Error is empty when the report is in the ledger; Gone says that the pod it speaks of
// isn't bound to this node any more, so that saying it again is of no use.
type Answer struct {
	Error    string `json:"error,omitempty"`
	Gone     bool   `json:"gone,omitempty"`
	Revision uint64 `json:"revision,omitempty"`
}

// Beat answers a heartbeat with what the feed has last sent to the node, so that a node that missed it notices.
type Beat struct {
	Epoch    string `json:"epoch"`
	Revision uint64 `json:"revision"`
}

// LogRequest asks a node for a container's log; the answer is a stream of chunks.
type LogRequest struct {
	Namespace string               `json:"namespace"`
	Name      string               `json:"name"`
	UID       string               `json:"uid"`
	Options   corev1.PodLogOptions `json:"options"` // Container is set
}
