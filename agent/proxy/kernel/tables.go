package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// The numbers of linux/netfilter/nfnetlink.h and nf_tables.h.
const (
	nftables       = 10 << 8 // NFNL_SUBSYS_NFTABLES
	nftGetRule     = 7
	nftGetSetElem  = 13
	nftGetGen      = 16
	attrTable      = 1 // of rules and of elements
	attrSet        = 2
	attrElements   = 3
	attrGeneration = 1
)

// Contents is how much is in an nftables table.
type Contents struct {
	Rules    int
	Elements map[string]int // of sets and maps, by their name
}

// Equal says whether both are as much.
func (c Contents) Equal(other Contents) bool {
	if c.Rules != other.Rules || len(c.Elements) != len(other.Elements) {
		return false
	}
	for name, n := range c.Elements {
		if m, there := other.Elements[name]; !there || m != n {
			return false
		}
	}
	return true
}

// Tables is what a Tracker asks of a kernel; Netlink is one.
type Tables interface {
	// Generation is a number that changes with every transaction of nftables, whoever makes it.
	Generation() (uint32, error)
	// Count counts what a table has. What isn't there counts as empty.
	Count(family uint8, table string, sets []string) (Contents, error)
}

// Tracker knows whether others have changed a table, as far as counting tells. It costs a message to the kernel as long as nobody changes any table.
type Tracker struct {
	Tables Tables
	Family uint8
	Table  string

	known uint32 // the generation at which the table was right; 0: not known
}

// Own makes a change of the table by its owner.
func (t *Tracker) Own(change func() error) error {
	before, err := t.Tables.Generation()
	right := err == nil && before == t.known
	t.known = 0
	if err := change(); err != nil {
		return err
	}
	if after, err := t.Tables.Generation(); err == nil && right && (after == before || after == before+1) {
		t.known = after
	}
	return nil
}

// Intact says whether the table has what it should have, which is asked for if the kernel has to be looked at.
func (t *Tracker) Intact(want func() Contents) (bool, error) {
	now, err := t.Tables.Generation()
	if err != nil {
		return false, err
	}
	if now == t.known {
		return true, nil
	}
	should := want()
	names := make([]string, 0, len(should.Elements))
	for name := range should.Elements {
		names = append(names, name)
	}
	has, err := t.Tables.Count(t.Family, t.Table, names)
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		return true, nil // it is being changed right now: the next look tells
	}
	if err != nil || !has.Equal(should) {
		t.known = 0
		return false, err
	}
	t.known = now
	return true, nil
}

func tableRequest(family uint8, operation, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(nftables|operation, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return req
}

// Generation implements Tables.
func (Netlink) Generation() (uint32, error) {
	messages, err := tableRequest(syscall.AF_UNSPEC, nftGetGen, 0).Execute(syscall.NETLINK_NETFILTER, 0)
	if err != nil {
		return 0, fmt.Errorf("asking for nftables' generation: %w", err)
	}
	for _, msg := range messages {
		generation, found := uint32(0), false
		eachAttribute(msg[min(len(msg), nl.SizeofNfgenmsg):], func(kind uint16, value []byte) {
			if kind == attrGeneration && len(value) == 4 {
				generation, found = binary.BigEndian.Uint32(value), true
			}
		})
		if found {
			return generation, nil
		}
	}
	return 0, errors.New("the kernel doesn't tell nftables' generation")
}

// Count implements Tables.
func (Netlink) Count(family uint8, table string, sets []string) (Contents, error) {
	c := Contents{Elements: map[string]int{}}
	rules := tableRequest(family, nftGetRule, syscall.NLM_F_DUMP)
	rules.AddData(nl.NewRtAttr(attrTable, nl.ZeroTerminated(table)))
	err := ignoreMissing(rules.ExecuteIter(syscall.NETLINK_NETFILTER, 0, func([]byte) bool { c.Rules++; return true }))
	if err != nil {
		return c, fmt.Errorf("counting the rules of nftables table %s: %w", table, err)
	}
	for _, set := range sets {
		elements := tableRequest(family, nftGetSetElem, syscall.NLM_F_DUMP)
		elements.AddData(nl.NewRtAttr(attrTable, nl.ZeroTerminated(table)))
		elements.AddData(nl.NewRtAttr(attrSet, nl.ZeroTerminated(set)))
		count := 0
		err := ignoreMissing(elements.ExecuteIter(syscall.NETLINK_NETFILTER, 0, func(msg []byte) bool {
			eachAttribute(msg[min(len(msg), nl.SizeofNfgenmsg):], func(kind uint16, value []byte) {
				if kind == attrElements {
					eachAttribute(value, func(uint16, []byte) { count++ })
				}
			})
			return true
		}))
		if err != nil {
			return c, fmt.Errorf("counting the elements of %s in nftables table %s: %w", set, table, err)
		}
		c.Elements[set] = count
	}
	return c, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return err
}

// eachAttribute walks over attributes without keeping any.
func eachAttribute(data []byte, found func(kind uint16, value []byte)) {
	const header, align = 4, 4
	for len(data) >= header {
		length := int(binary.NativeEndian.Uint16(data))
		if length < header || length > len(data) {
			return
		}
		found(binary.NativeEndian.Uint16(data[2:])&^uint16(nested), data[header:length])
		data = data[min(len(data), (length+align-1)&^(align-1)):]
	}
}
