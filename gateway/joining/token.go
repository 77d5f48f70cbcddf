package joining

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

// Namespace and SecretType are where tokens are kept and what they are, as in Kubernetes.
const (
	Namespace  = metav1.NamespaceSystem
	SecretType = corev1.SecretType("bootstrap.kubernetes.io/token")

	namePrefix = "bootstrap-token-"
)

// The keys of a token's Secret.
const (
	keyID      = "token-id"
	keyHash    = "token-secret-hash"
	keyExpires = "expiration"
	keyNodes   = "max-nodes"
	keyNode    = "node-name"
	keyJoined  = "joined." // followed by the node's name; the value is its UID, a slash and its key's fingerprint
)

const (
	idLetters     = 6
	secretLetters = 26
)

var tokenText = regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{26})\.([0-9a-f]{64})$`)

// Token is what a machine shows to become a node. It is a secret.
type Token struct {
	ID        string
	secret    string
	Authority string // the fingerprint of the cluster's authority
}

// NewToken makes a token for the cluster whose authority has a fingerprint.
func NewToken(authority string) Token {
	return Token{ID: letters(idLetters), secret: letters(secretLetters), Authority: authority}
}

func letters(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(strings.ToLower(rand.Text()))
	}
	return b.String()[:n]
}

// ParseToken understands a token's text. An error doesn't repeat it.
func ParseToken(text string) (Token, error) {
	parts := tokenText.FindStringSubmatch(strings.TrimSpace(text))
	if parts == nil {
		return Token{}, errors.New("this is not a join token: one is made by \"wake token create\" and has three parts with dots between them")
	}
	return Token{ID: parts[1], secret: parts[2], Authority: parts[3]}, nil
}

// Text returns the token as a machine shows it.
func (t Token) Text() string { return t.ID + "." + t.secret + "." + t.Authority }

// String returns what may be shown of the token.
func (t Token) String() string { return t.ID }

// GoString keeps the secret out of %#v.
func (t Token) GoString() string { return t.ID }

func (t Token) hash() string {
	sum := sha256.Sum256([]byte(t.ID + "." + t.secret))
	return hex.EncodeToString(sum[:])
}

// Terms say whom a token lets in.
type Terms struct {
	Expires time.Time
	Nodes   int    // how many
	Node    string // the only name; empty: any that isn't taken
}

// Secret returns what is kept of the token.
func (t Token) Secret(terms Terms) *corev1.Secret {
	data := map[string][]byte{
		keyID: []byte(t.ID), keyHash: []byte(t.hash()), keyExpires: []byte(terms.Expires.UTC().Format(time.RFC3339)), keyNodes: []byte(strconv.Itoa(terms.Nodes)),
	}
	if terms.Node != "" {
		data[keyNode] = []byte(terms.Node)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: SecretName(t.ID)}, Type: SecretType, Data: data}
}

// SecretName returns the name of the Secret that keeps a token.
func SecretName(id string) string { return namePrefix + id }

// SecretRef returns where a token is kept.
func SecretRef(id string) events.Ref {
	return events.Ref{Resource: "secrets", Namespace: Namespace, Name: SecretName(id)}
}

// Grant is what is kept of a token.
type Grant struct {
	Terms
	ID     string
	Joined map[string]Member // by the node's name

	hash string
}

// Member is a node that has joined.
type Member struct{ UID, Key string } // Key is the fingerprint of the key that it joined with

// ReadGrant understands a token's Secret.
func ReadGrant(secret *corev1.Secret) (Grant, error) {
	g := Grant{ID: string(secret.Data[keyID]), hash: string(secret.Data[keyHash]), Joined: map[string]Member{}, Terms: Terms{Node: string(secret.Data[keyNode])}}
	if secret.Type != SecretType || secret.Name != SecretName(g.ID) || g.hash == "" {
		return g, fmt.Errorf("secret %s/%s is not a join token of this cluster", secret.Namespace, secret.Name)
	}
	var err error
	if g.Expires, err = time.Parse(time.RFC3339, string(secret.Data[keyExpires])); err != nil {
		return g, fmt.Errorf("join token %s: its end: %w", g.ID, err)
	}
	if g.Nodes, err = strconv.Atoi(string(secret.Data[keyNodes])); err != nil {
		return g, fmt.Errorf("join token %s: how many it lets in: %w", g.ID, err)
	}
	for key, value := range secret.Data {
		if name, ok := strings.CutPrefix(key, keyJoined); ok {
			uid, fingerprint, _ := strings.Cut(string(value), "/")
			g.Joined[name] = Member{UID: uid, Key: fingerprint}
		}
	}
	return g, nil
}

// matches says that t is the token that g was kept of.
func (g Grant) matches(t Token) bool {
	return subtle.ConstantTimeCompare([]byte(g.hash), []byte(t.hash())) == 1
}

// with returns secret with one more member.
func with(secret *corev1.Secret, name string, m Member) *corev1.Secret {
	out := secret.DeepCopy()
	out.Data[keyJoined+name] = []byte(m.UID + "/" + m.Key)
	return out
}
