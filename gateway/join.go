package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/gateway/joining"
	"github.com/wakehq/wake/gateway/pki"
	"github.com/wakehq/wake/schemas"
)

// nodeLife is how long a node's certificate is valid. Its agent renews it long before.
const nodeLife = 30 * 24 * time.Hour

// Joining is what machines are told that become nodes.
type Joining struct {
	Broker      string        // "host:port" of the nodes' gate; without a host: where the gateway was reached
	Brokers     []string      // where there are several, all of them; else nil
	Servers     []string      // where there are several gateways, all of them: https://host:port; else nil
	Cluster     string        // its ID
	ServiceCIDR string        // addresses of services
	ClusterCIDR string        // addresses of pods, all nodes' together
	Domain      string        // that the cluster's names end in; empty: cluster.local
	Life        time.Duration // of nodes' certificates; 30 days if 0
}

// answerNode issues a certificate for a node that was let in.
func (g *Gateway) answerNode(c echo.Context, request string, node pki.Node) error {
	life := g.config.Joining.Life
	if life == 0 {
		life = nodeLife
	}
	cert, err := g.config.Authority.Node([]byte(request), node, life)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	j := g.config.Joining
	return c.JSON(http.StatusOK, joining.Answer{Certificate: string(cert), Cluster: j.Cluster, Broker: j.Broker, Brokers: j.Brokers, Servers: j.Servers,
		ServiceCIDR: j.ServiceCIDR, ClusterCIDR: j.ClusterCIDR, Domain: j.Domain})
}

func readJoin(c echo.Context) (joining.Request, error) {
	var request joining.Request
	body := http.MaxBytesReader(c.Response(), c.Request().Body, joining.MaxRequestBytes)
	if err := json.NewDecoder(body).Decode(&request); err != nil {
		return request, apierrors.NewBadRequest("the request to join can't be read")
	}
	return request, nil
}

// join makes a machine that shows a token a node.
func (g *Gateway) join(c echo.Context) error {
	request, err := readJoin(c)
	if err != nil {
		return err
	}
	token, err := joining.ParseToken(request.Token)
	if err != nil {
		return apierrors.NewUnauthorized(err.Error())
	}
	key, err := pki.RequestFingerprint([]byte(request.Request))
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	node, err := g.letIn(c, token, request.Node, key)
	var refused *joining.RefusedError
	switch {
	case errors.Is(err, joining.ErrUnknown):
		return apierrors.NewUnauthorized(err.Error())
	case errors.As(err, &refused):
		return errForbidden(refused.Reason)
	case err != nil:
		return err
	}
	g.config.Log.Info("a node joined", "node", node.Name, "token", token.ID)
	return g.answerNode(c, request.Request, node)
}

func errForbidden(reason string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: reason}}
}

// letIn writes the join to the ledger, if it may be.
func (g *Gateway) letIn(c echo.Context, token joining.Token, name, key string) (none pki.Node, err error) {
	ctx := c.Request().Context()
	kind, ok := g.config.Registry.ByStorage("", "nodes")
	if !ok {
		return none, errNoSuchPath()
	}
	for range maxAttempts {
		state, now := g.config.View.State(), time.Now()
		prepared, _, err := kind.PrepareCreate(&schemas.Write{Name: name, Now: now}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if err != nil {
			return none, err
		}
		node, ok := prepared.(*corev1.Node)
		if !ok {
			return none, fmt.Errorf("a node is prepared as a %T", prepared)
		}
		d, err := joining.Decide(state, token, node, key, now)
		if err != nil || len(d.Proposals) == 0 {
			return d.Node, err
		}
		events.Audit{Actor: "token:" + token.ID, Basis: state.Revision(), At: now}.Sign(d.Proposals)
		revision, err := g.config.Ledger.Append(ctx, d.Proposals...)
		if err == nil {
			_, err = g.config.View.WaitFor(ctx, revision)
			return d.Node, err
		}
		if !errors.Is(err, events.ErrConflict) {
			return none, appendFailure(err, &d.Proposals[0].Ref)
		}
		if err := g.catchUp(ctx); err != nil {
			return none, err
		}
	}
	return none, apierrors.NewTooManyRequests("others join with this token at the same time; try again", 1)
}

// renew gives a node another certificate.
func (g *Gateway) renew(c echo.Context) error {
	node, ok := nodeOf(c.Request())
	if !ok {
		return errForbidden("only nodes have certificates renewed here")
	}
	if err := joining.Admitted(g.config.View.State(), node); err != nil {
		return errForbidden(err.Error())
	}
	request, err := readJoin(c)
	if err != nil {
		return err
	}
	return g.answerNode(c, request.Request, node)
}

// nodeOf tells which node makes a request, if one does.
func nodeOf(r *http.Request) (pki.Node, bool) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return pki.Node{}, false
	}
	return pki.NodeOf(r.TLS.VerifiedChains[0][0])
}
