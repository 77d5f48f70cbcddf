package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// location is a cluster's directory and what lies where in it.
type location struct{ dir string }

// dataDirVariable names the data directory where no flag does.
const dataDirVariable = "WAKE_DATA_DIR"

func defaultDataDir() string {
	if dir := os.Getenv(dataDirVariable); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/lib/wake"
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "wake")
	}
	return "wake-data"
}

func (l *location) kubeconfig() string          { return filepath.Join(l.dir, "kubeconfig") }
func (l *location) pki() string                 { return filepath.Join(l.dir, "pki") }
func (l *location) broker() string              { return filepath.Join(l.dir, "ledger") }
func (l *location) brokerOf(name string) string { return filepath.Join(l.dir, "brokers", name) }
func (l *location) pods() string                { return filepath.Join(l.dir, "pods") }
func (l *location) names() string               { return filepath.Join(l.dir, "dns.state") }
func (l *location) node() string                { return filepath.Join(l.dir, "node") } // of a cluster elsewhere
func (l *location) ingressSocket() string       { return filepath.Join(l.dir, "ingress.sock") }
func (l *location) ingressLog() string          { return filepath.Join(l.dir, "ingress.log") }
func (l *location) checkpointKey() string       { return filepath.Join(l.dir, "pki", "checkpoints.key") }
func (l *location) secretKey() string           { return filepath.Join(l.dir, "pki", "secrets.key") }
func (l *location) identity() string            { return filepath.Join(l.dir, "cluster.json") }
func (l *location) runFile() string             { return filepath.Join(l.dir, "running.json") }
func (l *location) logFile() string             { return filepath.Join(l.dir, "wake.log") }

// archive is where a cluster's archive is.
func (l *location) archive(id identity) string {
	return cmp.Or(id.Archive, filepath.Join(l.dir, "archive"))
}

// trust is where a cluster's notary keeps what it has seen: apart from the data, so that an older copy of those is found out.
func (l *location) trust(id identity) string { return cmp.Or(id.Trust, filepath.Clean(l.dir)+".trust") }

// running is what a cluster's process says of itself in the run file.
type running struct {
	PID     int       `json:"pid"`
	URL     string    `json:"url"`
	Node    string    `json:"node"`
	Started time.Time `json:"started"`
}

// errNotRunning says that no process serves the cluster.
var errNotRunning = errors.New("no cluster is running")

// process returns what runs on this directory, or errNotRunning. The run file of a killed process doesn't count.
func (l *location) process() (running, error) {
	var r running
	data, err := os.ReadFile(l.runFile())
	if errors.Is(err, fs.ErrNotExist) {
		return r, l.notRunning()
	}
	if err != nil {
		return r, fmt.Errorf("reading what runs on %s: %w", l.dir, err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%s is damaged (%w): remove it if no wake runs", l.runFile(), err)
	}
	if syscall.Kill(r.PID, 0) != nil || !isWake(r.PID) {
		return r, l.notRunning()
	}
	return r, nil
}

func (l *location) notRunning() error {
	return fmt.Errorf("%w on %s: start one with \"wake up\"", errNotRunning, l.dir)
}

// isWake guards against a process ID that was given to another program since.
func isWake(pid int) bool {
	own, err := os.Executable()
	if err != nil {
		return true
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	// A process that has ended and that nobody has asked about yet has no command line.
	return err != nil || filepath.Base(firstArg(comm)) == filepath.Base(own)
}

func firstArg(cmdline []byte) string {
	for i, c := range cmdline {
		if c == 0 {
			return string(cmdline[:i])
		}
	}
	return string(cmdline)
}

func (l *location) setProcess(r running) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeFile(l.runFile(), data, 0o644)
}

// writeFile replaces a file whole: after a crash there is the old one or the new one.
func writeFile(name string, data []byte, mode fs.FileMode) error {
	temporary := name + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}
