package nn

import (
	"math"
	"testing"

	"github.com/verydeep/vgg/internal/kernel"
)

// networkOnce returns what a small network of every kind of layer computes: the scores of
// several image sizes, also with 16-bit weights, and two steps' losses and parameters.
// A step takes its batch in parts of the given number of images.
func networkOnce(t *testing.T, threads, part int) [][]float32 {
	t.Helper()
	var all [][]float32
	for _, storage := range []Storage{F32, F16, BF16} {
		c := testChain(t, threads, true)
		if err := c.StoreFC(storage); err != nil {
			t.Fatal(err)
		}
		for i, s := range sizes[1:4] {
			y, err := c.Forward(images(uint64(i), s[0], s[1], s[2]))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, y.Data)
		}
	}
	const n = 4
	c := testChain(t, threads, false)
	s := NewSGD(c)
	training, err := c.NewTraining(part, 8, 8)
	if err != nil {
		t.Fatal(err)
	}
	x, labels := images(9, n, 8, 8), labelsOf(n)
	for i := range 2 {
		c.ZeroGrad()
		var losses []float32
		for from := 0; from < n; from += part {
			p := Pass{Train: true, Iteration: i, Image: from, Batch: n, More: from+part < n}
			y := images(9, part, 8, 8)
			copy(y.Data, x.Data[from*x.Len()/n:])
			loss, err := training.Step(y, labels[from:from+part], p)
			if err != nil {
				t.Fatal(err)
			}
			losses = append(losses, float32(loss))
		}
		if part == n {
			all = append(all, losses)
		}
		s.Step(Update{Rate: 0.05, Momentum: 0.9, Decay: 1e-3})
	}
	for _, p := range c.Params() {
		v := make([]float32, p.Len())
		if err := p.Get(v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

// TestPartialSets: whichever kernel the instruction set lacks, networks compute the same
// to rounding; and still, neither threads nor the parts of a batch change a bit.
func TestPartialSets(t *testing.T) {
	if emulated() {
		t.Skip("not on an emulator, where it takes minutes: TestPartialSetsRunLayers of the kernels leaves out the same ones")
	}
	const n = 4
	full := kernel.Current().Name()
	t.Cleanup(func() {
		if err := kernel.Use(full); err != nil {
			t.Error(err)
		}
	})
	want := networkOnce(t, 1, n)
	names := kernel.Kernels()
	if full == "go" {
		names = names[:1] // all partial sets of the twins are the twins
	}
	for _, name := range names {
		if err := kernel.Use(full + "-" + name); err != nil {
			t.Fatal(err)
		}
		t.Run(kernel.Current().Name(), func(t *testing.T) {
			got, threads := networkOnce(t, 1, n), networkOnce(t, 3, n)
			for i, w := range want {
				var diff, most float64
				for j, v := range w {
					diff = max(diff, math.Abs(float64(got[i][j]-v)))
					most = max(most, math.Abs(float64(v)))
				}
				if !(diff <= 2e-4*most) {
					t.Errorf("result %d differs by %g of %g", i, diff, most)
				}
				if err := sameBits(threads[i], got[i]); err != nil {
					t.Errorf("result %d by three threads: %v", i, err)
				}
			}
			parts := networkOnce(t, 2, 1)
			for i := range len(testChain(t, 1, false).Params()) {
				if err := sameBits(parts[len(parts)-1-i], got[len(got)-1-i]); err != nil {
					t.Errorf("parameters after steps image by image: %v", err)
				}
			}
		})
	}
}
