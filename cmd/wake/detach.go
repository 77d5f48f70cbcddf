package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// readyWithin is how long a detached cluster may take to be ready: a long ledger takes a while to load.
const readyWithin = 2 * time.Minute

// detach starts this program again in a session of its own and waits until it is ready or has failed.
func detach(cmd *cobra.Command, place *location) error {
	if r, err := place.process(); err == nil {
		return fmt.Errorf("a cluster runs on %s already (process %d, %s): wake status shows it, wake down stops it", place.dir, r.PID, r.URL)
	}
	if err := os.MkdirAll(place.dir, 0o700); err != nil {
		return fmt.Errorf("the data directory: %w", err)
	}
	log, err := os.OpenFile(place.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("the log of the cluster: %w", err)
	}
	defer func() { _ = log.Close() }()
	before, err := log.Seek(0, 2)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(arg string) bool { return arg == "-d" || strings.HasPrefix(arg, "--detach") })
	child := exec.Command(self, args...)
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = child.Wait() // its last words say more than its exit code
	}()
	deadline := time.After(readyWithin)
	for {
		select {
		case <-ended:
			return fmt.Errorf("the cluster did not start: %s", lastWords(place, before))
		case <-deadline:
			return fmt.Errorf("the cluster is not ready after %s; it goes on starting, see %s", readyWithin, place.logFile())
		case <-cmd.Context().Done():
			return errors.Join(cmd.Context().Err(), child.Process.Signal(syscall.SIGTERM))
		case <-time.After(20 * time.Millisecond):
		}
		if r, err := place.process(); err == nil && r.PID == child.Process.Pid {
			cmd.Printf("Wake is up at %s (process %d); node %s, data in %s\n", r.URL, r.PID, r.Node, place.dir)
			cmd.Printf("  export KUBECONFIG=%s     or: wake kubectl get nodes\n", place.kubeconfig())
			return nil
		}
	}
}

// lastWords returns the error that a cluster ended with.
func lastWords(place *location, from int64) string {
	text, err := os.ReadFile(place.logFile())
	if err != nil {
		return "see " + place.logFile()
	}
	lines := bytes.Split(bytes.TrimSpace(text[min(from, int64(len(text))):]), []byte("\n"))
	return strings.TrimPrefix(string(lines[len(lines)-1]), "wake: ")
}
