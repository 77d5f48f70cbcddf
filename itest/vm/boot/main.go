// Command boot runs the tests of packages in a virtual machine that has IPVS.
//
//		go run ./itest/vm/boot [-timeout 10m] [-cpus 1] [-skips] ./agent/proxy/ipvs [-test.run Behaviour ...]
//
//	  - It fails when a test fails or is skipped (-skips allows it), when none ran, and when the machine crashes or takes too long.
//	  - Tests see WAKE_VM=1, so that what must work there isn't skipped for want of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/wakehq/wake/itest/vm"
)

// modules are what the service proxy's two backends and the worlds of their tests need.
var modules = []string{
	"crc32c_generic", "veth", "bridge", "br_netfilter", "dummy",
	"nf_conntrack", "nf_conntrack_netlink", "nf_tables", "nft_ct", "nft_chain_nat", "nft_nat", "nft_masq", "nft_numgen", "nft_reject_ipv4",
	"nft_fib_ipv4", "nft_fib_ipv6", "nft_reject_ipv6",
	"ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_wlc", "ip_vs_sh", "ip_vs_mh", "ip_vs_dh", "ip_vs_sed", "ip_vs_nq",
}

func main() {
	timeout := flag.Duration("timeout", 20*time.Minute, "how long the machine may run")
	cpus := flag.Int("cpus", 1, "processors of the machine")
	memory := flag.Int("memory", 1024, "memory of the machine, in MiB")
	skips := flag.Bool("skips", false, "accept tests that skip themselves")
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	machine := vm.Machine{Modules: modules, Programs: []string{"nft"}, MemoryMiB: *memory, CPUs: *cpus}
	if err := run(ctx, *timeout, machine, flag.Arg(0), flag.Args()[1:], *skips); err != nil {
		fmt.Fprintln(os.Stderr, "boot:", err)
		stop()
		os.Exit(1) //nolint:gocritic // the deferred call only frees memory of a process that ends
	}
}

func run(ctx context.Context, timeout time.Duration, machine vm.Machine, pkg string, args []string, skips bool) error {
	dir, err := os.MkdirTemp("", "wake-boot-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "tests")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-ldflags", "-s -w", "-o", binary, pkg)
	build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the tests of %s: %w", pkg, err)
	}
	job := vm.Job{Program: binary, Args: append([]string{"-test.v"}, args...), Env: []string{"WAKE_VM=1"}, Files: map[string]string{}}
	if where, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", pkg).Output(); err == nil {
		data := filepath.Join(strings.TrimSpace(string(where)), "testdata")
		if _, err := os.Stat(data); err == nil {
			job.Files["testdata"] = data
		}
	}
	tally := &vm.Tally{Out: os.Stdout}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no end after %s", timeout))
	defer cancel()
	result, err := machine.Run(ctx, job, tally)
	fmt.Printf("booted in %.1fs, ran %.1fs, exit status %d: %s\n", result.Boot.Seconds(), result.Run.Seconds(), result.Exit, tally)
	switch {
	case err != nil:
		return err
	case result.Exit != 0:
		return fmt.Errorf("%s fails in the virtual machine (exit status %d)", pkg, result.Exit)
	case tally.Passed == 0 && !tally.Benchmarks:
		return errors.New("no test ran")
	case tally.Skipped > 0 && !skips:
		return fmt.Errorf("%d tests were skipped in the virtual machine, which is where they must run", tally.Skipped)
	}
	return nil
}
