package dataset

import (
	"math/bits"
	"math/rand/v2"
)

// Uses of random numbers. The use is part of a stream's seed, so that no two uses
// share a stream.
const (
	useOrder = iota + 1
	useAugment
	useSplit
	useShards
)

// stream is a random number generator that can be started at any (seed, use,
// a, b) at no cost. So the numbers drawn for an image don't depend on the goroutine
// that draws them, or on when it does.
type stream struct {
	pcg rand.PCG
}

func (s *stream) start(seed, use, a, b uint64) *rand.Rand {
	h := mix(mix(mix(mix(seed)^use)^a) ^ b)
	s.pcg.Seed(h, mix(h))
	return rand.New(&s.pcg)
}

// mix is the finaliser of SplitMix64 (Steele, Lea & Flood 2014), a bijection
// whose every output bit depends on every input bit.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// shuffle is Fisher and Yates's. It is written out because the order of the samples,
// which decides a run's bits, must not change with the standard library.
func (s *stream) shuffle(v []int) {
	for i := len(v) - 1; i > 0; i-- {
		hi, _ := bits.Mul64(s.pcg.Uint64(), uint64(i+1))
		v[i], v[hi] = v[hi], v[i]
	}
}

// epochOrder returns the indices of n samples in the order of an epoch.
func epochOrder(n int, shuffled bool, seed uint64, epoch int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	if shuffled {
		var rng stream
		rng.start(seed, useOrder, uint64(epoch), 0)
		rng.shuffle(order)
	}
	return order
}
