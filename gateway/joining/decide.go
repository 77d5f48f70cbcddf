package joining

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/gateway/pki"
)

// The types of the events that a join makes.
const (
	TokenUsed  = "JoinTokenUsed"
	NodeJoined = "NodeJoined"
)

// EventTypes is this package's part of the catalogue.
var EventTypes = []events.TypeDoc{
	{Type: TokenUsed, By: "token", Meaning: "a machine showed a join token, and is let in as the node that the token's Secret now names"},
	{Type: NodeJoined, By: "token", Meaning: "a machine became a node by a join token; its certificate is for this Node object alone"},
}

// ErrUnknown says that a token is not one of the cluster's: never, or no longer.
var ErrUnknown = errors.New("the join token is not known: it was mistyped, has expired and been removed, or was revoked; make another with \"wake token create\"")

// RefusedError says why a token that is known does not let a machine in.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

func refuse(format string, args ...any) error { return &RefusedError{fmt.Sprintf(format, args...)} }

// Decision is what comes of a join.
type Decision struct {
	Node      pki.Node
	Proposals []events.Proposal // none if the machine has joined before and asks again
}

// Decide decides whether a machine that shows t may be the node newNode.Name, with a key that has a fingerprint. newNode is what becomes of it if there is
// no such Node yet; its UID must be set. Errors: ErrUnknown, RefusedError.
func Decide(state *events.State, t Token, newNode *corev1.Node, key string, now time.Time) (Decision, error) {
	name := newNode.Name
	kept, ok := state.Get(SecretRef(t.ID))
	if !ok || kept.Meta().GetDeletionTimestamp() != nil {
		return Decision{}, ErrUnknown
	}
	secret, ok := kept.Typed().(*corev1.Secret)
	if !ok {
		return Decision{}, ErrUnknown
	}
	grant, err := ReadGrant(secret)
	if err != nil || !grant.matches(t) {
		return Decision{}, ErrUnknown
	}
	existing, exists := state.Get(nodeRef(name))
	member, joined := grant.Joined[name]
	switch {
	case !now.Before(grant.Expires):
		return Decision{}, refuse("join token %s has expired on %s: make another with \"wake token create\"", t.ID, grant.Expires.Format(time.RFC3339))
	case grant.Node != "" && grant.Node != name:
		return Decision{}, refuse("join token %s is for node %q, not for %q", t.ID, grant.Node, name)
	case joined && member.Key == key && exists && existing.UID() == member.UID && existing.Meta().GetDeletionTimestamp() == nil:
		return Decision{Node: pki.Node{Name: name, UID: member.UID}}, nil
	case joined:
		return Decision{}, refuse("join token %s was used for node %q already, by another machine or before the node was deleted: make another with \"wake token create\"", t.ID, name)
	case len(grant.Joined) >= grant.Nodes:
		return Decision{}, refuse("join token %s lets %d in, and they are: make another with \"wake token create\"", t.ID, grant.Nodes)
	case exists && existing.Meta().GetDeletionTimestamp() != nil:
		return Decision{}, refuse("node %q is being deleted: join when it is gone", name)
	case exists && grant.Node == "":
		return Decision{}, refuse("there is a node %q already: choose another --node-name, or make a token for it with \"wake token create --node %s\"", name, name)
	}
	d := Decision{Node: pki.Node{Name: name, UID: string(newNode.UID)}}
	if exists {
		d.Node.UID = existing.UID()
	} else {
		d.Proposals = append(d.Proposals, events.Create(state, newNode, NodeJoined))
	}
	d.Proposals = append(d.Proposals, events.Alter(kept, with(secret, name, Member{UID: d.Node.UID, Key: key}), TokenUsed, "data"))
	return d, nil
}

// Admitted returns nil as long as the certificates of a node are good, else why they aren't.
func Admitted(state *events.State, n pki.Node) error {
	o, ok := state.Get(nodeRef(n.Name))
	switch {
	case !ok:
		return refuse("node %q was deleted: join again with a new token", n.Name)
	case o.UID() != n.UID:
		return refuse("node %q is another one now: join again with a new token", n.Name)
	}
	return nil
}

func nodeRef(name string) events.Ref { return events.Ref{Resource: "nodes", Name: name} }
