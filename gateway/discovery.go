package gateway

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/labstack/echo/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

const (
	aggregatedJSON = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	openAPIV2Proto = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	openAPIV3Proto = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

// discoveryRoutes says what is served.
func (g *Gateway) discoveryRoutes(e *echo.Echo) {
	e.GET("/api", func(c echo.Context) error { return g.discover(c, true) })
	e.GET("/apis", func(c echo.Context) error { return g.discover(c, false) })
	e.GET("/api/v1", func(c echo.Context) error { return g.resources(c, schema.GroupVersion{Version: "v1"}) })
	e.GET("/apis/:group", g.group)
	e.GET("/apis/:group/:version", func(c echo.Context) error {
		return g.resources(c, schema.GroupVersion{Group: c.Param("group"), Version: c.Param("version")})
	})
	e.GET("/openapi/v2", g.openAPIV2)
	e.GET("/openapi/v3", g.openAPIV3Index)
	e.GET("/openapi/v3/*", g.openAPIV3)
	e.GET(customResourcesPath, g.customResources)
	g.reviewRoutes(e)
}

// discover answers with all groups, and with their resources too when the client understands that.
func (g *Gateway) discover(c echo.Context, core bool) error {
	if strings.Contains(strings.ReplaceAll(c.Request().Header.Get("Accept"), " ", ""), "v=v2;as=APIGroupDiscoveryList") {
		content, err := g.encode(g.config.Registry.AggregatedDiscovery(core), format{})
		if err != nil {
			return err
		}
		c.Response().Header().Set("Vary", "Accept")
		return c.Blob(http.StatusOK, aggregatedJSON, content)
	}
	if !core {
		return g.describe(c, g.config.Registry.APIGroups())
	}
	versions := &metav1.APIVersions{Versions: []string{"v1"},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: c.Request().Host}}}
	versions.Kind = "APIVersions"
	return g.describe(c, versions)
}

func (g *Gateway) group(c echo.Context) error {
	group, ok := g.config.Registry.APIGroup(c.Param("group"))
	if !ok {
		return errNoSuchPath()
	}
	return g.describe(c, group)
}

func (g *Gateway) resources(c echo.Context, gv schema.GroupVersion) error {
	list, ok := g.config.Registry.APIResources(gv)
	if !ok {
		return errNoSuchPath()
	}
	return g.describe(c, list)
}

func (g *Gateway) describe(c echo.Context, obj apiruntime.Object) error {
	f, err := negotiate(c.Request(), false)
	if err != nil || f.shape != whole {
		f = format{}
	}
	content, err := g.encode(obj, f)
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, f.contentType(), content)
}

func (g *Gateway) openAPIV2(c echo.Context) error {
	protobuf := strings.Contains(c.Request().Header.Get("Accept"), "proto-openapi.spec.v2")
	content, err := g.config.Registry.OpenAPIV2(protobuf)
	if err != nil {
		return err
	}
	if protobuf {
		return c.Blob(http.StatusOK, openAPIV2Proto, content)
	}
	return c.Blob(http.StatusOK, mediaTypes[jsonEncoding], content)
}

func (g *Gateway) openAPIV3Index(c echo.Context) error {
	return c.JSON(http.StatusOK, g.config.Registry.OpenAPIV3Index())
}

// openAPIV3 answers with a group's document. One that is asked for by its hash never changes, so that clients may keep it.
func (g *Gateway) openAPIV3(c echo.Context) error {
	parts := strings.Split(c.Param("*"), "/")
	var gv schema.GroupVersion
	switch {
	case len(parts) == 2 && parts[0] == "api":
		gv.Version = parts[1]
	case len(parts) == 3 && parts[0] == "apis":
		gv.Group, gv.Version = parts[1], parts[2]
	}
	protobuf := strings.Contains(c.Request().Header.Get("Accept"), "proto-openapi.spec.v3")
	content, err := g.config.Registry.OpenAPIV3(gv, protobuf)
	if err != nil {
		return err
	}
	if content == nil {
		return errNoSuchPath()
	}
	if hash := c.QueryParam("hash"); hash != "" {
		c.Response().Header().Set("Cache-Control", "public, immutable, max-age=31536000")
		c.Response().Header().Set("ETag", fmt.Sprintf("%q", hash))
	}
	if protobuf {
		return c.Blob(http.StatusOK, openAPIV3Proto, content)
	}
	return c.Blob(http.StatusOK, mediaTypes[jsonEncoding], content)
}

// kubernetesMinor is the minor version of Kubernetes whose API this is: that of its libraries, v0.36.3 or v1.36.3.
func kubernetesMinor() (minor, patch string) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if parts := strings.Split(module.Version, "."); module.Path == "k8s.io/kubernetes" && len(parts) == 3 {
				return parts[1], parts[2]
			}
		}
	}
	return "36", "3"
}

func (g *Gateway) version(c echo.Context) error {
	minor, patch := kubernetesMinor()
	return c.JSON(http.StatusOK, version.Info{
		Major: "1", Minor: minor, GitVersion: fmt.Sprintf("v1.%s.%s+wake-%s", minor, patch, g.config.Version),
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	})
}

// health says whether the gateway can do its work: the ledger takes events and the view follows it.
func (g *Gateway) health(c echo.Context) error {
	var reason error
	if g.config.Health != nil {
		reason = g.config.Health()
	}
	if reason == nil {
		reason = g.config.View.Status().Following
	}
	// Being restarted would help with neither, so that liveness doesn't depend on them.
	if reason == nil || c.Path() == "/livez" {
		return c.String(http.StatusOK, "ok")
	}
	return c.String(http.StatusInternalServerError, "the ledger: "+reason.Error())
}
