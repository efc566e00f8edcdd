package nn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// probeFixture reads a network of tools/oracle/probe.py.
func probeFixture(t *testing.T, path string) (*fixture, *Chain) {
	t.Helper()
	file, err := weights.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f := &fixture{meta: file.Metadata(), tensors: map[string]*tensor.Tensor{}, used: map[string]bool{}}
	for _, e := range file.Tensors() {
		if f.tensors[e.Name], err = file.Read(e.Name); err != nil {
			t.Fatal(err)
		}
	}
	var all []Layer
	for line := range strings.SplitSeq(f.meta["layers"], "; ") {
		all = append(all, probeLayers(t, strings.Fields(line))...)
	}
	c := NewChain(3, all...)
	for _, p := range c.Params() {
		f.set(t, p, p.Name)
	}
	return f, c
}

// probeLayers makes the layers of a line of a network.
func probeLayers(t *testing.T, words []string) []Layer {
	t.Helper()
	var sizes []int
	bn, relu := false, false
	for _, w := range words[2:] {
		size, err := strconv.Atoi(w)
		switch {
		case err == nil:
			sizes = append(sizes, size)
		default:
			bn, relu = bn || w == "bn", relu || w == "relu"
		}
	}
	name := words[1]
	activation := func(f Function) []Layer {
		l, err := NewActivation(name, f, 0.125)
		if err != nil {
			t.Fatal(err)
		}
		return []Layer{l}
	}
	switch words[0] {
	case "conv":
		conv := NewConv(name, sizes[0], sizes[1], sizes[2], sizes[3], relu && !bn)
		if bn {
			return []Layer{conv, NewBatchNorm(name+".bn", sizes[1], relu)}
		}
		return []Layer{conv}
	case "fc":
		return []Layer{NewFC(name, sizes[0], sizes[1], sizes[2], relu), NewDropout("drop_"+name, 0.5, 1)}
	case "norm":
		return []Layer{NewBatchNorm(name, sizes[0], false)}
	case "lrn":
		l, err := NewLRN(name, PaperLRN())
		if err != nil {
			t.Fatal(err)
		}
		return []Layer{l}
	case "max":
		return []Layer{NewMaxPool(name)}
	case "average":
		return []Layer{NewAveragePool(name)}
	case "gap":
		return []Layer{NewGlobalPool(name, false)}
	case "gmp":
		return []Layer{NewGlobalPool(name, true)}
	case "gmap":
		return []Layer{NewGlobalMaxAverage(name)}
	case "adapt":
		return []Layer{NewAdaptivePool(name, 3)}
	case "l2":
		return []Layer{NewEuclidean(name, 1)}
	}
	return activation(Function(strings.ToUpper(words[0])))
}

// A probe's activations and gradients are PyTorch's, of tools/oracle/probe.py, with one
// thread and three, and again in its second pass.
func TestProbeOracle(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(vggtest.Fixture(t, "testdata/probe"), "*.safetensors"))
	if err != nil || len(paths) != 5 {
		t.Fatal(err, len(paths))
	}
	for _, path := range paths {
		for _, threads := range []int{1, 3} {
			t.Run(strings.TrimSuffix(filepath.Base(path), ".safetensors")+"/threads"+strconv.Itoa(threads), func(t *testing.T) {
				f, c := probeFixture(t, path)
				f.winograd = true
				c.SetThreads(threads)
				if f.meta["layers"] == "" || strings.Contains(path, "winograd") != usesWinograd(c, f) {
					t.Error("not the layers that the test is for")
				}
				seeds := strings.Fields(f.meta["seeds"])
				for i, l := range c.layers { // no activation function goes by its own name
					if a, ok := l.(*Activation); ok && i > 0 {
						_, after := c.layers[i-1].(*Dropout)
						if !after {
							a.name = "activation"
						} else {
							c.layers[i-1], c.layers[i] = c.layers[i], c.layers[i-1]
						}
					}
				}
				p, err := c.NewProbe(ProbeOptions{Layers: seeds, Gradients: true})
				if err != nil {
					t.Fatal(err)
				}
				x := f.get(t, "x")
				for range 2 {
					checkProbe(t, f, p, x)
				}
				for name := range f.tensors {
					if !f.used[name] {
						t.Errorf("%s was not compared", name)
					}
				}
				for _, param := range c.Params() {
					if param.Grad != nil {
						t.Errorf("%s has a gradient", param.Name)
					}
				}
			})
		}
	}
}

