package gateway

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

// continueToken says where a list goes on and at which revision it is. Clients pass it back as it is.
type continueToken struct {
	Revision events.Revision `json:"rv"`
	After    string          `json:"after"` // namespace/name
}

func (t continueToken) encode() string {
	content, err := json.Marshal(t)
	if err != nil {
		panic(err) // a number and a string can be encoded
	}
	return base64.RawURLEncoding.EncodeToString(content)
}

func parseContinue(text string) (continueToken, position, error) {
	var t continueToken
	content, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(content, &t)
	}
	namespace, name, ok := strings.Cut(t.After, "/")
	if err != nil || !ok {
		return t, position{}, apierrors.NewBadRequest("continue key is not valid: pass back the token of the previous answer as it was")
	}
	return t, position{namespace, name}, nil
}

// page is a run of a list.
type page struct {
	meta    metav1.ListMeta
	objects []*events.Object
}

// list answers with the selected objects of a collection, all or as many as the client wants at once.
func (g *Gateway) list(r *request) error {
	s, err := newSelector(r.kind, r.namespace, "", r.query)
	if err != nil {
		return err
	}
	limit, err := parseLimit(r.query.Get("limit"))
	if err != nil {
		return err
	}
	if err := checkMatch(r); err != nil {
		return err
	}
	state, after, err := g.listState(r)
	if err != nil {
		return err
	}
	p := collect(state, s, after, limit)
	if p.meta.Continue != "" {
		g.pinned.hold(state)
	}
	return g.answerList(r, p)
}

func (g *Gateway) listState(r *request) (*events.State, position, error) {
	token := r.query.Get("continue")
	if token == "" {
		state, err := g.state(r)
		return state, position{}, err
	}
	if r.query.Get("resourceVersion") != "" && r.query.Get("resourceVersion") != "0" {
		return nil, position{}, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	t, after, err := parseContinue(token)
	if err != nil {
		return nil, position{}, err
	}
	if err := g.enterContinued(r, t.Revision); err != nil {
		return nil, position{}, err
	}
	state, err := g.exactState(r.Request().Context(), t.Revision)
	return state, after, err
}

// collect takes the first limit objects (0: all) that s selects after a position.
func collect(state *events.State, s *selector, after position, limit int) page {
	p := page{meta: metav1.ListMeta{ResourceVersion: strconv.FormatUint(state.Revision(), 10)}}
	remaining := int64(0)
	for o := range s.candidates(state, after) {
		if !s.matches(o) {
			continue
		}
		if limit == 0 || len(p.objects) < limit {
			p.objects = append(p.objects, o)
			continue
		}
		remaining++
		if !s.all() {
			break // Kubernetes leaves the count out when selectors are used
		}
	}
	if remaining > 0 {
		last := p.objects[len(p.objects)-1].Ref
		p.meta.Continue = continueToken{Revision: state.Revision(), After: last.Namespace + "/" + last.Name}.encode()
		if s.all() {
			p.meta.RemainingItemCount = &remaining
		}
	}
	return p
}

func parseLimit(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 0 {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("limit=%q: must be a number that isn't negative", text))
	}
	return limit, nil
}

// checkMatch refuses combinations of resourceVersion and resourceVersionMatch that mean nothing, in Kubernetes' words.
func checkMatch(r *request) error {
	match := metav1.ResourceVersionMatch(r.query.Get("resourceVersionMatch"))
	version := r.query.Get("resourceVersion")
	reason := ""
	switch {
	case match == "":
		return nil
	case match != metav1.ResourceVersionMatchExact && match != metav1.ResourceVersionMatchNotOlderThan:
		reason = fmt.Sprintf("resourceVersionMatch: Unsupported value: %q: supported values: \"Exact\", \"NotOlderThan\", \"\"", match)
	case r.query.Get("continue") != "":
		reason = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"
	case version == "":
		reason = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
	case match == metav1.ResourceVersionMatchExact && version == "0":
		reason = "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""
	default:
		return nil
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
		Message: "ListOptions.meta.k8s.io \"\" is invalid: " + reason}}
}
