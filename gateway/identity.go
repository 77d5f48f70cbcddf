package gateway

import (
	"context"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wakehq/wake/gateway/joining"
	"github.com/wakehq/wake/gateway/pki"
)

// open are the paths that anybody may ask for. Joining asks for a token.
var open = []string{"/healthz", "/livez", "/readyz", "/version", joining.JoinPath}

// authenticatedGroup is the group that everybody who proved who they are belongs to.
const authenticatedGroup = "system:authenticated"

// user is who makes a request.
type user struct {
	name   string
	groups []string
}

// actor names the user in the ledger.
func (u user) actor() string { return "user:" + u.name }

type userKey struct{}

// authenticate lets requests pass that come with a certificate of the cluster's authority; its common name is the user, its organizations the groups.
// Neither a node nor a process of the control plane is a user.
func authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if isNode(r) && !slices.Contains(open, r.URL.Path) && r.URL.Path != joining.RenewPath {
			return errForbidden("a node's certificate is good for the broker, and to be renewed")
		}
		if r.URL.Path == joining.JoinPath && momentText(r) != "" {
			return errNoSuchPath() // nobody joins the past, nor may a stranger have it looked up
		}
		u, ok := userOf(r)
		if !ok && !slices.Contains(open, r.URL.Path) {
			return apierrors.NewUnauthorized("Unauthorized: present a client certificate of this cluster's authority (\"wake kubeconfig\" prints the path of a kubeconfig that has one)")
		}
		c.SetRequest(r.WithContext(context.WithValue(r.Context(), userKey{}, u)))
		return next(c)
	}
}

func isNode(r *http.Request) bool {
	return r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && pki.IsNode(r.TLS.VerifiedChains[0][0])
}

func userOf(r *http.Request) (user, bool) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return user{}, false
	}
	leaf := r.TLS.VerifiedChains[0][0]
	if leaf.Subject.CommonName == "" || pki.IsControlPlane(leaf) {
		return user{}, false
	}
	groups := slices.Concat(leaf.Subject.Organization, []string{authenticatedGroup})
	return user{name: leaf.Subject.CommonName, groups: groups}, true
}

// userFrom returns who makes the request that ctx belongs to.
func userFrom(ctx context.Context) user {
	u, _ := ctx.Value(userKey{}).(user)
	return u
}
