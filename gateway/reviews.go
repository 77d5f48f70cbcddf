package gateway

import (
	"net/http"

	"github.com/labstack/echo/v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// whyAllowed is the reason that reviews give.
const whyAllowed = "every authenticated user may do everything: access control is not enforced"

// reviewRoutes serves the questions "who am I" and "may I". They are answered, never stored.
func (g *Gateway) reviewRoutes(e *echo.Echo) {
	authentication, authorization := authenticationv1.SchemeGroupVersion, authorizationv1.SchemeGroupVersion
	for path, kind := range map[string]schema.GroupVersionKind{
		"/apis/authentication.k8s.io/v1/selfsubjectreviews":                             authentication.WithKind("SelfSubjectReview"),
		"/apis/authentication.k8s.io/v1/tokenreviews":                                   authentication.WithKind("TokenReview"),
		"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":                        authorization.WithKind("SelfSubjectAccessReview"),
		"/apis/authorization.k8s.io/v1/selfsubjectrulesreviews":                         authorization.WithKind("SelfSubjectRulesReview"),
		"/apis/authorization.k8s.io/v1/subjectaccessreviews":                            authorization.WithKind("SubjectAccessReview"),
		"/apis/authorization.k8s.io/v1/namespaces/:namespace/localsubjectaccessreviews": authorization.WithKind("LocalSubjectAccessReview"),
	} {
		e.POST(path, func(c echo.Context) error { return g.review(c, kind) })
	}
}

func (g *Gateway) review(c echo.Context, gvk schema.GroupVersionKind) error {
	r := &request{Context: c, query: c.Request().URL.Query(), user: userFrom(c.Request().Context())}
	var err error
	if r.format, err = negotiate(c.Request(), false); err != nil {
		return err
	}
	obj, err := g.decodeAs(r, gvk)
	if err != nil {
		return err
	}
	judge(r.user, obj)
	return g.answerPlain(r, http.StatusCreated, obj)
}

// judge fills in a review's answer.
func judge(u user, obj runtime.Object) {
	allowed := authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: whyAllowed}
	switch review := obj.(type) {
	case *authenticationv1.SelfSubjectReview:
		review.CreationTimestamp = metav1.Now()
		review.Status.UserInfo = authenticationv1.UserInfo{Username: u.name, Groups: u.groups}
	case *authenticationv1.TokenReview:
		review.Status = authenticationv1.TokenReviewStatus{Error: "tokens are not known here: clients authenticate with certificates"}
	case *authorizationv1.SelfSubjectAccessReview:
		review.Status = allowed
	case *authorizationv1.SubjectAccessReview:
		review.Status = allowed
	case *authorizationv1.LocalSubjectAccessReview:
		review.Status = allowed
	case *authorizationv1.SelfSubjectRulesReview:
		all := []string{"*"}
		review.Status = authorizationv1.SubjectRulesReviewStatus{
			ResourceRules:    []authorizationv1.ResourceRule{{Verbs: all, APIGroups: all, Resources: all}},
			NonResourceRules: []authorizationv1.NonResourceRule{{Verbs: all, NonResourceURLs: all}},
		}
	}
}
