package nft

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"sigs.k8s.io/knftables"
)

// Check says whether this machine can run the backend, or what it lacks and what would help: the nft program, permission and a kernel for
// nftables. Whether the kernel forwards packets is looked at for each family that is to be served.
func Check(ctx context.Context) error {
	if _, err := exec.LookPath("nft"); err != nil {
		return fmt.Errorf("the service proxy needs the program nft, which isn't on the PATH "+
			"(on Debian and Ubuntu: apt-get install nftables): %w", err)
	}
	any, err := knftables.New("", "")
	if err != nil {
		return unusable(err)
	}
	// Kernels and containers may allow tables and yet lack the translation of addresses.
	tx := any.NewTransaction()
	tx.Add(&knftables.Table{Family: ipv4.nft, Name: "wake-check"})
	tx.Add(&knftables.Chain{
		Family: ipv4.nft, Table: "wake-check", Name: "nat",
		Type:     knftables.PtrTo(knftables.NATType),
		Hook:     knftables.PtrTo(knftables.PreroutingHook),
		Priority: knftables.PtrTo(knftables.DNATPriority),
	})
	if err := any.Check(ctx, tx); err != nil {
		return unusable(err)
	}
	return nil
}

// checkForwarding says whether the kernel forwards a family's packets.
func checkForwarding(f family) error {
	on, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(f.forward, ".", "/"))
	if err != nil {
		return fmt.Errorf("checking whether the kernel forwards packets: %w", err)
	}
	if !bytes.HasPrefix(on, []byte("1")) {
		return fmt.Errorf("the kernel doesn't forward packets, so pods reach neither services nor the world (sysctl -w %s=1 turns it on)", f.forward)
	}
	return nil
}

func unusable(err error) error {
	return fmt.Errorf("nft doesn't work here: the service proxy needs root (CAP_NET_ADMIN) and a kernel with nftables "+
		"and its NAT (modules nf_tables, nft_nat, nft_masq, nft_numgen, nft_fib_ipv4): %w", err)
}