// usesWinograd tells whether a convolution runs forward and backward by Winograd's algorithm.
func usesWinograd(c *Chain, f *fixture) bool {
	x := f.tensors["x"]
	in := Shape{3, x.Shape[2], x.Shape[3]}
	for _, l := range c.layers {
		if conv, ok := l.(*Conv); ok {
			if _, ok := conv.winograd(x.Shape[0], in, 1, true); ok {
				return true
			}
		}
		in, _ = l.Out(in)
	}
	return false
}

// checkProbe compares a forward and a backward pass with the fixture.
func checkProbe(t *testing.T, f *fixture, p *Probe, x *tensor.Tensor) {
	t.Helper()
	var visited []string
	err := p.Forward(t.Context(), x, func(layer string, a Maps) error {
		visited = append(visited, layer)
		f.compare(t, layer+".a", a.Planar().Data)
		return nil
	})
	if err != nil || !slices.Equal(visited, p.Layers()) {
		t.Fatalf("forward visits %v, want %v: %v", visited, p.Layers(), err)
	}
	dx := tensor.New(x.Shape...)
	visited = nil
	err = p.Backward(t.Context(), dx, func(layer string, a, da Maps) error {
		visited = append(visited, layer)
		f.compare(t, layer+".a", a.Planar().Data)
		if err := da.Add(f.get(t, layer+".d")); err != nil {
			return err
		}
		f.compare(t, layer+".grad", da.Planar().Data)
		return nil
	})
	if slices.Reverse(visited); err != nil || !slices.Equal(visited, p.Layers()) {
		t.Fatalf("backward visits %v, want %v: %v", visited, p.Layers(), err)
	}
	f.compare(t, "dx", dx.Data)
}

