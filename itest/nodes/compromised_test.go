package nodes

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
)

// raw speaks the protocol as somebody does who has a node's certificate and no respect.
type raw struct {
	t    *testing.T
	conn *tls.Conn
	in   *bufio.Reader
}

func (w *world) raw(pair tls.Certificate) *raw {
	w.t.Helper()
	conn, err := tls.Dial("tcp", w.gate.Addr().String(), w.config(pair))
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(w.t, conn.SetDeadline(time.Now().Add(patience)))
	r := &raw{t: w.t, conn: conn, in: bufio.NewReader(conn)}
	line, err := r.in.ReadString('\n')
	require.NoError(w.t, err)
	require.Contains(w.t, line, "INFO ")
	return r
}

// introduced is raw after CONNECT.
func (w *world) introduced(pair tls.Certificate) *raw {
	r := w.raw(pair)
	require.Empty(w.t, r.says(`CONNECT {"verbose":false,"headers":true,"protocol":1,"no_responders":true}`))
	return r
}

// says sends lines and returns what the broker has to say to them before it answers a PING, or ends the connection ("EOF").
func (r *raw) says(lines ...string) string {
	_, _ = io.WriteString(r.conn, strings.Join(append(lines, "PING", ""), "\r\n")) // it may be cut off meanwhile
	var said strings.Builder
	for {
		line, err := r.in.ReadString('\n')
		if err != nil {
			require.NotErrorIs(r.t, err, os.ErrDeadlineExceeded, "neither an answer nor an end")
			return said.String() + "EOF"
		}
		switch {
		case strings.HasPrefix(line, "PONG"):
			return said.String()
		case strings.HasPrefix(line, "-ERR"):
			said.WriteString(line)
		}
	}
}

// forged is an event as the ledger has them, for whoever would store it.
func forged(t *testing.T) *nats.Msg {
	t.Helper()
	msg := nats.NewMsg("")
	msg.Header.Set(events.HeaderType, "PodCreated")
	msg.Header.Set(events.HeaderActor, "user:kubernetes-admin")
	msg.Data = []byte("{}")
	return msg
}

const ledgerSubject = "ledger.desired.core.pods.default.forged"

// TestACompromisedNodeGetsNowhere tries with the certificate of node a what might reach the ledger or other nodes. Node b and the ledger notice nothing.
func TestACompromisedNodeGetsNowhere(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	other := w.dial("b", b)
	victim := nodewire.NewClient(other, "b")
	honest := nodewire.NewClient(w.dial("a", a), "a")
	for _, client := range []*nodewire.Client{honest, victim} {
		require.Eventually(t, func() bool {
			answer, err := client.ReportNode(t.Context(), ready())
			return err == nil && answer.Error == ""
		}, patience, 10*time.Millisecond)
	}
	theirs := w.pod("theirs", "b")
	slices, err := victim.Slices(t.Context())
	require.NoError(t, err)
	require.True(t, (<-slices).Full)
	overheard, err := other.SubscribeSync(nodewire.Subject("b", nodewire.VerbLogs))
	require.NoError(t, err)
	require.NoError(t, other.Flush())
	ledger, err := w.broker.Ledger()
	require.NoError(t, err)
	t.Cleanup(ledger.Close)
	before := w.end()
	crossed, err := ledger.SubscribeSync(">")
	require.NoError(t, err)
	require.NoError(t, ledger.Flush())
	t.Run("publishing", func(t *testing.T) { w.in(t).triesPublishing(a) })
	t.Run("replies", func(t *testing.T) { w.in(t).triesReplies(a) })
	t.Run("instructions", func(t *testing.T) { w.in(t).triesInstructions(a) })
	t.Run("subscribing", func(t *testing.T) { w.in(t).triesSubscribing(a) })
	t.Run("posing", func(t *testing.T) { w.in(t).triesPosing(a) })
	t.Run("smuggling", func(t *testing.T) { w.in(t).triesSmuggling(a) })
	t.Run("excess", func(t *testing.T) { w.in(t).triesExcess(a) })
	t.Run("reports", func(t *testing.T) { spoofsReports(t, honest, theirs) })

	require.NoError(t, ledger.Publish("marker", nil))
	for {
		msg, err := crossed.NextMsg(patience)
		require.NoError(t, err)
		if msg.Subject == "marker" {
			break
		}
		require.True(t, strings.HasPrefix(msg.Subject, "_INBOX.") && msg.Header.Get("Status") == "100", "in the ledger's account there is only its own consumers' idling, not %s", msg.Subject)
	}
	require.Empty(t, w.written(before), "nothing is in the ledger")
	require.Eventually(t, func() bool { return victim.Heartbeat(t.Context()) == nil }, patience, 10*time.Millisecond, "and all the others work")
	_, err = overheard.NextMsg(50 * time.Millisecond)
	require.ErrorIs(t, err, nats.ErrTimeout, "b heard nothing of it")
	o, _ := w.view.State().Get(theirs.Ref)
	require.Empty(t, o.Typed().(*corev1.Pod).Status.PodIP)
	select {
	case s := <-slices:
		require.Fail(t, "b was told something", "%+v", s)
	default:
	}
	answer, err := honest.ReportNode(t.Context(), ready())
	require.NoError(t, err, "a's own line works as before")
	require.Empty(t, answer.Error)
}

