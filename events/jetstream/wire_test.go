package jetstream

import (
	"bufio"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// said lets a broker say text to a wire, and returns the wire and what it answers.
func said(t *testing.T, text string) (*wire, func() string) {
	ours, theirs := net.Pipe()
	answers := make(chan string, 1)
	go func() {
		reader := bufio.NewReader(theirs)
		line, _ := reader.ReadString('\n')
		answers <- line
	}()
	go func() {
		_, _ = theirs.Write([]byte(text))
		_ = theirs.Close()
	}()
	t.Cleanup(func() { _ = ours.Close() })
	return &wire{conn: ours, from: bufio.NewReaderSize(ours, 64)}, func() string { return <-answers }
}

func TestWireReadsMessages(t *testing.T) {
	block := "NATS/1.0\r\nA: b\r\n\r\n"
	long := strings.Repeat("x", 1000)
	w, answer := said(t, "PING\r\nINFO {}\r\nMSG a.b 1 5\r\nhe\r\no\r\nHMSG a.c 1 reply.to 18 20\r\n"+block+"ok\r\nMSG d 1 r 0\r\n\r\nMSG e 1 1000\r\n"+long+"\r\n")
	for _, want := range []frame{
		{subject: []byte("a.b"), payload: []byte("he\r\no")},
		{subject: []byte("a.c"), reply: []byte("reply.to"), header: []byte(block), payload: []byte("ok")},
		{subject: []byte("d"), reply: []byte("r")},
		{subject: []byte("e"), payload: []byte(long)},
	} {
		got, err := w.next()
		require.NoError(t, err)
		require.Equal(t, []string{string(want.subject), string(want.reply), string(want.header), string(want.payload)},
			[]string{string(got.subject), string(got.reply), string(got.header), string(got.payload)})
	}
	require.Equal(t, "PONG\r\n", answer())
	_, err := w.next()
	require.Error(t, err, "the connection has ended")
}

func TestWireRefusesWhatIsNoMessage(t *testing.T) {
	for _, text := range []string{"MSG a 1\r\n", "MSG a 1 -1\r\n", "MSG a 1 r x\r\n", "MSG a 1 r s 5 6\r\n", "HMSG a 1 5\r\n", "HMSG a 1 6 5\r\n12345\r\n", "HMSG a 1 r -1 5\r\n",
		"MSG a 1 99999999999\r\n", "MSG a 1 5\r\nabc", "-ERR 'Slow Consumer'\r\n", "MSG " + strings.Repeat("a", 100)} {
		w, _ := said(t, text)
		_, err := w.next()
		require.Error(t, err, text)
	}
}
