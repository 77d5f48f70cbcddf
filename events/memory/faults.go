package memory

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Faults says what goes wrong, each with a probability from 0 to 1.
type Faults struct {
	Seed uint64

	LostRequest         float64 // an append fails, and nothing was appended
	LostAcknowledgement float64 // an append fails, though all was appended
	Duplicate           float64 // an append reaches the ledger twice
	Conflict            float64 // an append is refused as if another writer had been first
	Delay               float64 // an append takes up to MaxDelay
	Stall               float64 // a delivery waits for up to MaxDelay
	MaxDelay            time.Duration
}

var errLost = errors.New("injected fault: no acknowledgement came")

type fault uint8

const (
	none fault = iota
	lostRequest
	lostAcknowledgement
	duplicate
	spuriousConflict
)

// dice draws faults.
type dice struct {
	Faults
	mu     sync.Mutex
	random *rand.Rand
}

func newDice(f Faults) *dice {
	return &dice{Faults: f, random: rand.New(rand.NewPCG(f.Seed, 0))}
}

func (d *dice) hit(probability float64) bool {
	if probability == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.random.Float64() < probability
}

func (d *dice) forAppend() fault {
	switch {
	case d.hit(d.LostRequest):
		return lostRequest
	case d.hit(d.LostAcknowledgement):
		return lostAcknowledgement
	case d.hit(d.Duplicate):
		return duplicate
	case d.hit(d.Conflict):
		return spuriousConflict
	}
	return none
}

func (d *dice) delay(ctx context.Context) { d.sleep(ctx, d.Delay) }

func (d *dice) stall(ctx context.Context) { d.sleep(ctx, d.Stall) }

func (d *dice) sleep(ctx context.Context, probability float64) {
	if d.MaxDelay <= 0 || !d.hit(probability) {
		return
	}
	d.mu.Lock()
	pause := time.Duration(d.random.Int64N(int64(d.MaxDelay)))
	d.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}