func (w *world) triesPublishing(a tls.Certificate) {
	subjects := []string{ledgerSubject, "$JS.API.INFO", "$JS.API.STREAM.INFO.LEDGER", "$JS.API.STREAM.PURGE.LEDGER", "$JS.API.STREAM.DELETE.LEDGER", "$JS.API.STREAM.CREATE.MINE",
		"$JS.API.DIRECT.GET.LEDGER", "$JS.API.CONSUMER.CREATE.LEDGER", "$JS.ACK.LEDGER.x.1.1.1.1.1", "$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO", "$SYS.ACCOUNT.NODES.CONNECT", "$SRV.PING",
		nodewire.Subject("b", nodewire.VerbPod), nodewire.Subject("b", nodewire.VerbStatus), nodewire.Subject("b", nodewire.VerbHeartbeat), nodewire.Subject("b", nodewire.VerbSnapshot),
		nodewire.Subject("b", nodewire.VerbSlice), nodewire.Subject("b", nodewire.VerbLogs), nodewire.Subject("b", "log.x"), nodewire.Subject("a", nodewire.VerbSlice),
		nodewire.Inbox("b") + "x", "_INBOX.x.y", "other", "_R_.x"}
	r := w.introduced(a)
	for _, subject := range subjects {
		for _, reply := range []string{"", nodewire.Inbox("a") + "x"} {
			said := r.says(strings.Join(strings.Fields("PUB "+subject+" "+reply+" 2"), " "), "{}")
			require.Contains(w.t, said, "Permissions Violation for Publish to", subject)
		}
	}
}

func (w *world) triesReplies(a tls.Certificate) {
	for _, reply := range []string{ledgerSubject, "$JS.API.STREAM.PURGE.LEDGER", nodewire.Subject("b", nodewire.VerbSlice), nodewire.Subject("b", nodewire.VerbLogs), nodewire.Subject("b", nodewire.VerbPod),
		nodewire.Inbox("b") + "x", "_INBOX.x", "inbox.*.x", nodewire.Inbox("a") + ">", nodewire.Inbox("ab") + "x"} {
		for _, verb := range []string{nodewire.VerbHeartbeat, nodewire.VerbSnapshot, nodewire.VerbPod, "log.x"} {
			said := w.introduced(a).says("PUB "+nodewire.Subject("a", verb)+" "+reply+" 2", "{}")
			require.Contains(w.t, said, "reply subject", reply)
			require.Contains(w.t, said, "EOF")
		}
	}
}

func (w *world) triesInstructions(a tls.Certificate) {
	for _, field := range []string{"Nats-Msg-Id: poison", "Nats-Rollup: all", "nats-rollup: sub", "Nats-Expected-Last-Subject-Sequence: 0", "Nats-Trace-Dest: ledger.x", "Nats-TTL: 1s", "traceparent: 00-0-0-01",
		"X: 1\r\n nats-trace-dest: x"} {
		header := "NATS/1.0\r\n" + field + "\r\n\r\n"
		r := w.introduced(a)
		said := r.says(fmt.Sprintf("HPUB %s %d %d", nodewire.Subject("a", nodewire.VerbHeartbeat), len(header), len(header)+2), header+"{}")
		require.Contains(w.t, said, "instructs the broker", field)
	}
}

func (w *world) triesSubscribing(a tls.Certificate) {
	r := w.introduced(a)
	for i, subject := range []string{">", "*", "*.>", "node.>", "node.*.slice", "node.*.*", "ledger.>", "$SYS.>", "$JS.>", "$JS.EVENT.>", "_INBOX.>", "inbox.>", "inbox.*.>", nodewire.Inbox("b") + ">",
		nodewire.Subject("b", nodewire.VerbSlice), nodewire.Subject("b", nodewire.VerbLogs), nodewire.Subject("b", nodewire.VerbPod), nodewire.Subject("b", "log.*"), nodewire.Subject("a", nodewire.VerbPod)} {
		require.Contains(w.t, r.says(fmt.Sprintf("SUB %s %d", subject, i)), "Permissions Violation for Subscription to", subject)
		require.Contains(w.t, r.says(fmt.Sprintf("SUB %s q %d", subject, 100+i)), "Permissions Violation for Subscription to", subject)
	}
}

// triesPosing tries to be somebody else.
func (w *world) triesPosing(a tls.Certificate) {
	for _, who := range []string{`"user":"in-process-LEDGER","pass":"x"`, `"user":"in-process-LEDGER"`, `"auth_token":"x"`, `"account":"LEDGER"`, `"user":"node-b-1","pass":""`} {
		r := w.raw(a)
		require.Empty(w.t, r.says("CONNECT {"+who+"}"), "what it says of itself does not count")
		require.Contains(w.t, r.says("PUB "+ledgerSubject+" 2", "{}"), "Permissions Violation")
		require.Contains(w.t, r.says("PUB "+nodewire.Subject("b", nodewire.VerbHeartbeat)+" 2", "{}"), "Permissions Violation")
		require.Contains(w.t, r.says("CONNECT {"+who+"}"), "EOF", "and it says so once")
	}
	for _, first := range []string{"PUB " + ledgerSubject + " 0", "SUB > 1", "RMSG LEDGER x 0", "nonsense", `CONNECT {`} {
		require.Contains(w.t, w.raw(a).says(first), "EOF", first)
	}
}

