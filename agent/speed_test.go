package agent

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkPods starts 30 pods of one container, against raw "docker run -d" of 60 containers, at the same parallelism.
func BenchmarkPods(b *testing.B) {
	const pods, parallel = 30, defaultStarts
	for b.Loop() {
		raw := rawStart(b, 2*pods, parallel)
		own := podStart(b, pods)
		b.ReportMetric(raw.Seconds(), "raw-s")
		b.ReportMetric(own.Seconds(), "pods-s")
		b.ReportMetric(own.Seconds()/raw.Seconds(), "ratio")
	}
}

func rawStart(b *testing.B, containers, parallel int) time.Duration {
	b.Helper()
	prefix := fmt.Sprintf("raw%d", time.Now().UnixNano())
	names := make(chan string)
	var group sync.WaitGroup
	begun := time.Now()
	for range parallel {
		group.Go(func() {
			for name := range names {
				if out, err := exec.Command("docker", "run", "-d", "--name", name, guestImage, "forever").CombinedOutput(); err != nil {
					b.Errorf("docker run: %v: %s", err, out)
				}
			}
		})
	}
	var all []string
	for i := range containers {
		all = append(all, fmt.Sprintf("%s-%d", prefix, i))
		names <- all[i]
	}
	close(names)
	group.Wait()
	took := time.Since(begun)
	out, err := exec.Command("docker", append([]string{"rm", "-f"}, all...)...).CombinedOutput()
	require.NoError(b, err, string(out))
	return took
}

func podStart(b *testing.B, pods int) time.Duration {
	b.Helper()
	cluster := fmt.Sprintf("b%d", time.Now().UnixNano())
	feed := newFakeFeed("n1")
	ctx, cancel := context.WithCancel(context.Background())
	config := Config{NodeName: "n1", Cluster: cluster, Root: b.TempDir(), Feed: feed}
	a, err := New(ctx, config)
	require.NoError(b, err)
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	n := &node{t: nil, feed: feed}
	begun := time.Now()
	for i := range pods {
		feed.put(n.pod(fmt.Sprintf("p%d", i), "forever"))
	}
	for i := range pods {
		wait, stop := context.WithTimeout(ctx, time.Minute)
		_, err := feed.until(wait, fmt.Sprintf("p%d-%d", i, i+1), isReady)
		stop()
		require.NoError(b, err)
	}
	took := time.Since(begun)
	cancel()
	require.NoError(b, <-done)
	_, err = Purge(context.Background(), config)
	require.NoError(b, err)
	return took
}
