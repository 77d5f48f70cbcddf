package main

import (
	"bytes"
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
	if _, err := l.serving(); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", l.credentials())
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig %s: %w", l.credentials(), err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig %s: %w", l.credentials(), err)
	}
	return &ledgerClient{base: strings.TrimSuffix(config.Host, "/") + ledgerPath, http: client}, nil
}

// get asks for path and returns the body of a 200 answer; any other becomes the error that its Status states.
func (c *ledgerClient) get(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	response, err := c.ask(ctx, path, query)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// ask is get with the answer's headers.
func (c *ledgerClient) ask(ctx context.Context, path string, query url.Values) (*http.Response, error) {
	return c.do(ctx, http.MethodGet, path, query, nil)
}

// do makes a request, with content as its JSON body unless that is nil, and returns a 200 answer.
func (c *ledgerClient) do(ctx context.Context, method, path string, query url.Values, content any) (*http.Response, error) {
	u := c.base + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	var sent io.Reader
	if content != nil {
		data, err := json.Marshal(content)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, u, sent)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the cluster: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err := refusal(body); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(body)))
}

// refusal returns the error that a Kubernetes Status states; nil if body is none.
func refusal(body []byte) error {
	var status metav1.Status
	if json.Unmarshal(body, &status) != nil || status.Message == "" {
		return nil
	}
	return errors.New(status.Message)
}

// events calls yield with each event of the answer, until yield fails or the answer ends, and returns the answer's trailer.
func (c *ledgerClient) events(ctx context.Context, path string, query url.Values, yield func(event) error) (http.Header, error) {
	return lines(ctx, c, path, query, yield)
}

// lines calls yield with each value of an answer of one value per line, until yield fails or the answer ends, and returns the answer's trailer.
func lines[T any](ctx context.Context, c *ledgerClient, path string, query url.Values, yield func(T) error) (http.Header, error) {
	response, err := c.ask(ctx, path, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	decoder := json.NewDecoder(response.Body)
	for {
		var value T
		switch err := decoder.Decode(&value); {
		case errors.Is(err, io.EOF):
			return response.Trailer, nil
		case err != nil && ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			return nil, fmt.Errorf("reading the ledger's answer: %w", err)
		}
		if err := yield(value); err != nil {
			return nil, err
		}
	}
}
