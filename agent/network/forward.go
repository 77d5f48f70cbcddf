package network

import (
	"errors"
	"fmt"
	"os/exec"

	"github.com/coreos/go-iptables/iptables"
)

// Docker drops what is forwarded and not its own containers', and no rule elsewhere can overrule that. It leaves one chain to others, which it never
// empties; without Docker's rules there is the chain that everybody shares.
const (
	filterTable  = "filter"
	dockersChain = "DOCKER-USER"
	sharedChain  = "FORWARD"
)

// forwarding lets packets through that the node's table has marked.
type forwarding struct {
	rule   []string
	tables []*iptables.IPTables
}

func openForwarding(comment string) (*forwarding, error) {
	f := &forwarding{rule: []string{"-m", "mark", "--mark", fmt.Sprintf("%#x/%#x", ForwardMark, ForwardMark), "-m", "comment", "--comment", comment, "-j", "ACCEPT"}}
	for _, proto := range []iptables.Protocol{iptables.ProtocolIPv4, iptables.ProtocolIPv6} {
		t, err := iptables.New(iptables.IPFamily(proto), iptables.Timeout(5))
		if errors.Is(err, exec.ErrNotFound) {
			continue // then Docker doesn't filter by it either
		}
		if err != nil {
			return nil, fmt.Errorf("iptables can't be used here: %w", err)
		}
		f.tables = append(f.tables, t)
	}
	return f, nil
}

// ensure puts the rule where it isn't.
func (f *forwarding) ensure() error {
	for _, t := range f.tables {
		chain := sharedChain
		dockers, err := t.ChainExists(filterTable, dockersChain)
		if err == nil && dockers {
			chain = dockersChain
		}
		if err == nil {
			err = t.InsertUnique(filterTable, chain, 1, f.rule...)
		}
		if err != nil {
			return fmt.Errorf("letting the pods' packets through iptables' chain %s: %w", chain, err)
		}
	}
	return nil
}

func (f *forwarding) remove() error {
	var failed error
	for _, t := range f.tables {
		for _, chain := range []string{dockersChain, sharedChain} {
			if there, err := t.ChainExists(filterTable, chain); err == nil && there {
				failed = errors.Join(failed, t.DeleteIfExists(filterTable, chain, f.rule...))
			}
		}
	}
	return failed
}
