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
//	node.<node>.log.*      node -> gateway  those answers
//	inbox.<node>.>         answers to the node
const (
	prefix      = "node."
	inboxPrefix = "inbox."
	// localInbox is where connections within the control plane's own process get their answers. No node may subscribe to it.
	localInbox = "_INBOX."

	VerbSlice     = "slice"
	VerbSnapshot  = "snapshot"
	VerbPod       = "pod"
	VerbStatus    = "status"
	VerbHeartbeat = "heartbeat"
	VerbLogs      = "logs"
	verbLog       = "log"
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

// Inbox returns what the subjects begin with at which a node gets answers.
func Inbox(node string) string { return inboxPrefix + Token(node) + "." }

// Publishes returns the only subjects that a node may publish to.
func Publishes(node string) []string {
	var subjects []string
	for _, verb := range []string{VerbSnapshot, VerbPod, VerbStatus, VerbHeartbeat, verbLog + ".*"} {
		subjects = append(subjects, Subject(node, verb))
	}
	return subjects
}

// Subscribes returns the only subjects that a node may subscribe to.
func Subscribes(node string) []string {
	return []string{Subject(node, VerbSlice), Subject(node, VerbLogs), Inbox(node) + ">"}
}

// answerable says that an answer to a node's request reaches that node at most. It is the node that names the reply subject.
func answerable(node, reply string) bool {
	return strings.HasPrefix(reply, Inbox(node)) || strings.HasPrefix(reply, localInbox)
}
