package jetstream

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// waiting are the codes of errors that pass when enough brokers are there: no leader, no peers to place a stream on, JetStream or its cluster not ready yet,
// the stream's copy being made.
var waiting = []int{codeTimeout, 10005, 10006, 10009, 10023, 10039, 10074, 10118}

// Unavailable says that an error may pass by itself, as soon as enough brokers can be reached.
func Unavailable(err error) bool {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return false
	case errors.As(err, &api):
		return slices.Contains(waiting, int(api.ErrorCode))
	case code(err) != 0:
		return slices.Contains(waiting, code(err))
	}
	for _, passing := range []error{context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded,
		nats.ErrNoServers, jetstream.ErrJetStreamNotEnabled, errLost} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}
