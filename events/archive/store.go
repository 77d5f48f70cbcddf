package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Store is where segments and snapshots lie. A name is given once its content is whole and durable, and never has a part of it.
type Store interface {
	// List returns all names, in any order.
	List(ctx context.Context) ([]string, error)

	// Open opens what has a name. A reader that is open stays readable when the name is removed or given to another; one that nobody refers to any more is
	// closed. The error is fs.ErrNotExist if there is no such name.
	Open(ctx context.Context, name string) (r io.ReaderAt, size int64, err error)

	// Create begins something new.
	Create(ctx context.Context) (Pending, error)

	// Remove takes a name away, if it is there.
	Remove(ctx context.Context, name string) error

	// Lock makes sure that there is one keeper only, and takes away what one before left half done. What it returns lets others in again.
	Lock(ctx context.Context) (unlock func() error, err error)

	// String says where it is, for people.
	String() string
}

// Pending is something being written. Either Commit or Discard ends it.
type Pending interface {
	io.Writer
	// Commit makes it durable, and then gives it a name; what had that name before is replaced.
	Commit(name string) error
	Discard() error
}

const (
	lockName      = "keeper.lock"
	pendingPrefix = "writing-"
)

// Dir is a Store in a directory.
type Dir struct {
	path string

	mu   sync.Mutex
	made bool // it was there once: if it is gone, so is the archive
}

// OpenDir returns the store in the directory at path. If that doesn't exist, it is an empty store, and made when it is first locked or written to: whoever
// has lost an archive must find nothing in the place where it is to be put back.
func OpenDir(path string) (*Dir, error) {
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return &Dir{path: path}, nil
	case err != nil:
		return nil, fmt.Errorf("opening the archive's directory: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("opening the archive's directory: %s is a file", path)
	}
	return &Dir{path: path, made: true}, nil
}

// exists says whether the directory was there once.
func (d *Dir) exists() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.made
}

// make makes the directory if it never was there.
func (d *Dir) make() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.made {
		return nil
	}
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return fmt.Errorf("making the archive's directory: %w", err)
	}
	d.made = true
	return syncDir(filepath.Dir(d.path))
}

func (d *Dir) String() string { return d.path }

// List implements Store.
func (d *Dir) List(context.Context) ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) && !d.exists() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the archive's directory: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if name := entry.Name(); entry.Type().IsRegular() && name != lockName && !strings.HasPrefix(name, pendingPrefix) {
			names = append(names, name)
		}
	}
	return names, nil
}

// Open implements Store. The runtime closes files that nobody refers to any more.
func (d *Dir) Open(_ context.Context, name string) (io.ReaderAt, int64, error) {
	file, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

// Create implements Store.
func (d *Dir) Create(context.Context) (Pending, error) {
	if err := d.make(); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(d.path, pendingPrefix+"*")
	if err != nil {
		return nil, fmt.Errorf("writing to the archive: %w", err)
	}
	return &pendingFile{File: file, dir: d.path}, nil
}

// Remove implements Store.
func (d *Dir) Remove(_ context.Context, name string) error {
	if err := os.Remove(filepath.Join(d.path, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(d.path)
}

// Lock implements Store. The kernel gives the lock back when the process ends, however it ends.
func (d *Dir) Lock(context.Context) (func() error, error) {
	if err := d.make(); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(d.path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the archive: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another process keeps the archive in %s (stop that one first): %w", d.path, err), file.Close())
	}
	left, err := os.ReadDir(d.path)
	for _, entry := range left {
		if strings.HasPrefix(entry.Name(), pendingPrefix) {
			err = errors.Join(err, os.Remove(filepath.Join(d.path, entry.Name())))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("taking away what an archive's keeper left half done: %w", err), file.Close())
	}
	return file.Close, nil
}

// pendingFile has a name of its own until it is whole.
type pendingFile struct {
	*os.File
	dir string
}

func (p *pendingFile) Commit(name string) error {
	if err := errors.Join(p.Sync(), p.Close()); err != nil {
		return errors.Join(fmt.Errorf("writing %s to the archive: %w", name, err), os.Remove(p.Name()))
	}
	if err := os.Rename(p.Name(), filepath.Join(p.dir, name)); err != nil {
		return errors.Join(fmt.Errorf("writing %s to the archive: %w", name, err), os.Remove(p.Name()))
	}
	return syncDir(p.dir)
}

func (p *pendingFile) Discard() error {
	return errors.Join(p.Close(), os.Remove(p.Name()))
}

// syncDir makes names in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
