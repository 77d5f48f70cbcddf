package vm

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// archive writes an initramfs: a cpio archive in the format that the kernel unpacks ("newc").
type archive struct {
	out  *bufio.Writer
	ino  int
	dirs map[string]bool
	size int64 // written so far
}

func newArchive(w io.Writer) *archive {
	return &archive{out: bufio.NewWriterSize(w, 1<<20), dirs: map[string]bool{".": true, "/": true}}
}

// Types of entries, as in stat(2).
const (
	modeDir  = 0o040000
	modeFile = 0o100000
)

// entry writes one entry with a body of exactly size bytes.
func (a *archive) entry(name string, mode int, size int64, body io.Reader) error {
	a.ino++
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.ino, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0)
	if err := a.write(header + name + "\x00"); err != nil {
		return err
	}
	if err := a.align(); err != nil {
		return err
	}
	n, err := io.Copy(a.out, io.LimitReader(body, size))
	a.size += n
	if err == nil && n != size {
		err = fmt.Errorf("initramfs entry %s: %d bytes, want %d: the file changed meanwhile", name, n, size)
	}
	if err != nil {
		return err
	}
	return a.align()
}

func (a *archive) write(s string) error {
	n, err := a.out.WriteString(s)
	a.size += int64(n)
	return err
}

func (a *archive) align() error { return a.write("\x00\x00\x00"[:(4-a.size%4)%4]) }

// mkdir adds a directory and those above it.
func (a *archive) mkdir(name string) error {
	if a.dirs[name] {
		return nil
	}
	if err := a.mkdir(path.Dir(name)); err != nil {
		return err
	}
	a.dirs[name] = true
	return a.entry(name, modeDir|0o755, 0, strings.NewReader(""))
}

// text adds a file with that content.
func (a *archive) text(name, content string, perm int) error {
	if err := a.mkdir(path.Dir(name)); err != nil {
		return err
	}
	return a.entry(name, modeFile|perm, int64(len(content)), strings.NewReader(content))
}

// file adds a file of this machine.
func (a *archive) file(name, source string) error {
	if err := a.mkdir(path.Dir(name)); err != nil {
		return err
	}
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return a.entry(name, modeFile|int(info.Mode().Perm()), info.Size(), f)
}

// close ends the archive, but not what it is written to.
func (a *archive) close() error {
	if err := a.entry("TRAILER!!!", 0, 0, strings.NewReader("")); err != nil {
		return err
	}
	return a.out.Flush()
}
