package gateway

import (
	"context"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// open are the paths that anybody may read.
var open = []string{"/healthz", "/livez", "/readyz", "/version"}

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
func authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		u, ok := userOf(r)
		if !ok && !slices.Contains(open, r.URL.Path) {
			return apierrors.NewUnauthorized("Unauthorized: present a client certificate of this cluster's authority (\"wake kubeconfig\" prints the path of a kubeconfig that has one)")
		}
		c.SetRequest(r.WithContext(context.WithValue(r.Context(), userKey{}, u)))
		return next(c)
	}
}

func userOf(r *http.Request) (user, bool) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return user{}, false
	}
	leaf := r.TLS.VerifiedChains[0][0]
	if leaf.Subject.CommonName == "" {
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
