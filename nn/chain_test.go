package nn

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/tensor"
)

const testClasses = 7

// testChain is a chain of every type of layer over images of at least 8×8 pixels, with
// random parameters; without batch normalisation where norm is false.
func testChain(t testing.TB, threads int, norm bool) *Chain {
	t.Helper()
	l, err := NewLRN("lrn", LRNOptions{Size: 5, K: 2, Alpha: 0.1, Beta: 0.75, Form: Krizhevsky})
	if err != nil {
		t.Fatal(err)
	}
	layers := []Layer{NewConv("conv1_1", 3, 20, 3, 1, true), l, NewMaxPool("pool1")}
	if norm {
		layers = append(layers, NewConv("conv2_1", 20, 33, 3, 1, false), NewBatchNorm("conv2_1.bn", 33, true))
	} else {
		layers = append(layers, NewConv("conv2_1", 20, 33, 3, 1, true))
	}
	layers = append(layers,
		NewConv("conv2_2", 33, 18, 1, 0, false), NewReLU("relu2_2"), NewMaxPool("pool2"),
		NewFC("fc6", 18, 2, 40, true), NewDropout("drop6", 0.5, 6), NewFC("fc8", 40, 1, testClasses, false))
	c := NewChain(3, layers...)
	c.SetThreads(threads)
	rng := rand.New(rand.NewPCG(21, 8))
	for _, l := range layers {
		randomise(rng, l)
	}
	return c
}

func images(seed uint64, n, h, w int) *tensor.Tensor {
	x := tensor.New(n, 3, h, w)
	copy(x.Data, randoms(rand.New(rand.NewPCG(seed, seed)), x.Len(), 1))
	return x
}

func labelsOf(n int) []int {
	labels := make([]int, n)
	for i := range labels {
		labels[i] = (3*i + 1) % testClasses
	}
	return labels
}

// sizes are the inputs (N,H,W) that the tests run, dense ones among them.
var sizes = [][3]int{{1, 8, 8}, {3, 8, 8}, {1, 13, 31}, {1, 31, 13}, {2, 21, 9}, {5, 8, 8}}

