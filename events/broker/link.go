package broker

import "github.com/nats-io/nats.go"

// Link connects to the brokers of a cluster. A Broker is one, for those in its own process. It may be used by many goroutines.
type Link interface {
	// Ledger returns a connection in the ledger's account. The caller closes it.
	Ledger(options ...nats.Option) (*nats.Conn, error)
	// Nodes returns a connection in the nodes' account. The caller closes it.
	Nodes(options ...nats.Option) (*nats.Conn, error)
	// Health returns nil, or why appends are refused.
	Health() error
}

var _ Link = (*Broker)(nil)
