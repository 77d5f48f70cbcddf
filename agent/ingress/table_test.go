package ingress

import (
	"crypto/tls"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// backendOf names the Service that a request is sent to; empty: none.
func backendOf(f *fold, t *table, host, path string) string {
	r := t.match(host, path)
	if r == nil {
		return ""
	}
	for key, b := range f.backends {
		if b == r.backend {
			return key.service.Name
		}
	}
	return "unknown"
}

func TestMatching(t *testing.T) {
	rule := func(host string, paths ...string) string {
		var b strings.Builder
		b.WriteString("- host: \"" + host + "\"\n  http:\n    paths:\n")
		for _, p := range paths {
			words := strings.Fields(p)
			b.WriteString("    - {path: " + words[1] + ", pathType: " + words[0] + ", backend: {service: {name: " + words[2] + ", port: {name: web}}}}\n")
		}
		return b.String()
	}
	f := newFold(slog.New(slog.DiscardHandler))
	f.apply(Change{Full: true})
	for _, i := range []string{
		"rules:\n" + rule("shop.example.com", "Prefix / root", "Exact /cart cart-exact", "Prefix /cart cart", "Prefix /cart/items/ items", "ImplementationSpecific /odd odd"),
		"rules:\n" + rule("*.example.com", "Prefix / wild", "Prefix /only wild-only"),
		"rules:\n" + rule("bare.example.org", "Exact /here here") + "defaultBackend: {service: {name: bare-rest, port: {number: 80}}}",
		"rules:\n" + rule("", "Prefix /anywhere anywhere"),
		"rules:\n" + rule("noslash.example.org", "Prefix /a a"),
	} {
		f.apply(Change{Objects: objects(t, ingress(t, "i"+i[:40], i))})
	}
	table := f.table()
	for _, test := range []struct{ host, path, want string }{
		{"shop.example.com", "/", "root"}, {"shop.example.com:8080", "/x", "root"}, {"SHOP.example.com.", "/x", "root"},
		{"shop.example.com", "/cart", "cart-exact"}, {"shop.example.com", "/cart/", "cart"}, {"shop.example.com", "/cart/x", "cart"},
		{"shop.example.com", "/cartoon", "root"}, {"shop.example.com", "/cart/items", "items"}, {"shop.example.com", "/cart/items/7", "items"},
		{"shop.example.com", "/cart/itemsold", "cart"}, {"shop.example.com", "/odd/one", "odd"}, {"shop.example.com", "/cart/../x", "root"},
		{"shop.example.com", "//cart", "cart-exact"}, {"shop.example.com", "/Cart", "root"},
		{"a.example.com", "/", "wild"}, {"a.example.com", "/only", "wild-only"}, {"a.b.example.com", "/", "bare-rest"}, {"example.com", "/", "bare-rest"},
		{"bare.example.org", "/here", "here"}, {"bare.example.org", "/there", "bare-rest"}, {"bare.example.org", "/here/", "bare-rest"},
		{"bare.example.org", "/anywhere", "anywhere"}, {"other.example.net", "/anywhere/x", "anywhere"}, {"noslash.example.org", "/a", "a"}, {"noslash.example.org", "/a/", "a"},
		{"noslash.example.org", "/ab", "bare-rest"}, {"", "/", "bare-rest"}, {"[2001:db8::1]:80", "/anywhere", "anywhere"},
	} {
		require.Equal(t, test.want, backendOf(f, table, test.host, test.path), "%s%s", test.host, test.path)
	}
}

// TestOlderIngressWins holds who has what two Ingresses say, in whatever order they were learned.
func TestOlderIngressWins(t *testing.T) {
	one := func(service string) string {
		return "rules: [{host: a.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: " + service + ", port: {number: 80}}}}]}}]"
	}
	only := func(service string) string {
		return "defaultBackend: {service: {name: " + service + ", port: {number: 80}}}"
	}
	old, young := ingress(t, "z", one("old"), time.Hour), ingress(t, "a", one("young"), time.Minute)
	first, second := ingress(t, "y", only("first"), time.Hour), ingress(t, "b", only("second"), time.Minute)
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}} {
		f := newFold(slog.New(slog.DiscardHandler))
		all := objects(t, old, young, first, second)
		for _, n := range order {
			f.apply(Change{Objects: all[n : n+1]})
		}
		table := f.table()
		require.Equal(t, "old", backendOf(f, table, "a.example.com", "/"))
		require.Equal(t, "first", backendOf(f, table, "b.example.com", "/"))
		f.apply(Change{Objects: []nodeObject{gone(all[0])}})
		require.Equal(t, "young", backendOf(f, f.table(), "a.example.com", "/"))
	}
}

// TestCertificates holds which certificate is for which name.
func TestCertificates(t *testing.T) {
	a := newAuthority(t)
	f := newFold(slog.New(slog.DiscardHandler))
	f.apply(Change{Full: true, Objects: objects(t, a.secret("one", "one.example.com"), a.secret("wild", "*.example.com"), a.secret("own", "x.example.org", "y.example.org"),
		ingress(t, "i", "tls: [{hosts: [one.example.com], secretName: one}, {hosts: ['*.example.com'], secretName: wild}, {secretName: own}, {hosts: [z.example.org], secretName: absent}]\n"+
			"defaultBackend: {service: {name: web, port: {number: 80}}}"))})
	table := f.table()
	for name, want := range map[string]string{"one.example.com": "one.example.com", "ONE.example.com.": "one.example.com", "two.example.com": "*.example.com", "a.two.example.com": "",
		"y.example.org": "x.example.org", "z.example.org": "", "": ""} {
		require.Equal(t, want, firstName(table.certificate(name)), "%q", name)
	}
}

func firstName(c *tls.Certificate) string {
	if c == nil {
		return ""
	}
	return namesIn(c)[0]
}
