package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestABucketLetsTheBurstThroughAndThenTheRate(t *testing.T) {
	now := time.Unix(0, 0)
	b := bucket{rate: 10, burst: 20, level: 20, at: now}
	require.Zero(t, b.take(20, now))
	require.Equal(t, 500*time.Millisecond, b.take(5, now), "what is lent is waited for")
	require.Equal(t, time.Second, b.take(5, now), "one after the other")
	require.False(t, b.isFull())
	now = now.Add(2 * time.Second)
	require.Zero(t, b.take(10, now))
	require.Equal(t, 100*time.Millisecond, b.take(1, now))
	require.Zero(t, b.take(0, now.Add(time.Hour)))
	require.True(t, b.isFull())
	require.Zero(t, b.take(20, now.Add(time.Hour)), "it holds the burst and no more")
	require.Positive(t, b.take(1, now.Add(time.Hour)))
}
