package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Target is the container that is asked.
type Target struct {
	IP    string
	Ports []corev1.ContainerPort
	// Exec runs a command in it. An error that is context.DeadlineExceeded says that the command took too long, any other that it could not be run.
	Exec func(ctx context.Context, command []string) (code int, output string, err error)
}

// ErrUnasked is of a container that could not be asked, which says nothing of it.
var ErrUnasked = errors.New("the container could not be asked")

const (
	defaultPeriod  = 10 * time.Second
	defaultTimeout = time.Second
	bodyBytes      = 10 << 10
)

// transport keeps no connection and trusts every certificate.
var transport = &http.Transport{
	TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // a probe asks whether somebody answers, not who
	DisableKeepAlives: true,
}

// Watch probes target until ctx ends: first after the initial delay since started, then every period. It calls verdict each time that
// a threshold is reached, and failed for each failure.
func Watch(ctx context.Context, spec *corev1.Probe, started time.Time, target Target, verdict func(success bool, message string), failed func(message string)) {
	period := cmp.Or(time.Duration(spec.PeriodSeconds)*time.Second, defaultPeriod)
	delay := time.Until(started.Add(time.Duration(spec.InitialDelaySeconds) * time.Second))
	timer := time.NewTimer(max(delay, 0))
	defer timer.Stop()
	var last *bool
	run := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(period)
		err := once(ctx, spec, target)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, ErrUnasked) {
			continue
		}
		success, message := err == nil, ""
		if err != nil {
			message = err.Error()
			failed(message)
		}
		if last != nil && *last == success {
			run++
		} else {
			last, run = &success, 1
		}
		threshold := max(spec.SuccessThreshold, 1)
		if !success {
			threshold = cmp.Or(spec.FailureThreshold, 3)
		}
		if run == int(threshold) {
			verdict(success, message)
		}
	}
}

// once probes once, within the probe's timeout.
func once(ctx context.Context, spec *corev1.Probe, target Target) error {
	timeout := cmp.Or(time.Duration(spec.TimeoutSeconds)*time.Second, defaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case spec.Exec != nil:
		return Exec(ctx, spec.Exec.Command, target)
	case spec.HTTPGet != nil:
		return Get(ctx, spec.HTTPGet, target)
	case spec.TCPSocket != nil:
		return dial(ctx, spec.TCPSocket, target)
	case spec.GRPC != nil:
		return health(ctx, spec.GRPC, target)
	}
	return nil
}

// Exec runs a command in the container; any exit code but 0 is an error, ErrUnasked if the command could not be run.
func Exec(ctx context.Context, command []string, target Target) error {
	code, output, err := target.Exec(ctx, command)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("command timed out: %q", strings.Join(command, " "))
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnasked, err)
	case code != 0:
		return errors.New(cmp.Or(strings.TrimSpace(output), fmt.Sprintf("command %q exited with code %d", strings.Join(command, " "), code)))
	}
	return nil
}

// Get asks over HTTP; any status from 200 to 399 is a success.
func Get(ctx context.Context, get *corev1.HTTPGetAction, target Target) error {
	port, err := portOf(get.Port, target)
	if err != nil {
		return err
	}
	address := net.JoinHostPort(cmp.Or(get.Host, target.IP), port)
	where, err := url.Parse(get.Path)
	if err != nil {
		where = &url.URL{Path: get.Path}
	}
	where.Scheme, where.Host = strings.ToLower(cmp.Or(string(get.Scheme), "http")), address
	if !strings.HasPrefix(where.Path, "/") {
		where.Path = "/" + where.Path
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "wake-probe")
	request.Header.Set("Accept", "*/*")
	for _, h := range get.HTTPHeaders {
		if strings.EqualFold(h.Name, "Host") {
			request.Host = h.Value
		}
		request.Header.Add(h.Name, h.Value)
	}
	client := http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if next.URL.Hostname() != where.Hostname() || len(via) >= 10 {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.CopyN(io.Discard, response.Body, bodyBytes)
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", response.StatusCode)
	}
	return nil
}

// dial asks whether the port accepts connections.
func dial(ctx context.Context, s *corev1.TCPSocketAction, target Target) error {
	port, err := portOf(s.Port, target)
	if err != nil {
		return err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(cmp.Or(s.Host, target.IP), port))
	if err != nil {
		return err
	}
	return conn.Close()
}

// portOf is a port by its number or by its name in the container's spec.
func portOf(p intstr.IntOrString, target Target) (string, error) {
	if p.Type == intstr.Int {
		return strconv.Itoa(int(p.IntVal)), nil
	}
	for _, port := range target.Ports {
		if port.Name == p.StrVal {
			return strconv.Itoa(int(port.ContainerPort)), nil
		}
	}
	if _, err := strconv.Atoi(p.StrVal); err == nil {
		return p.StrVal, nil
	}
	return "", fmt.Errorf("the container has no port named %q", p.StrVal)
}
