package fabric

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// demoImage is the image that every node has.
const demoImage = "wake.dev/demo:1"

func (m *Machine) dockerHost() string { return "unix://" + filepath.Join(m.dir(), "docker.sock") }

// startDocker starts the machine's dockerd and waits until it answers.
func (m *Machine) startDocker() error {
	args := slices.Concat([]string{"--data-root", filepath.Join(m.dir(), "docker"), "--host", m.dockerHost(), "--bip", fmt.Sprintf("172.30.%d.1/24", m.index),
		"--cgroup-parent", m.group(), "--live-restore", "--log-level", "warn"}, m.f.config.Dockerd)
	p, err := m.Start("dockerd", "dockerd", args...)
	if err != nil {
		return err
	}
	m.f.keep(m, p)
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	for {
		_, err := m.docker(ctx, "version", "--format", "{{.Server.Version}}")
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			said, _ := os.ReadFile(m.log("dockerd"))
			return fmt.Errorf("dockerd of %s ended: %s", m.Name, said[max(0, len(said)-2000):])
		case <-ctx.Done():
			return fmt.Errorf("dockerd of %s doesn't answer: %w", m.Name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// docker calls the machine's dockerd.
func (m *Machine) docker(ctx context.Context, args ...string) (string, error) {
	return call(ctx, "", "docker", append([]string{"--host", m.dockerHost()}, args...)...)
}

// saveImages writes what the nodes load into one file.
func (f *Fabric) saveImages() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	wake, err := binary("wake")
	if err != nil {
		return err
	}
	build := filepath.Join(filepath.Dir(filepath.Dir(wake)), "deploy/demo/build.sh")
	if _, err := call(ctx, "", build); err != nil {
		return err
	}
	f.built.images = filepath.Join(f.dir, "images.tar")
	_, err = call(ctx, "", "docker", append([]string{"save", "--output", f.built.images, demoImage}, f.config.Images...)...)
	return err
}

func (m *Machine) loadImages() error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	_, err := m.docker(ctx, "load", "--quiet", "--input", m.f.built.images)
	return err
}

// group is the control group of the machine's containers.
func (m *Machine) group() string { return filepath.Base(m.f.dir) + "-" + m.Name }

// removeGroups removes the control groups of a fabric that has ended.
func removeGroups(fabric string) {
	tops, _ := filepath.Glob("/sys/fs/cgroup/*/" + fabric + "-*")
	more, _ := filepath.Glob("/sys/fs/cgroup/" + fabric + "-*")
	for _, top := range append(tops, more...) {
		var all []string
		_ = filepath.WalkDir(top, func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		slices.Reverse(all) // what is inside comes first
		for _, path := range all {
			_ = os.Remove(path)
		}
	}
}

var errNoDocker = errors.New("no Docker Engine answers on this machine: go tool task setup")

// dockerAnswers says whether this machine's own Docker Engine does, which images come from.
func dockerAnswers() error {
	if out, err := exec.Command("docker", "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", errNoDocker, out)
	}
	return nil
}
