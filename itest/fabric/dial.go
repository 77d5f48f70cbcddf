package fabric

import (
	"context"
	"net"
)

// DialFrom connects from inside of a network namespace, such as /proc/42/ns/net, to an address, which must not be a name.
func DialFrom(namespace string) DialFunc {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = within(namespace, func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
}