func TestForwardConcurrently(t *testing.T) {
	shared := testChain(t, 2, true)
	inputs, want := make([]*tensor.Tensor, len(sizes)), make([]*tensor.Tensor, len(sizes))
	for i, s := range sizes {
		inputs[i] = images(uint64(i), s[0], s[1], s[2])
		var err error
		if want[i], err = testChain(t, 1, true).Forward(inputs[i]); err != nil {
			t.Fatal(err)
		}
		for j, v := range want[i].Data {
			if v != v {
				t.Fatalf("input %v: score %d is NaN", inputs[i].Shape, j)
			}
		}
	}
	var wg sync.WaitGroup
	for g := range 24 { // more than the workspaces kept
		wg.Go(func() {
			for round := range 4 {
				i := (g + round) % len(sizes)
				got, err := shared.Forward(inputs[i])
				if err != nil {
					t.Error(err)
					return
				}
				if !slices.Equal(got.Shape, want[i].Shape) {
					t.Errorf("input %v: output %v, want %v", inputs[i].Shape, got.Shape, want[i].Shape)
				}
				if err := sameBits(got.Data, want[i].Data); err != nil {
					t.Errorf("input %v beside others: %v", inputs[i].Shape, err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(shared.free); n < 1 || n > maxFree {
		t.Errorf("%d workspaces kept, want 1 … %d", n, maxFree)
	}
}

// TestForwardDense: a score of the class score map depends on the pixels of its
// receptive field alone, up to rounding: Winograd's tiles reach beyond it.
func TestForwardDense(t *testing.T) {
	c := testChain(t, 2, true)
	y, err := c.Forward(images(1, 2, 29, 26))
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{2, testClasses, 6, 5}; !slices.Equal(y.Shape, want) {
		t.Fatalf("score map %v, want %v", y.Shape, want)
	}
	x := images(1, 2, 29, 26)
	for i := range x.Data {
		if i%26 >= 4*2+11 { // column j's field ends at pixel 4j+10
			x.Data[i] = 9
		}
	}
	z, err := c.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	for i := range y.Data {
		changed := math.Abs(float64(y.Data[i]-z.Data[i])) > 1e-5*(1+math.Abs(float64(y.Data[i])))
		if inside := i%5 >= 3; changed != inside {
			t.Fatalf("score %d is %g, then %g; pixels in its receptive field changed: %v", i, y.Data[i], z.Data[i], inside)
		}
	}
}

// SetThreads is safe while passes and training steps run, and changes no bit of them. The race
// detector sees to the rest.
func TestSetThreadsDuringPasses(t *testing.T) {
	c := testChain(t, 2, true)
	want := map[int][]float32{}
	for i, s := range sizes {
		y, err := c.Forward(images(3, s[0], s[1], s[2]))
		if err != nil {
			t.Fatal(err)
		}
		want[i] = y.Data
	}
	stop := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				c.SetThreads(1 + n%4)
				c.Release()
				runtime.Gosched()
			}
		}
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for round := range 10 {
				i := round % len(sizes)
				y, err := c.Forward(images(3, sizes[i][0], sizes[i][1], sizes[i][2]))
				if err == nil {
					err = sameBits(y.Data, want[i])
				}
				if err == nil {
					err = c.Prepare(sizes[i][0], sizes[i][1], sizes[i][2])
				}
				if err != nil {
					t.Errorf("input %v: %v", sizes[i], err)
				}
			}
		})
	}
	wg.Wait()
	training, err := c.NewTraining(3, 8, 8)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := training.Step(images(3, 3, 8, 8), labelsOf(3), Pass{}); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	changing.Wait()
}

// However many passes ran at once, only so many workspaces are kept, and one always.
func TestWorkspacesAreBounded(t *testing.T) {
	c := testChain(t, 1, true)
	var taken []*workspace
	for range 3 * maxFree {
		ws, err := c.take(1, 64, 64)
		if err != nil {
			t.Fatal(err)
		}
		ws.step(0)
		if floats, err := c.WorkspaceFloats(1, 64, 64); err != nil || ws.bytes() > 4*int64(floats) || ws.bytes() < int64(floats) {
			t.Errorf("a workspace of %d bytes, want about %d, %v", ws.bytes(), 4*floats, err)
		}
		taken = append(taken, ws)
	}
	for _, ws := range taken {
		c.give(ws)
	}
	if n := len(c.free); n != maxFree {
		t.Errorf("%d workspaces are kept, want %d", n, maxFree)
	}
	kept := func() (bytes int64) {
		for _, ws := range c.free {
			bytes += ws.bytes()
		}
		return bytes
	}
	for side := range 4 {
		ws := &workspace{work: kernel.NewWork(c.team.Load()), n: side}
		ws.buf[0] = make([]float32, (maxFreeBytes/4/5)*2) // two fifths: two fit
		c.give(ws)
		if kept() > maxFreeBytes || c.free[len(c.free)-1] != ws {
			t.Errorf("%d bytes are kept, want at most %d, and the newest", kept(), maxFreeBytes)
		}
	}
	huge := &workspace{work: kernel.NewWork(c.team.Load())}
	huge.buf[0] = make([]float32, maxFreeBytes/4+1)
	c.give(huge)
	if len(c.free) != 1 || c.free[0] != huge {
		t.Errorf("%d workspaces beside one that is larger than the bound", len(c.free))
	}
	old, err := c.take(1, 8, 8)
	if err != nil {
		t.Fatal(err)
	}
	c.SetThreads(2)
	if c.give(old); len(c.free) != 0 {
		t.Error("a workspace for other threads is kept")
	}
}

func TestForwardThreads(t *testing.T) {
	for _, s := range sizes {
		x := images(3, s[0], s[1], s[2])
		var first []float32
		for _, threads := range []int{1, 2, 7, 16, 64} {
			c := testChain(t, threads, true)
			if c.Threads() != threads {
				t.Errorf("%d threads, want %d", c.Threads(), threads)
			}
			y, err := c.Forward(x)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = y.Data
			}
			if err := sameBits(y.Data, first); err != nil {
				t.Errorf("input %v: %d threads: %v", x.Shape, threads, err)
			}
		}
	}
}