// triesSmuggling tries to have the gate and the server behind it understand different things.
func (w *world) triesSmuggling(a tls.Certificate) {
	own := nodewire.Subject("a", nodewire.VerbHeartbeat)
	for _, lines := range [][]string{
		{"PUB " + own + " 1", "{}PUB " + ledgerSubject + " 0"}, {"PUB " + own + " -1", ""}, {"PUB " + own + " 99999999999999999999", ""}, {"PUB " + own + " 0x2", "{}"},
		{"HPUB " + own + " 9 2", "{}"}, {"HPUB " + own + " -1 2", "{}"}, {"PUB " + own}, {"PUB"}, {"PUB " + own + " x y 2", "{}"}, {"SUB x"}, {"SUB a b c d"},
		{"RS+ LEDGER x"}, {"LMSG LEDGER x 0", ""}, {"A+ LEDGER"}, {"INFO {}"}, {"+OK"}, {"MSG x 1 0", ""}, {""}, {"SUB x\x00 1"}, {"PUB " + own + "\x0b1 2", "{}"},
	} {
		require.Contains(w.t, w.introduced(a).says(lines...), "EOF", "%q", lines)
	}
	require.Contains(w.t, w.introduced(a).says("pub\t"+ledgerSubject+"\t 2", "{}"), "Permissions Violation")
	long := "PUB " + strings.Repeat("x", 8<<10) + " 0"
	require.Contains(w.t, w.introduced(a).says(long), "EOF")
}

// triesExcess sends too much. Who does is cut off or waits; the others notice nothing.
func (w *world) triesExcess(a tls.Certificate) {
	own := nodewire.Subject("a", nodewire.VerbHeartbeat)
	require.Contains(w.t, w.introduced(a).says(fmt.Sprintf("PUB %s %d", own, 2<<20)), "maximum payload")
	r := w.introduced(a)
	var subs []string
	for i := range 300 {
		subs = append(subs, fmt.Sprintf("SUB %sx%d %d", nodewire.Inbox("a"), i, i))
	}
	require.Contains(w.t, r.says(subs...), "too many subscriptions")

	oldest := w.introduced(a)
	for range 6 {
		w.introduced(a)
	}
	require.Contains(w.t, oldest.says(), "EOF", "the oldest of too many connections was ended")

	// A flood of 7,000: the burst goes through, then 1,000 a second.
	flood, began := w.introduced(a), time.Now()
	_, err := io.WriteString(flood.conn, strings.Repeat("PUB "+own+" 0\r\n\r\n", 7000))
	require.NoError(w.t, err)
	require.Empty(w.t, flood.says())
	require.Greater(w.t, time.Since(began), time.Second, "the flood was slowed")
}

// spoofsReports reports what is not a's to say.
func spoofsReports(t *testing.T, honest *nodewire.Client, theirs *events.Object) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	report := nodewire.PodReport{Namespace: "default", Name: theirs.Ref.Name, UID: theirs.UID(), Type: "ContainerStarted", At: time.Now(),
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "192.0.2.66"}}
	answer, err := honest.ReportPod(ctx, report)
	require.NoError(t, err)
	require.True(t, answer.Gone)
	report.Removed = true
	answer, err = honest.ReportPod(ctx, report)
	require.NoError(t, err)
	require.True(t, answer.Gone)
	report.Name, report.UID = "invented", "u"
	answer, err = honest.ReportPod(ctx, report)
	require.NoError(t, err)
	require.NotEmpty(t, answer.Error)
}

// The nodes' account alone keeps a forgery out of the ledger: even without any permissions of subjects, and with answers that go where the forger says.
func TestTheAccountAloneKeepsForgeriesOut(t *testing.T) {
	w := newWorld(t)
	w.join("a")
	before := w.end()
	inside, err := w.broker.Nodes()
	require.NoError(t, err)
	t.Cleanup(inside.Close)
	for _, subject := range []string{nodewire.Subject("a", nodewire.VerbHeartbeat), nodewire.Subject("a", nodewire.VerbPod), ledgerSubject, "$JS.API.DIRECT.GET.LEDGER", "$JS.API.STREAM.MSG.GET.LEDGER"} {
		msg := forged(t)
		msg.Subject, msg.Reply = subject, ledgerSubject
		require.NoError(t, inside.PublishMsg(msg))
	}
	require.NoError(t, inside.Flush())
	require.Eventually(t, func() bool { return nodewire.NewClient(inside, "a").Heartbeat(t.Context()) == nil }, patience, 10*time.Millisecond)
	require.Empty(t, w.written(before))
}
