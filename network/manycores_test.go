package network_test

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// manyCores trains a small network of all kinds of layers by two steps, with several networks
// at a time, and returns the bits of its parameters and of what it says about images then.
func manyCores(t *testing.T, config string, threads, networks int) []uint32 {
	t.Helper()
	all := make([][]uint32, networks)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			o := network.Options{Config: config, Classes: 7, Width: 0.25, FC: 96, Input: 64, Dropout: 0.5, LRN: nn.Krizhevsky}
			n, err := network.New(o)
			if err != nil {
				t.Error(err)
				return
			}
			n.SetThreads(threads)
			if err := n.Init(network.He, 3); err != nil {
				t.Error(err)
				return
			}
			const batch = 5
			x, labels := vggtest.Ramp(tensor.New(batch, 3, 64, 64)), []int{3, 1, 4, 1, 5}
			training, err := n.Chain().NewTraining(batch, 64, 64)
			if err != nil {
				t.Error(err)
				return
			}
			sgd := nn.NewSGD(n.Chain())
			for step := range 2 {
				if _, err := training.StepSGD(x, labels, nn.Pass{Seed: 1, Iteration: step}, sgd, nn.Update{Rate: 0.01, Momentum: 0.9, Decay: 5e-4}); err != nil {
					t.Error(err)
					return
				}
			}
			var bits []uint32
			add := func(values []float32) {
				for _, v := range values {
					bits = append(bits, math.Float32bits(v))
				}
			}
			for _, p := range n.Params() {
				add(p.Value)
			}
			for _, side := range []int{64, 120} {
				y, err := n.Forward(vggtest.Ramp(tensor.New(2, 3, side, side)))
				if err != nil {
					t.Error(err)
					return
				}
				add(y.Data)
			}
			all[i] = bits
		})
	}
	wg.Wait()
	for i := range all {
		if !slices.Equal(all[i], all[0]) {
			t.Fatalf("%s, %d threads: network %d of %d trained at a time differs", config, threads, i+1, networks)
		}
	}
	return all[0]
}

// TestManyThreads: 16 and 64 threads, far more than processors, end, with the bits of one.
func TestManyThreads(t *testing.T) {
	for _, config := range []string{"D", "A-LRN", "D-BN"} {
		want := manyCores(t, config, 1, 1)
		for _, c := range []struct{ threads, networks int }{{16, 1}, {64, 1}, {64, 3}} {
			t.Run(fmt.Sprintf("%s/%d threads, %d networks", config, c.threads, c.networks), func(t *testing.T) {
				if got := manyCores(t, config, c.threads, c.networks); !slices.Equal(got, want) {
					t.Errorf("other bits than one thread's")
				}
			})
		}
	}
}
