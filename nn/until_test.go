package nn

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

// TestUntil: running the other layers on the output of Until gives the output of the whole
// chain; rectifying the output before the rectification gives the rectified output.
func TestUntil(t *testing.T) {
	for _, norm := range []bool{false, true} {
		c := testChain(t, 2, norm)
		for _, s := range sizes {
			x := images(5, s[0], s[1], s[2])
			want, err := c.Forward(x)
			if err != nil {
				t.Fatal(err)
			}
			for i, l := range c.layers {
				if name := l.Name(); !slices.Contains(c.names(), name) {
					continue
				}
				head := until(t, c, l.Name(), true)
				y := forward(t, head, x)
				rest := c.layers[i+1:]
				if len(rest) > 0 && norm && l.Name() == "conv2_1" {
					rest = rest[1:] // the normalisation is done
				}
				if len(rest) > 0 {
					got := forward(t, NewChain(y.Dim(1), rest...), y)
					near(t, l.Name(), got, want, 1e-4)
				} else {
					near(t, l.Name(), y, want, 0)
				}
				plain := forward(t, until(t, c, l.Name(), false), x)
				negative := 0
				for j, v := range plain.Data {
					if v < 0 {
						negative++
					}
					if conv, ok := l.(*Conv); ok && (conv.ReLU || norm && l.Name() == "conv2_1") {
						plain.Data[j] = max(0, v)
					}
				}
				near(t, l.Name()+" unrectified", plain, y, 1e-5)
				if conv, ok := l.(*Conv); ok && conv.ReLU && negative == 0 {
					t.Errorf("%s: nothing below 0 before the rectification", l.Name())
				}
			}
			near(t, "afterwards", forward(t, c, x), want, 0)
		}
	}
	c := testChain(t, 1, true)
	if _, err := c.Until("conv9_9", true); err == nil || !strings.Contains(err.Error(), `layer "conv9_9", want one of conv1_1, lrn, pool1, conv2_1, conv2_2, relu2_2, pool2, fc6, fc8`) {
		t.Errorf("an unknown layer: %v", err)
	}
	if got := c.Penultimate(); got != "fc6" {
		t.Errorf("penultimate layer %q, want fc6", got)
	}
}

func until(t *testing.T, c *Chain, layer string, rectified bool) *Chain {
	t.Helper()
	u, err := c.Until(layer, rectified)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func forward(t *testing.T, c *Chain, x *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	y, err := c.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

func near(t *testing.T, what string, got, want *tensor.Tensor, tolerance float64) {
	t.Helper()
	if !slices.Equal(got.Shape, want.Shape) {
		t.Fatalf("%s: shape %v, want %v", what, got.Shape, want.Shape)
	}
	for i, w := range want.Data {
		if math.Abs(float64(got.Data[i]-w)) > tolerance*(1+math.Abs(float64(w))) {
			t.Fatalf("%s: number %d is %v, want %v", what, i, got.Data[i], w)
		}
	}
}

// TestSplit: the two parts of a chain one after the other are the chain, wherever it is cut.
func TestSplit(t *testing.T) {
	c := testChain(t, 2, true)
	s := sizes[0]
	x := images(5, s[0], s[1], s[2])
	want := forward(t, c, x)
	for n := 1; n < len(c.layers); n++ {
		front, rest, between, err := c.Split(n, s[1], s[2])
		if err != nil {
			t.Fatal(err)
		}
		y := forward(t, front, x)
		if got := (Shape{y.Dim(1), y.Dim(2), y.Dim(3)}); got != between {
			t.Errorf("split after %d: the front gives %v, said %v", n, got, between)
		}
		near(t, "split", forward(t, rest, y), want, 1e-4) // a normalisation may be folded or not
	}
	for _, n := range []int{0, len(c.layers)} {
		if _, _, _, err := c.Split(n, s[1], s[2]); err == nil {
			t.Errorf("split after %d layers: no error", n)
		}
	}
}

// TestFront: the front ends before the first learnt layer and before the first dropout.
// TestStages: each stage's output, run on that of the one before, has the bits of Until.
func TestStages(t *testing.T) {
	for _, norm := range []bool{false, true} {
		c := testChain(t, 2, norm)
		for _, s := range sizes {
			x := images(5, s[0], s[1], s[2])
			layers := []string{"pool2", "conv1_1", "fc6", "conv2_2"}
			stages, order, err := c.Stages(s[1], s[2], layers...)
			if err != nil {
				t.Fatal(err)
			}
			y := x
			for i, stage := range stages {
				y = forward(t, stage, y)
				near(t, layers[order[i]], y, forward(t, until(t, c, layers[order[i]], true), x), 0)
			}
			if !slices.Equal(order, []int{1, 3, 0, 2}) {
				t.Errorf("order %v, want the network's", order)
			}
		}
	}
	c := testChain(t, 1, true)
	for _, bad := range [][]string{{"conv9_9"}, {"pool1", "conv1_1", "pool1"}} {
		if _, _, err := c.Stages(32, 32, bad...); err == nil {
			t.Errorf("stages %v: no error", bad)
		}
	}
}

func TestFront(t *testing.T) {
	c := testChain(t, 2, false)
	if n := c.Front(); n != 0 {
		t.Errorf("%d layers before the first learnt one, want none", n)
	}
	for i, l := range c.layers {
		for _, p := range l.Params() {
			p.Frozen = true
		}
		if _, ok := l.(*Dropout); ok {
			break
		}
		if n := c.Front(); n <= i {
			t.Errorf("layers 0 to %d are frozen, the front has %d", i, n)
		}
	}
	drop := NewChain(3, append([]Layer{c.layers[0], NewDropout("drop", 0.5, 1)}, c.layers[1:]...)...)
	if n := drop.Front(); n != 1 {
		t.Errorf("%d layers before the dropout, want 1", n)
	}
}
