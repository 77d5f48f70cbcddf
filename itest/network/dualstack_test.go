package network

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/itest/fabric"
)

// TestBothFamilies has pods and services with addresses of both families, on nodes that themselves have IPv4 only, and asks them from everywhere.
func TestBothFamilies(t *testing.T) {
	f := fabric.New(t, fabric.Config{Nodes: []string{"a", "b"}})
	c := f.Control()
	c.Up("--cluster-cidr", "10.244.0.0/16,fd00:244::/56", "--service-cidr", "10.96.0.0/16,fd00:96::/112")
	c.Join(f.Nodes()...)
	running(t, c, map[string]string{"a1": pod("a1", "a", ""), "b1": pod("b1", "b", "")})
	c.Apply("apiVersion: v1\nkind: Service\nmetadata: {name: b1}\nspec: {selector: {app: b1}, ipFamilyPolicy: RequireDualStack, ports: [{port: 80, targetPort: 8080}]}\n")

	a1 := f.Node("a").ContainerDial(container(c, "a1"))
	addresses := func(what ...string) []string {
		var all []string
		f.Eventually("there is an address of each family", func() error {
			if all = strings.Fields(c.Kubectl(append([]string{"get"}, what...)...)); len(all) != 2 {
				return fmt.Errorf("%v: %v", what, all)
			}
			return nil
		})
		return all
	}
	for i, address := range addresses("service", "b1", "-o", "jsonpath={.spec.clusterIPs[*]}") {
		require.Equal(t, i == 1, strings.Contains(address, ":"), "IPv4 comes first: %s", address)
		answers(t, a1, net.JoinHostPort(address, "80"), "b1", "a pod asks a service whose pod is elsewhere")
		answers(t, f.Node("a").Dial, net.JoinHostPort(address, "80"), "b1", "a node asks a service whose pod is elsewhere")
		answers(t, f.Node("b").Dial, net.JoinHostPort(address, "80"), "b1", "a node asks a service whose pod is its own")
	}
	for _, address := range addresses("pod", "b1", "-o", "jsonpath={.status.podIPs[*].ip}") {
		answers(t, a1, net.JoinHostPort(address, "8080"), "b1", "a pod asks a pod elsewhere")
	}
}