// TestForwardReusesBuffers: with one thread a call of a shape seen before allocates
// nothing; each helping thread allocates the start of a goroutine.
func TestForwardReusesBuffers(t *testing.T) {
	c := testChain(t, 1, true)
	x, y := images(4, 3, 8, 8), tensor.New(3, testClasses, 1, 1)
	if n := testing.AllocsPerRun(20, func() {
		if err := c.ForwardInto(y, x); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%g allocations a forward pass, want 0", n)
	}
	tr, err := c.NewTraining(3, 8, 8)
	if err != nil {
		t.Fatal(err)
	}
	labels := labelsOf(3)
	if n := testing.AllocsPerRun(20, func() {
		if _, err := tr.Step(x, labels, Pass{}); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%g allocations a training step, want 0", n)
	}
	sgd := NewSGD(c)
	if n := testing.AllocsPerRun(20, func() {
		if _, err := tr.StepSGD(x, labels, Pass{}, sgd, Update{Rate: 0.001, Momentum: 0.9}); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%g allocations a training step with its update, want 0", n)
	}
}

// TestForwardOfOtherShapes: one workspace serves shapes in any order.
func TestForwardOfOtherShapes(t *testing.T) {
	c := testChain(t, 1, true)
	for _, s := range slices.Concat(sizes, sizes) {
		x := images(6, s[0], s[1], s[2])
		got, err := c.Forward(x)
		if err != nil {
			t.Fatal(err)
		}
		want, err := testChain(t, 1, true).Forward(x)
		if err != nil {
			t.Fatal(err)
		}
		if err := sameBits(got.Data, want.Data); err != nil {
			t.Errorf("input %v after others: %v", x.Shape, err)
		}
	}
	if len(c.free) != 1 {
		t.Errorf("%d workspaces, want 1", len(c.free))
	}

	// With a free workspace for each of two shapes, calls find the one of their shape.
	x, y := images(4, 3, 8, 8), tensor.New(3, testClasses, 1, 1)
	x2, y2 := images(4, 1, 8, 12), tensor.New(1, testClasses, 1, 2)
	first, err := c.take(3, 8, 8)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.take(1, 8, 12)
	if err != nil {
		t.Fatal(err)
	}
	c.give(first)
	c.give(second)
	if n := testing.AllocsPerRun(20, func() {
		if err := errors.Join(c.ForwardInto(y, x), c.ForwardInto(y, x), c.ForwardInto(y2, x2)); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%g allocations for two known shapes, want 0", n)
	}
}

func TestInferenceFloats(t *testing.T) {
	for _, threads := range []int{1, 3, 7} {
		for _, s := range sizes {
			c := testChain(t, threads, true)
			want, err := c.InferenceFloats(s[0], s[1], s[2])
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second pass takes nothing more
				if _, err := c.Forward(images(5, s[0], s[1], s[2])); err != nil {
					t.Fatal(err)
				}
			}
			if len(c.free) != 1 {
				t.Fatalf("%d workspaces, want 1", len(c.free))
			}
			ws := c.free[0]
			got := cap(ws.buf[0]) + cap(ws.buf[1]) + ws.work.Floats()
			for _, l := range c.layers {
				if conv, ok := l.(*Conv); ok {
					if f := conv.folded.Load(); f != nil {
						conv = f.conv
						got += cap(conv.Weight.Value)
					}
					for i := range conv.filters {
						if f := conv.filters[i].Load(); f != nil {
							got += cap(f.u)
						}
					}
				}
			}
			if got != want {
				t.Errorf("%d threads, input %v: %d floats allocated, estimated %d", threads, s, got, want)
			}
		}
	}
}

func TestShapes(t *testing.T) {
	c := testChain(t, 1, true)
	got, err := c.Shapes(13, 31)
	if err != nil {
		t.Fatal(err)
	}
	want := []Shape{{20, 13, 31}, {20, 13, 31}, {20, 6, 15}, {33, 6, 15}, {33, 6, 15},
		{18, 6, 15}, {18, 6, 15}, {18, 3, 7}, {40, 2, 6}, {40, 2, 6}, {testClasses, 2, 6}}
	if !slices.Equal(got, want) {
		t.Errorf("shapes %v, want %v", got, want)
	}
}

func TestSizesOfParameters(t *testing.T) {
	c := testChain(t, 1, true)
	if _, err := c.NewTraining(1, 8, 8); err != nil {
		t.Fatal(err)
	}
	values, momenta := 0, 0
	for _, p := range c.Params() {
		values += cap(p.Value)
	}
	for _, v := range NewSGD(c).velocity {
		momenta += cap(v)
	}
	if got := c.ParamFloats(); got != values {
		t.Errorf("ParamFloats is %d, %d are allocated", got, values)
	}
	if got := c.LearntFloats(); got != momenta {
		t.Errorf("LearntFloats is %d, the momenta take %d", got, momenta)
	}
}

func TestDefaultThreads(t *testing.T) {
	if got, want := NewChain(3).Threads(), runtime.GOMAXPROCS(0); got != want {
		t.Errorf("a new chain has %d threads, want %d", got, want)
	}
}

func TestForwardErrors(t *testing.T) {
	c := testChain(t, 1, true)
	forward := func(shape ...int) func() error {
		return func() error { _, err := c.Forward(tensor.New(shape...)); return err }
	}
	into := func(shape ...int) func() error {
		return func() error { return c.ForwardInto(tensor.New(shape...), images(1, 2, 8, 12)) }
	}
	for _, test := range []struct {
		name, want string
		run        func() error
	}{
		{"four channels", "nn: input of shape [1 4 8 8], want [N 3 H W]", forward(1, 4, 8, 8)},
		{"one image without N", "nn: input of shape [3 8 8], want [N 3 H W]", forward(3, 8, 8)},
		{"no images", "nn: input of shape [0 3 8 8], want [N 3 H W]", forward(0, 3, 8, 8)},
		{"too low", "nn: fc6: input of 1×2 pixels, want at least 2×2", forward(1, 3, 7, 8)},
		{"too narrow", "nn: pool2: input of 4×1 pixels, want at least 2×2", forward(1, 3, 8, 3)},
		{"one pixel", "nn: pool1: input of 1×1 pixels, want at least 2×2", forward(1, 3, 1, 1)},
		{"no pixels", "nn: conv1_1: input of 0×0 pixels, want at least 1×1", forward(1, 3, 0, 0)},
		{"output too short", "nn: output of shape [2 7 1 1], want [2 7 1 2]", into(2, 7, 1, 1)},
		{"output too long", "nn: output of shape [2 7 2 2], want [2 7 1 2]", into(2, 7, 2, 2)},
		{"output transposed", "nn: output of shape [2 7 2 1], want [2 7 1 2]", into(2, 7, 2, 1)},
		{"output in another order", "nn: output of shape [7 2 1 2], want [2 7 1 2]", into(7, 2, 1, 2)},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			if err := test.run(); err == nil || err.Error() != test.want {
				t.Errorf("error %v, want %s", err, test.want)
			}
			if _, err := c.Forward(images(1, 1, 8, 8)); err != nil {
				t.Errorf("after it a good input fails: %v", err)
			}
		})
	}
}

func TestLayersThatDoNotFit(t *testing.T) {
	for want, l := range map[string]Layer{
		"nn: conv: input of 3 channels, want 4": NewConv("conv", 4, 8, 3, 1, true),
		"nn: fc: input of 3 channels, want 4":   NewFC("fc", 4, 8, 10, true),
		"nn: bn: input of 3 channels, want 4":   NewBatchNorm("bn", 4, true),
	} {
		c := NewChain(3, l)
		if _, err := c.Forward(images(1, 1, 8, 8)); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if _, err := c.NewTraining(1, 8, 8); err == nil || err.Error() != want {
			t.Errorf("training: error %v, want %s", err, want)
		}
	}
	for _, o := range []LRNOptions{{Size: 4, Form: Caffe}, {Size: 0, Form: Caffe}, {Size: 5, Form: "other"}, {Size: 5}} {
		if _, err := NewLRN("lrn", o); err == nil || !strings.HasPrefix(err.Error(), "nn: lrn: LRN ") {
			t.Errorf("LRN of %+v: error %v, want one that names it", o, err)
		}
	}
	if s := fmt.Sprint(Shape{64, 224, 224}); s != "64×224×224" {
		t.Errorf("a shape prints as %s", s)
	}
}
