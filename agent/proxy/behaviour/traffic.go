package behaviour

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"
)

const (
	// patience bounds every wait for a packet. What is refused must be refused long before. A machine may stand still for seconds while others are busy.
	patience = 10 * time.Second
	// silence is after how long a packet counts as dropped.
	silence = time.Second
)

// pod answers every TCP connection and every UDP packet with its name and the address that it sees, and then
// echoes the lines of a TCP connection.
type pod struct {
	name, ip string
	ns       netns.NsHandle
}

// answer is what a client hears from a pod.
type answer struct{ pod, seen string }

func parseAnswer(text string) (a answer, err error) {
	_, err = fmt.Sscanf(text, "%s %s", &a.pod, &a.seen)
	return a, err
}

func (p *pod) answerTo(addr net.Addr) string {
	return fmt.Sprintf("%s %s\n", p.name, plain(netip.MustParseAddrPort(addr.String()).Addr()))
}

// listen starts serving in the current namespace until the test ends.
func (p *pod) listen(t testing.TB) {
	t.Helper()
	tcp, err := net.Listen("tcp", net.JoinHostPort(p.ip, strconv.Itoa(tcpPort)))
	require.NoError(t, err)
	udp, err := net.ListenPacket("udp", net.JoinHostPort(p.ip, strconv.Itoa(udpPort)))
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = tcp.Close(), udp.Close() })
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	go func() {
		buf := make([]byte, 64)
		for {
			_, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo([]byte(p.answerTo(from)), from)
		}
	}()
}

func (p *pod) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_, err := conn.Write([]byte(p.answerTo(conn.RemoteAddr())))
	lines := bufio.NewScanner(conn)
	for err == nil && lines.Scan() {
		_, err = conn.Write([]byte(lines.Text() + "\n"))
	}
}

// session is an open TCP connection to a pod.
type session struct {
	answer
	conn net.Conn
	in   *bufio.Reader
}

// open connects from a namespace and reads who answers.
func (w *world) open(t testing.TB, from netns.NsHandle, addr string) (*session, error) {
	t.Helper()
	var conn net.Conn
	var err error
	w.in(t, from, func() { conn, err = net.DialTimeout("tcp", w.at(addr), patience) })
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	s := &session{conn: conn, in: bufio.NewReader(conn)}
	line, err := s.read()
	if err != nil {
		return nil, err
	}
	s.answer, err = parseAnswer(line)
	return s, err
}

func (s *session) read() (string, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	return s.in.ReadString('\n')
}

// echo checks that the connection still works.
func (s *session) echo(t testing.TB) {
	t.Helper()
	_, err := s.conn.Write([]byte("still there?\n"))
	require.NoError(t, err)
	line, err := s.read()
	require.NoError(t, err, "an established connection to %s was cut", s.pod)
	require.Equal(t, "still there?\n", line)
}

// ask makes one TCP connection and says who answered.
func (w *world) ask(t testing.TB, from netns.NsHandle, addr string) answer {
	t.Helper()
	s, err := w.open(t, from, addr)
	require.NoError(t, err)
	require.NoError(t, s.conn.Close())
	return s.answer
}

// askUDP makes one exchange from a new socket.
func (w *world) askUDP(t testing.TB, from netns.NsHandle, addr string) (answer, error) {
	t.Helper()
	conn := w.dialUDP(t, from, addr)
	defer func() { _ = conn.Close() }()
	return exchange(conn)
}

func (w *world) dialUDP(t testing.TB, from netns.NsHandle, addr string) net.Conn {
	t.Helper()
	var conn net.Conn
	var err error
	w.in(t, from, func() { conn, err = net.Dial("udp", w.at(addr)) })
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// exchange sends a packet and reads the answer.
func exchange(conn net.Conn) (answer, error) {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return answer{}, err
	}
	if _, err := conn.Write([]byte("who?")); err != nil {
		return answer{}, err
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	if err != nil {
		return answer{}, err
	}
	return parseAnswer(string(buf[:n]))
}

// everybody asks until all named pods have answered, and fails when another one does. With fair choice, missing one
// of three in 60 tries happens once in 10^10 runs.
func (w *world) everybody(t testing.TB, from netns.NsHandle, addr string, want ...string) {
	t.Helper()
	heard := map[string]int{}
	for range 60 {
		heard[w.ask(t, from, addr).pod]++
		if len(heard) == len(want) {
			break
		}
	}
	for _, name := range want {
		require.Contains(t, heard, name, "never answered at %s", addr)
	}
	require.Len(t, heard, len(want), "unexpected pods answered at %s", addr)
}

// connectUntil makes one connection after the other from a namespace, and counts them, until stop is closed or one
// fails. Its thread ends with it.
func connectUntil(stop <-chan struct{}, from netns.NsHandle, addr string, made *atomic.Int64) error {
	runtime.LockOSThread() // never unlocked
	if err := netns.Set(from); err != nil {
		return err
	}
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		conn, err := net.DialTimeout("tcp", addr, patience)
		if err == nil {
			err = conn.SetReadDeadline(time.Now().Add(patience))
		}
		if err == nil {
			_, err = bufio.NewReader(conn).ReadString('\n')
		}
		if err != nil {
			return fmt.Errorf("connection %d to %s: %w", made.Load()+1, addr, err)
		}
		made.Add(1)
		_ = conn.Close()
	}
}
