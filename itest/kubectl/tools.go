//go:build tools

// Package kubectl pins the stock kubectl that the tests drive Wake with: Kubernetes' own program, built from its own module, at another
// minor version than the libraries that Wake is built with.
package kubectl

import _ "k8s.io/kubernetes/cmd/kubectl"
