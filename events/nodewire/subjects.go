package nodewire

import (
	"fmt"
	"strings"
	"time"

	"github.com/wakehq/wake/events"
)

// Subjects of a node. <node> is the node's name encoded by Token, so that it is one subject token.
//
//	node.<node>.slice      feed -> node   Slice, published as things change
//	node.<node>.snapshot   node -> feed   request, empty; answered by one Full Slice in one or more messages
//	node.<node>.pod        node -> feed   request, PodReport; answered by Answer
//	node.<node>.status     node -> feed   request, NodeReport; answered by Answer
//	node.<node>.heartbeat  node -> feed   request, empty; answered by Beat
//	node.<node>.logs       gateway -> node  request, LogRequest; answered by chunks of bytes and an empty message with the header Wake-End
const (
	prefix = "node."

	VerbSlice     = "slice"
	VerbSnapshot  = "snapshot"
	VerbPod       = "pod"
	VerbStatus    = "status"
	VerbHeartbeat = "heartbeat"
	VerbLogs      = "logs"
)

// HeartbeatEvery is how often a node says that it lives.
const HeartbeatEvery = 2 * time.Second

// Subject returns the subject of a node's verb.
func Subject(node, verb string) string { return prefix + Token(node) + "." + verb }

// AnyNode returns the subject that matches verb for every node.
func AnyNode(verb string) string { return prefix + "*." + verb }

// Token encodes a node's name as one subject token.
func Token(node string) string { return events.EncodeToken(node) }

// nodeOf returns the node that a subject is about.
func nodeOf(subject string) (string, error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 3 {
		return "", fmt.Errorf("subject %q is not node.<node>.<verb>", subject)
	}
	return events.DecodeToken(tokens[1])
}
