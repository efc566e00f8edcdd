package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// trainingRig is the operands of a convolution's passes in training.
type trainingRig struct {
	c             convCase
	p             Winograd
	wk            *Work
	x, dy         *Act
	weights, bias []float32
}

func newTrainingRig(c convCase, p Winograd, threads int) *trainingRig {
	g := c.g
	rng := rand.New(rand.NewPCG(51, uint64(g.C*1000+g.K)))
	r := &trainingRig{c: c, p: p, wk: NewWork(NewTeam(threads)), weights: make([]float32, g.WeightLen()), bias: make([]float32, g.BiasLen())}
	g.pack(r.weights, randoms(rng, g.K*g.C*g.R*g.R))
	copy(r.bias, randoms(rng, g.K))
	end := p.End(g, c.h, c.w)
	r.x = borderedAct(randoms(rng, c.n*g.C*c.h*c.w), c.n, g.C, c.h, c.w, 1, end)
	r.dy = borderedAct(randoms(rng, c.n*g.K*c.h*c.w), c.n, g.K, c.h, c.w, 1, end)
	return r
}

// trainingPlans are plans of the forms that train, with whole and with narrow tiles.
func trainingPlans() []Winograd {
	four, six := Form{4, 3}, Form{6, 3}
	return []Winograd{{four, 5, byPanel, false}, {four, 7, sharedV, true}, {six, 5, byPanel, true}, {six, 3, sharedV, false}, {six, 1000, byPosition, true}}
}

func eachTrainingRig(t *testing.T, f func(t *testing.T, r *trainingRig)) {
	eachISA(t, func(t *testing.T) {
		for _, c := range winoCases {
			for _, p := range trainingPlans() {
				t.Run(fmt.Sprintf("%v/%v", c, p), func(t *testing.T) { f(t, newTrainingRig(c, p, 3)) })
			}
		}
	})
}

// TestPoolingFused: pooling within the output transform gives the bits and the masks of
// pooling the whole output; its gradient is that of the pooling and the rectification.
func TestPoolingFused(t *testing.T) {
	eachTrainingRig(t, func(t *testing.T, r *trainingRig) {
		c, g := r.c, r.c.g
		if c.h < 2 || c.w < 2 {
			return // no window to pool
		}
		for _, relu := range []bool{true, false} {
			whole := newAct(nil, c.n, g.K, c.h, c.w, 1)
			r.wk.WinogradTraining(r.p, g, r.x, r.weights, r.bias, relu, whole, nil)
			var hits, want Hits
			for _, h := range []*Hits{&hits, &want} {
				h.Shape(c.n, g.K, c.h/2, c.w/2, anyMasks(rand.New(rand.NewPCG(1, 1)), HitsLen(c.n, g.K, c.h/2, c.w/2)))
			}
			y, wantY := newAct(nil, c.n, g.K, c.h/2, c.w/2, 2), newAct(nil, c.n, g.K, c.h/2, c.w/2, 2)
			y.ClearBorder()
			r.wk.WinogradTraining(r.p, g, r.x, r.weights, r.bias, relu, y, &hits)
			r.wk.MaxPoolHits(whole, wantY, relu, &want)
			checkBits(t, "y", planar(y), planar(wantY))
			checkBorder(t, y)
			if !slices.Equal(hits.Data, want.Data) {
				t.Fatal("the maxima come from elsewhere")
			}

			dy := newAct(randoms(rand.New(rand.NewPCG(2, 2)), c.n*g.K*(c.h/2)*(c.w/2)), c.n, g.K, c.h/2, c.w/2, 0)
			dx, wantDx := newAct(nil, c.n, g.K, c.h, c.w, 1), newAct(nil, c.n, g.K, c.h, c.w, 0)
			r.wk.Unpool(&hits, dy, dx)
			r.wk.MaxPoolGrad(whole, wantY, dy, wantDx)
			if relu {
				r.wk.BiasGrad(whole, wantDx, true, nil)
			}
			checkBits(t, "dx", planar(dx), planar(wantDx))
		}
	})
}

// TestMaskedData: dx has passed the rectification before the layer.
func TestMaskedData(t *testing.T) {
	eachTrainingRig(t, func(t *testing.T, r *trainingRig) {
		c, g := r.c, r.c.g
		want, dx := newAct(nil, c.n, g.C, c.h, c.w, 0), newAct(nil, c.n, g.C, c.h, c.w, 1)
		dx.ClearBorder()
		r.wk.WinogradBackwardData(r.p, g, r.dy, r.weights, nil, want)
		r.wk.WinogradBackwardData(r.p, g, r.dy, r.weights, r.x, dx)
		r.wk.BiasGrad(r.x, want, true, nil)
		checkBits(t, "dx", planar(dx), planar(want))
		checkBorder(t, dx)
	})
}

