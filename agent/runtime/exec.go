package runtime

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// execOutputBytes is how much of a command's output is kept.
const execOutputBytes = 10 << 10

// execSettles is how long Docker may take to know the exit code after the output has ended.
const execSettles = 2 * time.Second

// Exec runs a command in a container and returns its exit code and the beginning of its output. When ctx ends first, the command
// goes on without a listener, as Docker can't end it.
func (d *Docker) Exec(ctx context.Context, id string, command []string) (code int, output string, err error) {
	created, err := d.client.ContainerExecCreate(ctx, id, container.ExecOptions{Cmd: command, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return 0, "", cause(err)
	}
	stream, err := d.client.ContainerExecAttach(ctx, created.ID, container.ExecAttachOptions{})
	if err != nil {
		return 0, "", cause(err)
	}
	defer stream.Close()
	stop := context.AfterFunc(ctx, stream.Close)
	defer stop()
	var out bytes.Buffer
	w := &limitedWriter{w: &out, left: execOutputBytes}
	_, copyErr := stdcopy.StdCopy(w, w, stream.Reader)
	if copyErr != nil {
		_, _ = io.Copy(io.Discard, stream.Reader)
	}
	if ctx.Err() != nil {
		if err := d.ping(ctx); err != nil {
			return 0, out.String(), err
		}
		return 0, out.String(), fmt.Errorf("command %q timed out: %w", command, ctx.Err())
	}
	for deadline := time.Now().Add(execSettles); ; {
		state, err := d.client.ContainerExecInspect(ctx, created.ID)
		if err != nil {
			return 0, out.String(), cause(err)
		}
		if !state.Running || time.Now().After(deadline) {
			return state.ExitCode, out.String(), nil
		}
		select {
		case <-ctx.Done():
			return 0, out.String(), ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// pingWithin is how long Docker may take to say that it is there.
const pingWithin = time.Second

// ping asks whether Docker answers at all, though ctx may have ended.
func (d *Docker) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingWithin)
	defer cancel()
	if _, err := d.client.Ping(ctx); err != nil {
		return fmt.Errorf("no answer from Docker: %s", err.Error()) // not that the command took too long
	}
	return nil
}
