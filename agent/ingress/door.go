package ingress

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// door is where clients come in.
type door struct {
	net.Listener
	secure bool
	shut   *shut
}

// shut is what copies of a door share.
type shut struct {
	quiet  atomic.Bool
	closed chan struct{}
	once   sync.Once
}

func newDoor(l net.Listener, secure bool) door {
	return door{l, secure, &shut{closed: make(chan struct{})}}
}

// hush has the door take no more connections: those that wait are left to the other process that has the socket. To the server it looks as if none came.
func (d door) hush() error {
	d.shut.quiet.Store(true)
	return d.Listener.(*net.TCPListener).SetDeadline(time.Unix(1, 0))
}

// Accept implements net.Listener.
func (d door) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err != nil && d.shut.quiet.Load() {
		<-d.shut.closed
		return nil, net.ErrClosed
	}
	return conn, err
}

// Close implements net.Listener.
func (d door) Close() error {
	d.shut.once.Do(func() { close(d.shut.closed) })
	return d.Listener.Close()
}
