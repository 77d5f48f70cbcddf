package announce

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	claims       = 5 // how often a new address is claimed
	claimEvery   = time.Second
	lookEvery    = 5 * time.Second  // links come, go and change
	defendEvery  = 10 * time.Second // RFC 5227's DEFEND_INTERVAL
	connectedFor = 8 * time.Second  // since the control plane was heard; a node is called lost after more
)

// Announcer answers for addresses on this machine's links.
type Announcer struct {
	log     *slog.Logger
	changed chan struct{} // holds a token when there is something to do

	mu       sync.Mutex
	wanted   []netip.Addr
	heard    time.Time
	yielded  map[netip.Addr]bool
	defended map[place]time.Time
	due      map[place]int // claims that are still to be made

	responders map[speech]responder // Run's own
	places     map[place]bool       // likewise
}

// speech is a link and the family of addresses that is spoken of on it.
type speech struct {
	link int
	v6   bool
}

// responder answers on one link for the addresses of one family.
type responder interface {
	answerFor(addresses map[netip.Addr]bool)
	claim(address netip.Addr) error // tell everybody
	over() bool                     // nothing is heard any more, as when the link went down
	close()
}

// New returns an announcer, which does nothing until Run.
func New(log *slog.Logger) *Announcer {
	return &Announcer{log: log, changed: make(chan struct{}, 1), yielded: map[netip.Addr]bool{}, defended: map[place]time.Time{}, due: map[place]int{},
		responders: map[speech]responder{}, places: map[place]bool{}}
}

// Announce replaces the addresses that are answered for. It doesn't wait. Addresses that were given up are claimed again.
func (a *Announcer) Announce(addresses []netip.Addr) {
	a.mu.Lock()
	a.wanted = slices.Clone(addresses)
	clear(a.yielded)
	a.mu.Unlock()
	a.wake()
}

// Heard says that the control plane was heard just now.
func (a *Announcer) Heard() {
	a.mu.Lock()
	a.heard = time.Now()
	a.mu.Unlock()
}

func (a *Announcer) wake() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Run answers until ctx ends. A link that can't be spoken on is told in the log and tried again.
func (a *Announcer) Run(ctx context.Context) error {
	defer func() {
		for _, r := range a.responders {
			r.close()
		}
	}()
	look, claim := time.NewTicker(lookEvery), time.NewTicker(claimEvery)
	defer look.Stop()
	defer claim.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.changed:
			a.settle()
			a.claimDue()
		case <-look.C:
			a.settle()
		case <-claim.C:
			a.claimDue()
		}
	}
}

// settle brings the responders in line with what is wanted and with the links that there are.
func (a *Announcer) settle() {
	for on, r := range a.responders {
		if r.over() {
			r.close()
			delete(a.responders, on)
			maps.DeleteFunc(a.places, func(p place, _ bool) bool { return on == speech{p.link, p.address.Is6()} })
		}
	}
	a.mu.Lock()
	addresses := slices.DeleteFunc(slices.Clone(a.wanted), func(address netip.Addr) bool { return a.yielded[address] })
	a.mu.Unlock()
	var links []link
	if len(addresses) > 0 {
		var err error
		if links, err = listLinks(); err != nil {
			a.log.Warn("addresses stay where they are announced", "error", err)
			return
		}
	}
	wanted := places(addresses, links)
	sets := map[speech]map[netip.Addr]bool{}
	for p := range wanted {
		on := speech{p.link, p.address.Is6()}
		if sets[on] == nil {
			sets[on] = map[netip.Addr]bool{}
		}
		sets[on][p.address] = true
	}
	for on, r := range a.responders {
		if sets[on] == nil {
			r.close()
			delete(a.responders, on)
		}
	}
	for on, set := range sets {
		a.speak(on, set, links)
	}
	a.note(wanted, links)
}

// speak lets the responder of a link answer for addresses, and opens it if there is none.
func (a *Announcer) speak(on speech, set map[netip.Addr]bool, links []link) {
	r := a.responders[on]
	if r == nil {
		l := links[slices.IndexFunc(links, func(l link) bool { return l.index == on.link })]
		var err error
		if r, err = open(l, on.v6, func(address netip.Addr, by net.HardwareAddr) { a.contested(place{on.link, address}, by) }); err != nil {
			a.log.Warn("addresses can't be announced on a link; trying again", "link", l.name, "error", err)
			return
		}
		a.responders[on] = r
	}
	r.answerFor(set)
}

func open(l link, v6 bool, contested func(netip.Addr, net.HardwareAddr)) (responder, error) {
	if v6 {
		return openNDP(l, contested)
	}
	return openARP(l, contested)
}

// note remembers where addresses are announced now, and has new ones claimed.
func (a *Announcer) note(wanted map[place]bool, links []link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p := range wanted {
		on := speech{p.link, p.address.Is6()}
		if a.responders[on] == nil {
			delete(wanted, p) // to be tried again
			continue
		}
		if !a.places[p] {
			name := links[slices.IndexFunc(links, func(l link) bool { return l.index == p.link })].name
			a.log.Info("announcing", "address", p.address, "link", name)
			a.due[p] = claims
		}
	}
	for p := range a.places {
		if !wanted[p] {
			a.log.Info("not announcing any more", "address", p.address)
			delete(a.due, p)
			delete(a.defended, p)
		}
	}
	a.places = wanted
}

// claimDue makes the claims that are to be made now.
func (a *Announcer) claimDue() {
	a.mu.Lock()
	due := slices.Collect(maps.Keys(a.due))
	for _, p := range due {
		if a.due[p]--; a.due[p] == 0 {
			delete(a.due, p)
		}
	}
	a.mu.Unlock()
	for _, p := range due {
		if r := a.responders[speech{p.link, p.address.Is6()}]; r != nil {
			if err := r.claim(p.address); err != nil {
				a.log.Warn("an address could not be claimed", "address", p.address, "error", err)
			}
		}
	}
}

// contested is called when somebody else claims an address.
func (a *Announcer) contested(p place, by net.HardwareAddr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if now.Sub(a.heard) > connectedFor {
		if !a.yielded[p.address] {
			a.yielded[p.address] = true
			a.log.Warn("another machine claims an address, and the control plane is silent: giving it up", "address", p.address, "by", by)
			a.wake()
		}
		return
	}
	if now.Sub(a.defended[p]) >= defendEvery {
		a.defended[p] = now
		a.due[p] = max(a.due[p], 1)
		a.log.Warn("another machine claims an address that this one announces", "address", p.address, "by", by)
	}
}