// A probe without gradients shows what Until computes, bit for bit, on batches of any size,
// and the output is Forward's.
func TestProbeForward(t *testing.T) {
	for _, norm := range []bool{false, true} {
		c := testChain(t, 2, norm)
		p, err := c.NewProbe(ProbeOptions{Layers: []string{OutputLayer, "conv1_1", "pool1", "conv2_2"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Layers(); !slices.Equal(got, []string{"conv1_1", "pool1", "conv2_2", OutputLayer}) {
			t.Errorf("layers %v", got)
		}
		for _, s := range sizes {
			x := images(5, s[0], s[1], s[2])
			err := p.Forward(t.Context(), x, func(layer string, a Maps) error {
				want := forward(t, c, x)
				if layer != OutputLayer {
					want = forward(t, until(t, c, layer, true), x)
				}
				near(t, fmt.Sprint(layer, s), a.Planar(), want, 0)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Backward(t.Context(), nil, nil); !errors.Is(err, errNoForward) {
				t.Errorf("backward without activations: %v", err)
			}
		}
	}
}

// The memory that a probe holds is what Floats says.
func TestProbeFloats(t *testing.T) {
	for _, gradients := range []bool{false, true} {
		c := testChain(t, 3, true)
		p, err := c.NewProbe(ProbeOptions{Layers: []string{"conv1_1", OutputLayer}, Gradients: gradients})
		if err != nil {
			t.Fatal(err)
		}
		x := images(5, 2, sizes[0][1], sizes[0][2])
		if err := p.Forward(t.Context(), x, nil); err != nil {
			t.Fatal(err)
		}
		if gradients {
			if err := p.Backward(t.Context(), tensor.New(x.Shape...), func(string, Maps, Maps) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		held := p.work.Floats() + cap(p.grads[0]) + cap(p.grads[1])
		for _, b := range p.bufs {
			held += cap(b)
		}
		want, err := p.Floats(2, x.Shape[2], x.Shape[3])
		if err != nil || held != want {
			t.Errorf("gradients %v: %d floats held, %d foretold, %v", gradients, held, want, err)
		}
	}
}

// The Gram matrix and the product are those of the definition, image by image.
func TestGram(t *testing.T) {
	const c, h, w = 21, 13, 17
	rng := rand.New(rand.NewPCG(3, 4))
	chain := NewChain(c, NewReLU("relu"))
	p, err := chain.NewProbe(ProbeOptions{Layers: []string{"relu"}, Gradients: true})
	if err != nil {
		t.Fatal(err)
	}
	x := tensor.New(2, c, h, w)
	for i := range x.Data {
		x.Data[i] = rng.Float32()
	}
	channel := func(n, i int) []float32 { return x.Data[(n*c+i)*h*w:][:h*w] }
	gram := make([]float32, c*c)
	err = p.Forward(t.Context(), x, func(_ string, a Maps) error {
		for n := range 2 {
			a.Gram(n, gram)
			for at, got := range gram {
				want := 0.0
				for i, v := range channel(n, at/c) {
					want += float64(v) * float64(channel(n, at%c)[i])
				}
				if math.Abs(float64(got)-want) > 1e-5*want {
					t.Fatalf("image %d, channels %d and %d: %v, want %v", n, at/c, at%c, got, want)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Backward(t.Context(), nil, func(_ string, a, da Maps) error {
		da.Parallel(da.Blocks()*h, func(i int) {
			for j := range da.Row(1, i/h, i%h) {
				if i/h*MapBlock+j%MapBlock < c {
					da.Row(1, i/h, i%h)[j] = 2
				}
			}
		})
		da.AddProduct(1, gram, a)
		got := da.Planar()
		for i := range c {
			for at := range h * w {
				want := 2.0
				for j := range c {
					want += float64(gram[i*c+j]) * float64(channel(1, j)[at])
				}
				if v := float64(got.At(1, i, at/w, at%w)); math.Abs(v-want) > 1e-5*want {
					t.Fatalf("channel %d, pixel %d: %v, want %v", i, at, v, want)
				}
				if v := got.At(0, i, at/w, at%w); v != 0 {
					t.Fatalf("image 0, channel %d, pixel %d: %v", i, at, v)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestProbeErrors(t *testing.T) {
	c := testChain(t, 1, false)
	for want, o := range map[string]ProbeOptions{
		"of no layers":                             {},
		`layer "conv7_7", want one of conv1_1`:     {Layers: []string{"conv7_7"}},
		"fc8 and output, which are the same":       {Layers: []string{"fc8", OutputLayer}},
		"conv1_1 and conv1_1, which are the same ": {Layers: []string{"conv1_1", "conv1_1"}},
	} {
		if _, err := c.NewProbe(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	p, err := c.NewProbe(ProbeOptions{Layers: []string{"conv2_1", "conv1_1"}, Gradients: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Backward(t.Context(), nil, nil); !errors.Is(err, errNoForward) {
		t.Errorf("backward first: %v", err)
	}
	x := images(5, 1, sizes[0][1], sizes[0][2])
	failed := errors.New("failed")
	if err := p.Forward(t.Context(), x, func(string, Maps) error { return failed }); err != failed {
		t.Errorf("a visit that fails: %v", err)
	}
	if err := p.Backward(t.Context(), nil, nil); !errors.Is(err, errNoForward) {
		t.Errorf("backward after a pass that failed: %v", err)
	}
	if err := p.Forward(t.Context(), tensor.New(1, 3, 1, 1), nil); err == nil {
		t.Error("an image of one pixel is taken")
	}
	if err := p.Forward(t.Context(), x, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Backward(t.Context(), tensor.New(1, 3, 5, 5), nil); err == nil || !strings.Contains(err.Error(), "gradient of shape [1 3 5 5]") {
		t.Errorf("dx of another shape: %v", err)
	}
	if err := p.Backward(t.Context(), nil, func(_ string, _, da Maps) error { return da.Add(tensor.New(1, 1, 1, 1)) }); err == nil || !strings.Contains(err.Error(), "added to maps") {
		t.Errorf("a summand of another shape: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(failed)
	if err := p.Backward(ctx, tensor.New(x.Shape...), func(string, Maps, Maps) error { return nil }); err != failed {
		t.Errorf("a cancelled backward pass: %v", err)
	}
	if err := p.Forward(ctx, x, nil); err != failed {
		t.Errorf("a cancelled forward pass: %v", err)
	}
	if err := c.StoreFC(F16); err != nil {
		t.Fatal(err)
	}
	if _, err := c.NewProbe(ProbeOptions{Layers: []string{OutputLayer}, Gradients: true}); err == nil || !strings.Contains(err.Error(), "gradients need 32") {
		t.Errorf("weights of 16 bits: %v", err)
	}
	if _, err := c.NewProbe(ProbeOptions{Layers: []string{"conv2_1"}, Gradients: true}); err != nil {
		t.Errorf("layers before weights of 16 bits: %v", err)
	}
}
