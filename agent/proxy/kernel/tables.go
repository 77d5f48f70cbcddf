package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

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

// Tables is what a Tracker asks of a kernel; Netlink is one.
type Tables interface {
	// Generation is a number that changes with every transaction of nftables, whoever makes it.
	Generation() (uint32, error)
	// Rules and Elements count what a table, and a set or map of it, has. What isn't there counts as empty.
	Rules(family uint8, table string) (int, error)
	Elements(family uint8, table, set string) (int, error)
}

// Tracker knows whether others have changed a table, as far as counting tells. It costs a message to the kernel as long as nobody changes any table.
type Tracker struct {
	Tables Tables
	Family uint8
	Table  string

	known uint32    // the generation at which the table was right; 0: not known
	again time.Time // when elements may be counted again
}

// A count of so many elements is followed by a rest of so many times as long as it took: somebody may change other tables all the time.
const (
	manyElements = 10_000
	restTimes    = 20
)

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

// Intact says whether the table has as many rules as it should have, and elements by the names of their sets and maps.
func (t *Tracker) Intact(rules int, elements func() map[string]int) (bool, error) {
	now, err := t.Tables.Generation()
	if err != nil {
		return false, err
	}
	if now == t.known {
		return true, nil
	}
	t.known = 0
	if has, err := t.Tables.Rules(t.Family, t.Table); err != nil || has != rules {
		return unsure(err), ignoreInterrupted(err)
	}
	start := time.Now()
	if start.Before(t.again) {
		return true, nil
	}
	total := 0
	for set, count := range elements() {
		total += count
		if has, err := t.Tables.Elements(t.Family, t.Table, set); err != nil || has != count {
			return unsure(err), ignoreInterrupted(err)
		}
	}
	if total > manyElements {
		t.again = time.Now().Add(restTimes * time.Since(start))
	}
	t.known = now
	return true, nil
}

// unsure says that somebody changes what is counted at this moment: the next look tells.
func unsure(err error) bool { return errors.Is(err, netlink.ErrDumpInterrupted) }

func ignoreInterrupted(err error) error {
	if unsure(err) {
		return nil
	}
	return err
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

// Rules implements Tables.
func (Netlink) Rules(family uint8, table string) (count int, err error) {
	req := tableRequest(family, nftGetRule, syscall.NLM_F_DUMP)
	req.AddData(nl.NewRtAttr(attrTable, nl.ZeroTerminated(table)))
	err = ignoreMissing(req.ExecuteIter(syscall.NETLINK_NETFILTER, 0, func([]byte) bool { count++; return true }))
	if err != nil {
		return 0, fmt.Errorf("counting the rules of nftables table %s: %w", table, err)
	}
	return count, nil
}

// Elements implements Tables.
func (Netlink) Elements(family uint8, table, set string) (count int, err error) {
	req := tableRequest(family, nftGetSetElem, syscall.NLM_F_DUMP)
	req.AddData(nl.NewRtAttr(attrTable, nl.ZeroTerminated(table)))
	req.AddData(nl.NewRtAttr(attrSet, nl.ZeroTerminated(set)))
	err = ignoreMissing(req.ExecuteIter(syscall.NETLINK_NETFILTER, 0, func(msg []byte) bool {
		eachAttribute(msg[min(len(msg), nl.SizeofNfgenmsg):], func(kind uint16, value []byte) {
			if kind == attrElements {
				eachAttribute(value, func(uint16, []byte) { count++ })
			}
		})
		return true
	}))
	if err != nil {
		return 0, fmt.Errorf("counting the elements of %s in nftables table %s: %w", set, table, err)
	}
	return count, nil
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