// TestBiasFromTransform: the bias's gradient comes from the transformed dy, and the parts of
// a batch give the bits of the whole.
func TestBiasFromTransform(t *testing.T) {
	eachTrainingRig(t, func(t *testing.T, r *trainingRig) {
		c, g := r.c, r.c.g
		du, db := make([]float32, r.p.FilterLen(g)), make([]float32, g.BiasLen())
		r.wk.WinogradBackwardWeights(r.p, g, r.x, r.dy, true, du, db)
		want := make([]float64, g.BiasLen())
		for i, v := range planar(r.dy) {
			want[i/(c.h*c.w)%g.K] += float64(v)
		}
		checkRelative(t, "db", db, want, 2e-6)

		parts := make([]float32, len(db))
		for n := range c.n {
			x, dy := *r.x, *r.dy
			x.N, x.Data = 1, x.Data[n*x.imageLen():]
			dy.N, dy.Data = 1, dy.Data[n*dy.imageLen():]
			r.wk.WinogradBackwardWeights(r.p, g, &x, &dy, n == 0, du, parts)
		}
		checkBits(t, "db image by image", parts, db)
	})
}

// TestWinogradUpdate: the update from the Winograd domain has the bits of folding the
// gradient and updating by it.
func TestWinogradUpdate(t *testing.T) {
	eachTrainingRig(t, func(t *testing.T, r *trainingRig) {
		g := r.c.g
		rng := rand.New(rand.NewPCG(53, 53))
		du, dw := randoms(rng, r.p.FilterLen(g)), make([]float32, g.WeightLen())
		velocity := randoms(rng, g.WeightLen())
		w, v := slices.Clone(r.weights), slices.Clone(velocity)
		r.wk.WinogradFold(r.p, g, du, dw)
		r.wk.SGD(w, v, dw, 0.1, 0.9, 0.01)
		r.wk.WinogradUpdate(r.p, g, du, Update{r.weights, velocity, 0.1, 0.9, 0.01})
		checkBits(t, "weights", r.weights, w)
		checkBits(t, "momentum", velocity, v)
	})
}

// TestFCUpdate: dx, gradient and update in one pass have the bits of three passes.
func TestFCUpdate(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, c := range []convCase{
			{Conv{16, 32, 1, 0}, 1, 1, 1}, {Conv{20, 40, 2, 0}, 3, 2, 2}, {Conv{33, 70, 3, 0}, 5, 3, 3},
			{Conv{512, 17, 1, 0}, 15, 1, 1}, {Conv{600, 33, 1, 0}, 2, 1, 1},
		} {
			for _, threads := range []int{1, 3} {
				t.Run(fmt.Sprintf("%v/threads%d", c, threads), func(t *testing.T) {
					g := c.g
					rng := rand.New(rand.NewPCG(55, uint64(g.C)))
					weights, velocity := make([]float32, g.WeightLen()), make([]float32, g.WeightLen())
					g.pack(weights, randoms(rng, g.K*g.C*g.R*g.R))
					x := newAct(randoms(rng, c.n*g.C*c.h*c.w), c.n, g.C, c.h, c.w, 0)
					dy := newAct(randoms(rng, c.n*g.K), c.n, g.K, 1, 1, 0)
					wk := NewWork(NewTeam(threads))
					w, v, dw := slices.Clone(weights), slices.Clone(velocity), make([]float32, g.WeightLen())
					wantDx, dx := newAct(nil, c.n, g.C, c.h, c.w, 0), newAct(nil, c.n, g.C, c.h, c.w, 1)
					dx.ClearBorder()
					for range 2 {
						clear(dw)
						wk.ConvBackwardData(g, dy, w, wantDx)
						wk.ConvBackwardWeights(g, x, dy, dw)
						wk.SGD(w, v, dw, 0.1, 0.9, 0.01)
						wk.FCUpdate(g, x, dy, Update{weights, velocity, 0.1, 0.9, 0.01}, dx)
						checkBits(t, "dx", planar(dx), planar(wantDx))
						checkBits(t, "weights", weights, w)
						checkBits(t, "momentum", velocity, v)
						checkBorder(t, dx)
						checkPadding(t, dx)
					}
					wk.SGD(w, v, dw, 0.1, 0.9, 0.01)
					wk.FCUpdate(g, x, dy, Update{weights, velocity, 0.1, 0.9, 0.01}, nil)
					checkBits(t, "weights, without dx", weights, w)
				})
			}
		}
	})
}
