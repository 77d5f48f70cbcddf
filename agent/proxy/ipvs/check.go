package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"

	"github.com/cloudflare/ipvs"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/nft"
)

// ErrNoIPVS says that the kernel has no IPVS that the backend can work with, neither built in nor as a module.
var ErrNoIPVS = errors.New("this kernel has no usable IPVS")

// Check says whether this machine can run the backend with a scheduler (empty: the default), or what it lacks and what would help: IPVS
// with conntrack (ErrNoIPVS if not) and what the nftables backend needs. It loads the module when there is one. It tries the scheduler for
// real, in a network namespace of its own that is gone afterwards.
func Check(ctx context.Context, scheduler string) error {
	if scheduler == "" {
		scheduler = "rr"
	}
	if err := nft.Check(ctx); err != nil {
		return err
	}
	client, err := ipvs.New()
	if err != nil {
		// The kernel loads the module by itself for some names only. An error here shows in the next attempt.
		_ = exec.CommandContext(ctx, "modprobe", "ip_vs").Run()
		if client, err = ipvs.New(); err != nil {
			return unusable(err)
		}
	}
	if err := (&Backend{client: client}).Close(); err != nil {
		return unusable(err)
	}
	if _, err := os.Stat(settingsDir + "conntrack"); err != nil {
		return fmt.Errorf("%w: it was built without conntrack (CONFIG_IP_VS_NFCT): %w", ErrNoIPVS, err)
	}
	tried := make(chan error)
	go func() { tried <- try(scheduler) }()
	return <-tried
}

// try makes a service in a new network namespace. The thread ends with the goroutine, and the namespace with it.
func try(scheduler string) error {
	runtime.LockOSThread() // never unlocked
	ns, err := netns.New()
	if err != nil {
		return fmt.Errorf("making a network namespace to try IPVS in (it needs root): %w", err)
	}
	defer func() { _ = ns.Close() }()
	client, err := ipvs.New()
	if err != nil {
		return unusable(err)
	}
	b := Backend{client: client}
	key := proxy.Key{Addr: netip.MustParseAddrPort("192.0.2.1:1"), Protocol: corev1.ProtocolTCP}
	err = b.send(operation{do: addService, key: key, service: service{scheduler: scheduler}})
	if err = errors.Join(err, b.Close()); err != nil {
		return fmt.Errorf("%w: the scheduler %s doesn't work (module ip_vs_%s): %w", ErrNoIPVS, scheduler, scheduler, err)
	}
	return nil
}

func unusable(err error) error {
	return fmt.Errorf("%w: it doesn't answer on netlink (module ip_vs, or CONFIG_IP_VS built in): %w", ErrNoIPVS, err)
}
