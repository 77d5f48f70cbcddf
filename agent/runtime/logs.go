package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	corev1 "k8s.io/api/core/v1"
)

// Logs writes a container's log to w as options ask. With Follow it returns when the container has ended.
func (d *Docker) Logs(ctx context.Context, id string, options *corev1.PodLogOptions, w io.Writer) error {
	ask := container.LogsOptions{
		ShowStdout: true,
		ShowStderr: true,
		Follow:     options.Follow,
		Timestamps: options.Timestamps,
	}
	if options.Stream != nil {
		ask.ShowStdout = *options.Stream != corev1.LogStreamStderr
		ask.ShowStderr = *options.Stream != corev1.LogStreamStdout
	}
	if options.TailLines != nil {
		ask.Tail = strconv.FormatInt(*options.TailLines, 10)
	}
	switch {
	case options.SinceTime != nil:
		ask.Since = options.SinceTime.Format(time.RFC3339Nano)
	case options.SinceSeconds != nil:
		ask.Since = strconv.FormatInt(*options.SinceSeconds, 10) + "s"
	}
	if options.LimitBytes != nil {
		w = &limitedWriter{w: w, left: *options.LimitBytes}
	}
	err := d.copyLogs(ctx, id, ask, w, w)
	if errors.Is(err, errLimit) || ctx.Err() != nil {
		return nil
	}
	return err
}

// copyLogs takes Docker's log stream apart.
func (d *Docker) copyLogs(ctx context.Context, id string, options container.LogsOptions, stdout, stderr io.Writer) error {
	found, err := d.client.ContainerInspect(ctx, id)
	if cerrdefs.IsNotFound(err) {
		return fmt.Errorf("container %s is gone, and its log with it", id)
	}
	if err != nil {
		return fmt.Errorf("inspecting container %s: %w", id, err)
	}
	body, err := d.client.ContainerLogs(ctx, id, options)
	if err != nil {
		return fmt.Errorf("reading the log of container %s: %w", id, err)
	}
	defer func() { _ = body.Close() }()
	if found.Config.Tty {
		_, err = io.Copy(stdout, body)
	} else {
		_, err = stdcopy.StdCopy(stdout, stderr, body)
	}
	return err
}

// errLimit ends a log at its limit.
var errLimit = errors.New("the limit is reached")

// limitedWriter passes on the first bytes and then fails with errLimit.
type limitedWriter struct {
	w    io.Writer
	left int64
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	cut := int64(len(p)) > l.left
	if cut {
		p = p[:l.left]
	}
	n, err := l.w.Write(p)
	l.left -= int64(n)
	if err == nil && cut {
		err = errLimit
	}
	return n, err
}
