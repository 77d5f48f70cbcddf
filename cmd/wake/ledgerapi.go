package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wakehq/wake/gateway/ledgerapi"
)

// ledgerPath is where the gateway serves the ledger's own API.
const ledgerPath = "/apis/ledger.wake.dev/v1/"

// event is an event as the ledger's API words it.
type event = ledgerapi.Event

// short leaves the group and the namespace out when they are the ones that people expect.
func short(r ledgerapi.Ref) string {
	s := r.Resource + "/"
	if r.Namespace != "" && r.Namespace != metav1.NamespaceDefault {
		s += r.Namespace + "/"
	}
	return s + r.Name
}

// ledgerClient asks the gateway about the ledger, as the user of the kubeconfig.
type ledgerClient struct {
	base string
	http *http.Client
}

func (l *location) ledgerClient() (*ledgerClient, error) {
	if _, err := l.process(); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", l.kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig %s: %w", l.kubeconfig(), err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig %s: %w", l.kubeconfig(), err)
	}
	return &ledgerClient{base: strings.TrimSuffix(config.Host, "/") + ledgerPath, http: client}, nil
}

// get asks for path and returns the body of a 200 answer; any other becomes the error that its Status states.
func (c *ledgerClient) get(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	u := c.base + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the cluster: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer func() { _ = response.Body.Close() }()
	var status metav1.Status
	body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if json.Unmarshal(body, &status) == nil && status.Message != "" {
		return nil, errors.New(status.Message)
	}
	return nil, fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(body)))
}

// events calls yield with each event of the answer, until yield fails or the answer ends.
func (c *ledgerClient) events(ctx context.Context, path string, query url.Values, yield func(event) error) error {
	body, err := c.get(ctx, path, query)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	decoder := json.NewDecoder(body)
	for {
		var e event
		switch err := decoder.Decode(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading the ledger's answer: %w", err)
		}
		if err := yield(e); err != nil {
			return err
		}
	}
}
