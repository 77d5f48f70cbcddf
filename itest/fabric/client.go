package fabric

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// DialFunc opens connections, from wherever it is.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Client asks the demo application over and over and counts. It is made for one service; several may run.
type Client struct {
	// Dial opens the connections: a machine's Dial, or a container's (Node.ContainerDial).
	Dial DialFunc
	// Address is where it asks: "host:port".
	Address string
	// Every is the time between requests. 0: 20 ms.
	Every time.Duration
	// Timeout is how long a request may take, connecting included. 0: 1 s.
	Timeout time.Duration
}

// Failure is a request that failed.
type Failure struct {
	// At is when it was begun.
	At  time.Time
	Err error
}

// Tally is what a client has seen.
type Tally struct {
	Total    int
	Failures []Failure
	// Starved counts the requests that timed out while the client itself was stopped, with its machine. They say nothing, and are no failures.
	Starved int
	// Gap is the longest time between two answers that came, and GapAt when it began. It is as long as Client.Every if nothing fails.
	Gap   time.Duration
	GapAt time.Time
	// Slowest is the longest that a request took which was answered.
	Slowest time.Duration
	// By counts the answers of each pod.
	By map[string]int
	// Answered are the times of the answers by pod.
	Answered map[string][]time.Time
}

// String says it as a person would.
func (t Tally) String() string {
	said := fmt.Sprintf("%d failed of %d, longest gap %s", len(t.Failures), t.Total, t.Gap.Round(time.Millisecond))
	if t.Starved > 0 {
		said += fmt.Sprintf(" (%d timed out while the client's own machine stood still)", t.Starved)
	}
	return said
}

// Kinds counts failures by what they said.
func (t Tally) Kinds() string {
	kinds := map[string]int{}
	for _, f := range t.Failures {
		kinds[plain(f.Err)]++
	}
	var all []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		all = append(all, fmt.Sprintf("%d × %s", kinds[kind], kind))
	}
	return strings.Join(all, ", ")
}

// timedOut is what plain makes of all kinds of timeouts.
const timedOut = "timeout"

// plain is an error without what differs from request to request.
func plain(err error) string {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return timedOut
	}
	text := err.Error()
	return text[strings.LastIndex(text, ": ")+1:]
}

// Counting is a client at work.
type Counting struct {
	client Client
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	tally  Tally
	last   time.Time
	stalls []stall
}

// Count begins to ask, each time over a connection of its own, until Stop or the test's end.
func (c Client) Count(t testing.TB) *Counting {
	return c.begin(t, func(ctx context.Context, counting *Counting) {
		tick := time.NewTicker(counting.client.Every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				counting.done.Go(func() {
					at := time.Now()
					pod, err := counting.client.ask(ctx)
					counting.record(ctx, at, pod, err)
				})
			}
		}
	})
}

// Hold begins to ask over one connection, until Stop or the test's end. When that breaks, which counts as a failure, it opens another.
func (c Client) Hold(t testing.TB) *Counting {
	return c.begin(t, func(ctx context.Context, counting *Counting) {
		var conn net.Conn
		defer func() {
			if conn != nil {
				_ = conn.Close()
			}
		}()
		tick := time.NewTicker(counting.client.Every)
		defer tick.Stop()
		for {
			at := time.Now()
			var pod string
			var err error
			if conn == nil {
				conn, err = counting.client.open(ctx)
			}
			if err == nil {
				pod, err = beat(conn, at.Add(counting.client.Timeout))
			}
			counting.record(ctx, at, pod, err)
			if err != nil && conn != nil {
				_ = conn.Close()
				conn = nil
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

func (c Client) begin(t testing.TB, run func(context.Context, *Counting)) *Counting {
	if c.Every == 0 {
		c.Every = 20 * time.Millisecond
	}
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	ctx, stop := context.WithCancel(context.Background())
	counting := &Counting{client: c, stop: stop, tally: Tally{By: map[string]int{}, Answered: map[string][]time.Time{}}}
	counting.done.Go(func() { run(ctx, counting) })
	counting.done.Go(func() { counting.watch(ctx) })
	t.Cleanup(func() { counting.Stop() })
	return counting
}

func (c Client) open(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	return c.Dial(ctx, "tcp", c.Address)
}

// ask asks once, and returns who answered.
func (c Client) ask(ctx context.Context) (pod string, err error) {
	deadline := time.Now().Add(c.Timeout)
	conn, err := c.open(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	return beat(conn, deadline)
}

// beat asks over an open connection.
func beat(conn net.Conn, deadline time.Time) (pod string, err error) {
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: demo\r\n\r\n"); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if err := response.Body.Close(); err != nil {
		return "", err
	}
	_, pod, ok := strings.Cut(strings.TrimSpace(string(body)), " from ")
	if response.StatusCode != http.StatusOK || !ok {
		return "", fmt.Errorf("answered %s: %q", response.Status, body)
	}
	return pod, nil
}

func (c *Counting) record(ctx context.Context, at time.Time, pod string, err error) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && ctx.Err() != nil {
		return // it was Stop that ended it
	}
	c.tally.Total++
	if err != nil {
		c.tally.Failures = append(c.tally.Failures, Failure{At: at, Err: err})
		return
	}
	if gap := now.Sub(c.last); !c.last.IsZero() && gap > c.tally.Gap {
		c.tally.Gap, c.tally.GapAt = gap, c.last
	}
	c.last = now
	c.tally.Slowest = max(c.tally.Slowest, now.Sub(at))
	c.tally.By[pod]++
	c.tally.Answered[pod] = append(c.tally.Answered[pod], now)
}

// SoFar returns what was seen until now.
func (c *Counting) SoFar() Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.telling()
	t.By = maps.Clone(t.By)
	t.Answered = maps.Clone(t.Answered)
	if gap := time.Since(c.last); !c.last.IsZero() && gap > t.Gap {
		t.Gap, t.GapAt = gap, c.last // the one that is still open
	}
	return t
}

// Stop ends the asking and returns what was seen.
func (c *Counting) Stop() Tally {
	c.stop()
	end := time.Now()
	c.done.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.telling()
	if gap := end.Sub(c.last); !c.last.IsZero() && gap > t.Gap {
		t.Gap, t.GapAt = gap, c.last
	}
	return t
}
