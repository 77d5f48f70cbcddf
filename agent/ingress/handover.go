package ingress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// maxDoors is how many listening sockets a process has at most.
const maxDoors = 2

// handover gives another process the listening sockets, and ends this one when that one serves, or when it has given up: connections that wait in the
// sockets are taken by either, and none is refused.
func (p *process) handover(w http.ResponseWriter, _ *http.Request) {
	doors := p.server.serving.Load()
	if doors == nil {
		http.Error(w, "nothing is listened on yet", http.StatusConflict)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = conn.Close() }()
	if err := giveDoors(conn, *doors); err != nil {
		p.server.log.Warn("the listening sockets could not be handed over", "error", err)
		return
	}
	_, _ = conn.Read(make([]byte, 1))
	p.server.retire(*doors)
	p.quit()
}

// lull is how long a process that retires goes on with the connections that it has. A server that shuts down answers no request that is just coming in; by
// then clients that ask have been told to connect anew.
const lull = 2 * time.Second

// retire returns when clients have left for the other process that listens, as far as they do.
func (s *Server) retire(doors []door) {
	s.retiring.Store(true)
	for _, d := range doors {
		if err := d.hush(); err != nil {
			s.log.Warn("a listening socket can't be left to the process that took over", "error", err)
		}
	}
	<-time.After(lull)
}

func giveDoors(conn net.Conn, doors []door) error {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("a %T passes no sockets", conn)
	}
	var fds []int
	for _, d := range doors {
		raw, err := d.Listener.(*net.TCPListener).SyscallConn() // not File, which would make both ends block
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }); err != nil {
			return err
		}
	}
	_, _, err := unix.WriteMsgUnix([]byte("HTTP/1.1 200 OK\r\n\r\n"), syscall.UnixRights(fds...), nil)
	return err
}

// TakeOver has a server that doesn't run yet serve on the listening sockets of the process behind a socket; that one must have the same addresses. It goes on
// serving until this one does, and isn't spoken to any more.
func (s *Server) TakeOver(ctx context.Context, socket string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("asking for the listening sockets: %w", err)
	}
	if s.inherited, err = takeDoors(conn.(*net.UnixConn), s.addresses); err != nil {
		return errors.Join(fmt.Errorf("taking the listening sockets: %w", err), conn.Close())
	}
	s.predecessor = conn
	return nil
}

func takeDoors(conn *net.UnixConn, addresses Addresses) ([]door, error) {
	if _, err := io.WriteString(conn, "GET "+pathHandover+" HTTP/1.1\r\nHost: ingress\r\n\r\n"); err != nil {
		return nil, err
	}
	said, rights := make([]byte, 1<<10), make([]byte, syscall.CmsgSpace(4*maxDoors))
	n, m, _, _, err := conn.ReadMsgUnix(said, rights)
	if err != nil {
		return nil, err
	}
	messages, err := syscall.ParseSocketControlMessage(rights[:m])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(fmt.Errorf("the process answers %q", strings.TrimSpace(string(said[:n]))), err)
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	var doors []door
	for i, address := range addresses.list() {
		if i >= len(fds) {
			return nil, fmt.Errorf("%d sockets came, and none for %s", len(fds), address)
		}
		file := os.NewFile(uintptr(fds[i]), address)
		listener, err := net.FileListener(file)
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
		doors = append(doors, newDoor(listener, address == addresses.HTTPS))
	}
	return doors, nil
}
