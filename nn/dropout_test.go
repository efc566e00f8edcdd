package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// dropped returns which of n images' units a dropout layer zeroes, (N,C,H,W).
func dropped(t *testing.T, l *Dropout, n int, in Shape, threads int, p Pass) []bool {
	t.Helper()
	p.Train = true
	x := make([]float32, n*in.C*in.H*in.W)
	for i := range x {
		x[i] = 1
	}
	keep := 1 / (1 - l.Ratio)
	mask := make([]bool, len(x))
	for i, v := range mustRig(t, l, n, in, threads).forward(x, p) {
		if v != 0 && v != keep {
			t.Fatalf("unit %d is %g, want 0 or %g", i, v, keep)
		}
		mask[i] = v == 0
	}
	return mask
}

func share(mask []bool) float64 {
	n := 0
	for _, d := range mask {
		if d {
			n++
		}
	}
	return float64(n) / float64(len(mask))
}

func TestDropoutShare(t *testing.T) {
	const n = 8
	in := Shape{1000, 1, 1}
	for _, ratio := range []float32{0, 0.1, 0.5, 0.9} {
		mask := dropped(t, NewDropout("drop", ratio, 6), n, in, 2, Pass{Seed: 1, Iteration: 3})
		// five standard deviations of a binomial share
		bound := func(units int) float64 {
			return 5 * math.Sqrt(float64(ratio)*float64(1-ratio)/float64(units))
		}
		if got := share(mask); math.Abs(got-float64(ratio)) > bound(len(mask)) {
			t.Errorf("ratio %g: %g of the units are dropped", ratio, got)
		}
		for i := range n {
			if got := share(mask[i*1000 : (i+1)*1000]); math.Abs(got-float64(ratio)) > bound(1000) {
				t.Errorf("ratio %g: %g of the units of image %d are dropped", ratio, got, i)
			}
		}
	}
}

func TestDropoutMaskOfBatchSplits(t *testing.T) {
	l := NewDropout("drop", 0.5, 7)
	in := Shape{18, 3, 2}
	size := in.C * in.H * in.W
	p := Pass{Seed: 9, Iteration: 2, Image: 40}
	whole := dropped(t, l, 6, in, 1, p)
	for _, threads := range []int{1, 3} {
		for _, cut := range []int{1, 3, 5} {
			second := p
			second.Image += cut
			parts := slices.Concat(dropped(t, l, cut, in, threads, p), dropped(t, l, 6-cut, in, threads, second))
			if !slices.Equal(parts, whole) {
				t.Errorf("%d threads: cut after image %d, the masks are others", threads, cut)
			}
		}
	}
	for i := range 6 {
		for j := range i {
			if slices.Equal(whole[i*size:(i+1)*size], whole[j*size:(j+1)*size]) {
				t.Errorf("images %d and %d have the same mask", j, i)
			}
		}
	}
}

// TestDropoutMasksDiffer: masks of other seeds, iterations, layers and images agree in
// half of the units, as independent ones do.
func TestDropoutMasksDiffer(t *testing.T) {
	in := Shape{4000, 1, 1}
	mask := func(id int, p Pass) []bool { return dropped(t, NewDropout("drop", 0.5, id), 1, in, 1, p) }
	masks := map[string][]bool{"base": mask(6, Pass{Seed: 1, Iteration: 1, Image: 1})}
	for i := range 3 {
		masks[fmt.Sprint("seed ", i+2)] = mask(6, Pass{Seed: uint64(i + 2), Iteration: 1, Image: 1})
		masks[fmt.Sprint("iteration ", i+2)] = mask(6, Pass{Seed: 1, Iteration: i + 2, Image: 1})
		masks[fmt.Sprint("layer ", i+7)] = mask(i+7, Pass{Seed: 1, Iteration: 1, Image: 1})
		masks[fmt.Sprint("image ", i+2)] = mask(6, Pass{Seed: 1, Iteration: 1, Image: i + 2})
	}
	bound := 5 * math.Sqrt(0.25/4000)
	for a, x := range masks {
		for b, y := range masks {
			if a >= b {
				continue
			}
			same := make([]bool, len(x))
			for i := range x {
				same[i] = x[i] == y[i]
			}
			if got := share(same); math.Abs(got-0.5) > bound {
				t.Errorf("masks of %s and %s agree in %g of the units, want about half", a, b, got)
			}
		}
	}
}

func TestDropoutBackward(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	in := Shape{18, 2, 3}
	p := Pass{Train: true, Seed: 3, Iteration: 8, Image: 2}
	r := mustRig(t, NewDropout("drop", 0.25, 7), 3, in, 2)
	x, dy := randoms(rng, 3*18*2*3, 1), randoms(rng, 3*18*2*3, 1)
	y := r.forward(x, p)
	checkStray(t, "y", r.y)
	dx := r.backward(dy, p)
	checkStray(t, "dx", r.dx)
	scale := float32(1) / (1 - 0.25)
	for i := range y {
		wantY, wantDx := x[i]*scale, dy[i]*scale
		if y[i] == 0 {
			wantY, wantDx = 0, 0
		}
		if y[i] != wantY || dx[i] != wantDx {
			t.Fatalf("unit %d: y %g, dx %g, want %g and %g", i, y[i], dx[i], wantY, wantDx)
		}
	}
}

func TestDropoutInInference(t *testing.T) {
	x := randoms(rand.New(rand.NewPCG(5, 4)), 2*18*2*3, 1)
	y := mustRig(t, NewDropout("drop", 0.9, 1), 2, Shape{18, 2, 3}, 1).forward(x, Pass{Seed: 1})
	if err := sameBits(y, x); err != nil {
		t.Errorf("the layer: %v", err)
	}
	c := NewChain(3, NewDropout("drop", 0.9, 1))
	in := images(1, 2, 4, 5)
	out, err := c.Forward(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := sameBits(out.Data, in.Data); err != nil {
		t.Errorf("a chain of it alone: %v", err)
	}
}
