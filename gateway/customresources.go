package gateway

import (
	"net/http"

	"github.com/labstack/echo/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// customResourcesPath is where Kubernetes keeps the definitions of custom resources. kubectl lists them whenever it meets a kind that it
// doesn't know, before it says so. Wake has none yet, and says just that.
const customResourcesPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

func (g *Gateway) customResources(c echo.Context) error {
	return c.JSON(http.StatusOK, metav1.PartialObjectMetadataList{
		TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinitionList"},
		ListMeta: metav1.ListMeta{ResourceVersion: "1"},
		Items:    []metav1.PartialObjectMetadata{},
	})
}
