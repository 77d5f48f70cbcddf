package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// The package speaks JetStream's wire API directly: its messages are few, and every append and delivery goes through here.

const (
	apiStreamInfo     = "$JS.API.STREAM.INFO." + StreamName
	apiMessage        = "$JS.API.STREAM.MSG.GET." + StreamName
	apiDirect         = "$JS.API.DIRECT.GET." + StreamName
	apiConsumerCreate = "$JS.API.CONSUMER.CREATE." + StreamName
	apiConsumerDelete = "$JS.API.CONSUMER.DELETE." + StreamName

	headerExpect        = "Nats-Expected-Last-Subject-Sequence"
	headerBatch         = "Nats-Batch-Id"
	headerBatchSequence = "Nats-Batch-Sequence"
	headerBatchCommit   = "Nats-Batch-Commit"
	headerStatus        = "Status"

	statusNotFound     = "404"
	statusTooMany      = "413"
	statusEndOfBatch   = "204"
	statusNoResponders = "503"

	// Of the two codes for a guard that does not hold, the second comes from replicated streams and from within batches.
	codeWrongSequence     = 10071
	codeWrongSequenceToo  = 10164
	codeNoMessage         = 10037
	codeBatchIncomplete   = 10176
	codeTooManyBatches    = 10210
	codeTooManyRequests   = 10167
	codeTimeout           = 10008 // "temporarily unavailable": the stream has no leader
	apiWithin             = 5 * time.Second
	answersBufferMessages = 2048
)

// apiError is an error as JetStream answers it.
type apiError struct {
	Code        int    `json:"code"`
	ErrorCode   int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrorCode) }

// code returns the JetStream error code of err, 0 if it is none.
func code(err error) int {
	var refused *apiError
	if errors.As(err, &refused) {
		return refused.ErrorCode
	}
	return 0
}

// request asks JetStream's API and decodes the answer into out.
func (l *Ledger) request(ctx context.Context, subject string, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, apiWithin)
	defer cancel()
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	msg, err := l.conn.RequestWithContext(ctx, subject, data)
	if err != nil {
		return fmt.Errorf("the broker does not answer: %w", err)
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &failed); err != nil {
		return fmt.Errorf("the broker's answer on %s: %w", subject, err)
	}
	if failed.Error != nil {
		return failed.Error
	}
	return json.Unmarshal(msg.Data, out)
}

type streamState struct {
	FirstSeq uint64    `json:"first_seq"`
	LastSeq  uint64    `json:"last_seq"`
	LastTime time.Time `json:"last_ts"`
}

func (l *Ledger) state(ctx context.Context) (streamState, error) {
	var info struct {
		State streamState `json:"state"`
	}
	if err := l.request(ctx, apiStreamInfo, struct{}{}, &info); err != nil {
		return streamState{}, fmt.Errorf("asking for the ledger's end: %w", err)
	}
	return info.State, nil
}

// next returns sequence and ID of the first message on subject after a sequence, as the stream's leader has it; 0 if there is none.
func (l *Ledger) next(ctx context.Context, subject string, after uint64) (sequence uint64, id string, _ error) {
	found, err := l.message(ctx, map[string]any{"seq": after + 1, "next_by_subj": subject})
	if err != nil || found.Seq == 0 {
		return 0, "", err
	}
	header, err := nats.DecodeHeadersMsg(found.Header)
	if err != nil {
		return found.Seq, "", nil
	}
	return found.Seq, first(header, idHeader), nil
}

// firstSince returns the sequence of the first message stored at or after t, as the stream's leader has it; 0 if there is none.
func (l *Ledger) firstSince(ctx context.Context, t time.Time) (uint64, error) {
	found, err := l.message(ctx, map[string]any{"start_time": t.UTC(), "no_hdr": true})
	return found.Seq, err
}

// stored is a message as the stream's leader gives it.
type stored struct {
	Subject string `json:"subject"`
	Seq     uint64 `json:"seq"`
	Header  []byte `json:"hdrs"`
}

// message asks the stream's leader for a message; the zero one if there is none.
func (l *Ledger) message(ctx context.Context, which map[string]any) (stored, error) {
	var found struct {
		Message stored `json:"message"`
	}
	err := l.request(ctx, apiMessage, which, &found)
	if code(err) == codeNoMessage {
		return stored{}, nil
	}
	return found.Message, err
}

// first returns a header's value; the spelling must be exact.
func first(h nats.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}
