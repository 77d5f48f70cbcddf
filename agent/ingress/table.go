package ingress

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"path"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The annotations of an Ingress that are heeded, with the names that ingress-nginx has for them.
const (
	redirectAnnotation = "wake.dev/ssl-redirect" // "false": plain HTTP is served too where there is a certificate
	protocolAnnotation = "wake.dev/backend-protocol"
	nginxRedirect      = "nginx.ingress.kubernetes.io/ssl-redirect"
	nginxProtocol      = "nginx.ingress.kubernetes.io/backend-protocol"
)

// table is where requests go. It never changes once it is finished.
type table struct {
	hosts        map[string]*hostRoutes // wildcards by what follows the first label, with the dot
	anyHost      *hostRoutes
	fallback     *route
	lastResort   *route // a default backend of an Ingress that has rules too
	certificates map[string]*tls.Certificate
}

// hostRoutes are the routes of one host.
type hostRoutes struct {
	exact    map[string]*route
	prefixes []prefixRoute // the longest first
	fallback *route
}

type prefixRoute struct {
	path string // without a slash at its end
	*route
}

// route is where a request goes.
type route struct {
	backend  *backend
	redirect bool // plain HTTP is sent to HTTPS
}

func newTable() *table {
	return &table{hosts: map[string]*hostRoutes{}, anyHost: newHostRoutes(), certificates: map[string]*tls.Certificate{}}
}

func newHostRoutes() *hostRoutes { return &hostRoutes{exact: map[string]*route{}} }

// hostKey is a host as it is looked up: *.example.com as .example.com.
func hostKey(host string) string {
	return strings.TrimPrefix(strings.ToLower(strings.TrimSuffix(host, ".")), "*")
}

// add adds an Ingress; what older ones say stays.
func (t *table) add(i *networkingv1.Ingress, certificate func(secret string) *tls.Certificate, backendOf func(backendKey) *backend) {
	secured := t.secure(i, certificate)
	if annotationOf(i, redirectAnnotation, nginxRedirect) == "false" {
		secured = nil
	}
	protocol := protocolOf(annotationOf(i, protocolAnnotation, nginxProtocol))
	routeTo := func(host string, b *networkingv1.IngressBackend) *route {
		r := &route{redirect: covers(secured, host)}
		if b.Service == nil { // a resource: nobody knows how to serve that
			r.backend = &backend{}
			r.backend.set(&endpoints{why: "the backend is not a service"})
			return r
		}
		r.backend = backendOf(backendKey{types.NamespacedName{Namespace: i.Namespace, Name: b.Service.Name}, b.Service.Port.Number, b.Service.Port.Name, protocol})
		return r
	}
	for n := range i.Spec.Rules {
		rule := &i.Spec.Rules[n]
		routes := t.routesOf(rule.Host)
		if rule.HTTP != nil {
			for p := range rule.HTTP.Paths {
				routes.add(&rule.HTTP.Paths[p], routeTo(rule.Host, &rule.HTTP.Paths[p].Backend))
			}
		}
		if i.Spec.DefaultBackend != nil && rule.Host != "" && routes.fallback == nil {
			routes.fallback = routeTo(rule.Host, i.Spec.DefaultBackend)
		}
	}
	if i.Spec.DefaultBackend == nil {
		return
	}
	to := &t.fallback
	if len(i.Spec.Rules) > 0 {
		to = &t.lastResort
	}
	if *to == nil {
		*to = routeTo("", i.Spec.DefaultBackend)
		(*to).redirect = false
	}
}

func annotationOf(i *networkingv1.Ingress, ours, theirs string) string {
	if value, ok := i.Annotations[ours]; ok {
		return value
	}
	return i.Annotations[theirs]
}

// secure adds an Ingress's certificates, and returns the hosts that they are for.
func (t *table) secure(i *networkingv1.Ingress, certificate func(secret string) *tls.Certificate) (hosts []string) {
	for _, entry := range i.Spec.TLS {
		c := certificate(entry.SecretName)
		if c == nil {
			continue
		}
		names := entry.Hosts
		if len(names) == 0 {
			names = namesIn(c)
		}
		for _, name := range names {
			hosts = append(hosts, hostKey(name))
			if t.certificates[hostKey(name)] == nil {
				t.certificates[hostKey(name)] = c
			}
		}
	}
	return hosts
}

func namesIn(c *tls.Certificate) []string {
	leaf := c.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return nil
		}
	}
	return leaf.DNSNames
}

// covers says that one of the hosts is host, or a wildcard for it.
func covers(hosts []string, host string) bool {
	key := hostKey(host)
	return key != "" && (slices.Contains(hosts, key) || slices.Contains(hosts, wildcardOf(key)))
}

// wildcardOf is the key of the wildcard that a host falls under.
func wildcardOf(host string) string {
	if _, rest, ok := strings.Cut(host, "."); ok {
		return "." + rest
	}
	return "."
}

func (t *table) routesOf(host string) *hostRoutes {
	if host == "" {
		return t.anyHost
	}
	key := hostKey(host)
	if t.hosts[key] == nil {
		t.hosts[key] = newHostRoutes()
	}
	return t.hosts[key]
}

func (h *hostRoutes) add(p *networkingv1.HTTPIngressPath, r *route) {
	if p.PathType != nil && *p.PathType == networkingv1.PathTypeExact {
		if h.exact[p.Path] == nil {
			h.exact[p.Path] = r
		}
		return
	}
	prefix := strings.TrimRight(p.Path, "/")
	if !slices.ContainsFunc(h.prefixes, func(known prefixRoute) bool { return known.path == prefix }) {
		h.prefixes = append(h.prefixes, prefixRoute{prefix, r})
	}
}

// finish puts everything into the order in which it is looked up.
func (t *table) finish() {
	if t.fallback == nil {
		t.fallback = t.lastResort
	}
	for _, h := range t.hosts {
		h.sort()
	}
	t.anyHost.sort()
}

func (h *hostRoutes) sort() {
	slices.SortStableFunc(h.prefixes, func(a, b prefixRoute) int { return len(b.path) - len(a.path) })
}

// match finds where a request goes; nil: nowhere.
func (t *table) match(host, asked string) *route {
	host = hostOf(host)
	clean := path.Clean("/" + asked)
	if strings.HasSuffix(asked, "/") && clean != "/" {
		clean += "/"
	}
	var fallback *route
	for _, h := range []*hostRoutes{t.hosts[host], t.hosts[wildcardOf(host)], t.anyHost} {
		if h == nil {
			continue
		}
		if r := h.match(clean); r != nil {
			return r
		}
		if fallback == nil {
			fallback = h.fallback
		}
	}
	if fallback == nil {
		fallback = t.fallback
	}
	return fallback
}

func (h *hostRoutes) match(path string) *route {
	if r := h.exact[path]; r != nil {
		return r
	}
	for _, p := range h.prefixes {
		if rest, ok := strings.CutPrefix(path, p.path); ok && (rest == "" || rest[0] == '/') {
			return p.route
		}
	}
	return nil
}

// certificate finds the one for a server name; nil: there is none.
func (t *table) certificate(name string) *tls.Certificate {
	key := strings.ToLower(strings.TrimSuffix(name, "."))
	if c := t.certificates[key]; c != nil && key != "" {
		return c
	}
	return t.certificates[wildcardOf(key)]
}

// hostOf is the host that a request is for, without the port.
func hostOf(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
