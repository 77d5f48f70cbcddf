package vm

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// build writes the initramfs for a job.
func (m Machine) build(to string, job Job) error {
	for _, part := range []string{"vmlinuz", "modules", "busybox"} {
		if _, err := os.Stat(filepath.Join(m.Parts, part)); err != nil {
			return fmt.Errorf("%w (deploy/vm.sh downloads the parts)", err)
		}
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	a := newArchive(f)
	return errors.Join(m.fill(a, job), a.close(), f.Close())
}

func (m Machine) fill(a *archive, job Job) error {
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "run", "etc", "job", "var/tmp"} {
		if err := a.mkdir(dir); err != nil {
			return err
		}
	}
	mods, err := readModules(filepath.Join(m.Parts, "modules"))
	if err != nil {
		return err
	}
	files, err := mods.order(m.Modules...)
	if err != nil {
		return err
	}
	loads := make([]string, len(files))
	for i, file := range files {
		loads[i] = filepath.Base(file)
		if err := a.file("modules/"+loads[i], file); err != nil {
			return err
		}
	}
	err = errors.Join(
		a.file("bin/busybox", filepath.Join(m.Parts, "busybox")),
		a.file("program/"+filepath.Base(job.Program), job.Program),
		a.text("init", script(loads, job), 0o755))
	for name, source := range job.Files {
		err = errors.Join(err, a.tree("job/"+name, source))
	}
	return errors.Join(err, a.programs(m.Programs))
}

// tree adds a file or a directory with what is below it.
func (a *archive) tree(name, source string) error {
	return filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		below, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		return a.file(filepath.Join(name, below), path)
	})
}

// library finds the absolute paths in what ldd writes.
var library = regexp.MustCompile(`(/\S+) \(0x`)

// programs adds programs of this machine at /bin and their libraries where the loader looks for them.
func (a *archive) programs(names []string) error {
	added := map[string]bool{}
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			return fmt.Errorf("a program for the virtual machine: %w", err)
		}
		if err := a.file("bin/"+filepath.Base(name), path); err != nil {
			return err
		}
		said, err := exec.Command("ldd", path).CombinedOutput()
		if err != nil && !bytes.Contains(said, []byte("not a dynamic executable")) {
			return fmt.Errorf("the libraries of %s: %w: %s", path, err, bytes.TrimSpace(said))
		}
		for _, found := range library.FindAllStringSubmatch(string(said), -1) {
			if file := found[1]; !added[file] {
				added[file] = true
				if err := a.file(strings.TrimPrefix(file, "/"), file); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// script is the first process: it loads the modules, does the job on the second serial line and powers off.
func script(modules []string, job Job) string {
	var b strings.Builder
	b.WriteString(`#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp TMPDIR=/tmp
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
ip link set lo up
stty -F /dev/ttyS1 raw -echo
`)
	for _, name := range modules {
		fmt.Fprintf(&b, "insmod /modules/%s || echo cannot load %s\n", name, name)
	}
	for _, assignment := range job.Env {
		fmt.Fprintf(&b, "export %s\n", quote(assignment))
	}
	b.WriteString("cd /job\necho '" + startMark + "' >/dev/ttyS1\n" + quote("/program/"+filepath.Base(job.Program)))
	for _, arg := range job.Args {
		b.WriteString(" " + quote(arg))
	}
	b.WriteString(" >/dev/ttyS1 2>&1 </dev/null\necho '" + endMark + "'$? >/dev/ttyS1\npoweroff -f\n")
	return b.String()
}

// quote makes a word that the shell takes literally.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
