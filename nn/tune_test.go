package nn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

// tuneChain has a layer with a fused pooling, one without, one on an input too small for
// Winograd's algorithm, and fully connected ones; it takes images of 18×18.
func tuneChain(t *testing.T) (*Chain, *tensor.Tensor) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 1))
	c := NewChain(3, NewConv("conv1_1", 3, 32, 3, 1, true), NewConv("conv1_2", 32, 40, 3, 1, true), NewMaxPool("pool1"),
		NewConv("conv2_1", 40, 36, 3, 1, true), NewMaxPool("pool2"), NewMaxPool("pool3"), NewConv("conv4_1", 36, 20, 3, 1, true),
		NewFC("fc6", 20, 2, 24, true), NewDropout("drop6", 0.5, 6), NewFC("fc7", 24, 1, 5, false))
	for _, p := range c.Params() {
		v := make([]float32, p.Len())
		for i := range v {
			v[i] = float32(rng.NormFloat64()) / float32(math.Sqrt(float64(p.Len()/p.Shape[0])))
		}
		if err := p.Set(v); err != nil {
			t.Fatal(err)
		}
	}
	x := tensor.New(2, 3, 18, 18)
	for i := range x.Data {
		x.Data[i] = float32(rng.NormFloat64())
	}
	return c, x
}

func TestPlans(t *testing.T) {
	c, _ := tuneChain(t)
	plans, err := c.Plans(2, 18, 18, false)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []LayerPlan{
		{"conv1_1", "direct, RGB", false, 2 * 324 * 9 * 3 * 32, 2 * 324 * 9 * 3 * 32, 4 * 32 * 32},
		{"conv1_2", "F(6×6,3×3), ", false, 2 * 324 * 9 * 32 * 40, 2 * 24 * 24 * 32 * 40, 4 * 64 * 32 * 64},
		{"conv2_1", "F(6×6,3×3), ", false, 2 * 81 * 9 * 40 * 36, 2 * 14 * 14 * 40 * 36, 4 * 64 * 48 * 64},
		{"conv4_1", "packed", false, 2 * 4 * 9 * 36 * 20, 2 * 4 * 9 * 36 * 20, 4 * 9 * 48 * 32},
		{"fc6", "packed", true, 2 * 4 * 20 * 24, 2 * 4 * 20 * 24, 4 * 4 * 32 * 32},
		{"fc7", "packed", true, 2 * 24 * 5, 2 * 24 * 5, 4 * 32 * 32},
	} {
		got := plans[i]
		if !strings.HasPrefix(got.Algorithm, want.Algorithm) {
			t.Errorf("%s: %q, want %q", want.Layer, got.Algorithm, want.Algorithm)
		}
		got.Algorithm = want.Algorithm
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	for _, m := range []int{4, 6} {
		if err := c.SetWinograd(m); err != nil {
			t.Fatal(err)
		}
		train, err := c.Plans(2, 18, 18, true)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := train[1].Algorithm, fmt.Sprintf("F(%d×%[1]d,3×3), ", m); !strings.HasPrefix(got, want) {
			t.Errorf("training: conv1_2 by %q, want %s", got, want)
		}
	}
	if err := c.SetWinograd(5); err == nil {
		t.Error("training by tiles of 5×5: no error")
	}
	if err := c.StoreFC(BF16); err != nil {
		t.Fatal(err)
	}
	if plans, err = c.Plans(2, 18, 18, false); err != nil {
		t.Fatal(err)
	}
	if got := plans[4]; got.Algorithm != "packed, bf16" || got.WeightBytes != 2*4*32*32 {
		t.Errorf("bf16: %+v", got)
	}
	if _, err := c.Plans(1, 2, 2, false); err == nil {
		t.Error("plans for an image that is too small")
	}
}

// TestTune: every candidate is timed and gives the result of the network, and the network
// runs one of them.
func TestTune(t *testing.T) {
	c, x := tuneChain(t)
	want, err := c.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	plans, err := c.Plans(2, 18, 18, false)
	if err != nil {
		t.Fatal(err)
	}
	algorithm := map[string]string{}
	for _, p := range plans {
		algorithm[p.Layer] = p.Algorithm
	}
	all, err := c.Tune(t.Context(), x, 2, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var layers []string
	for _, l := range all {
		layers = append(layers, l.Layer)
		if got := l.Chosen().Algorithm; got != algorithm[l.Layer] {
			t.Errorf("%s: %q chosen, the network runs %q", l.Layer, got, algorithm[l.Layer])
		}
		chosen, direct := 0, 0
		for _, k := range l.Candidates {
			if !(0 < k.Best && k.Best <= k.Median) || math.IsInf(k.Median, 0) {
				t.Errorf("%s: %+v", l.Layer, k)
			}
			if k.Chosen {
				chosen++
			}
			if k.Cost == 0 {
				direct++
			}
		}
		if chosen != 1 || direct != 1 || len(l.Candidates) < 3 {
			t.Errorf("%s: %d chosen, %d direct of %d candidates", l.Layer, chosen, direct, len(l.Candidates))
		}
	}
	if want := []string{"conv1_2", "conv2_1", "conv4_1"}; !reflect.DeepEqual(layers, want) {
		t.Errorf("layers %v, want %v", layers, want)
	}

	tr, err := c.newTuner(2, 18, 18, nil)
	if err != nil {
		t.Fatal(err)
	}
	for turn := range tr.turns() {
		tr.ws.work.FromNCHW(x.Data, &tr.ws.acts[0])
		for i := range tr.ws.steps {
			tr.step(i, turn, true)
		}
		got := make([]float32, want.Len())
		tr.ws.acts[len(tr.ws.acts)-1].ToNCHW(got)
		for i, v := range want.Data {
			if !(math.Abs(float64(v-got[i])) <= 1e-5) {
				t.Fatalf("turn %d: score %d is %g, want %g", turn, i, got[i], v)
			}
		}
	}
}

func TestTuneOnly(t *testing.T) {
	c, x := tuneChain(t)
	all, err := c.Tune(t.Context(), x, 1, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	only := all[1]
	only.Candidates = nil
	for _, k := range all[1].Candidates {
		if k.Chosen || k.Cost == 0 {
			only.Candidates = append(only.Candidates, k)
		}
	}
	again, err := c.Tune(t.Context(), x, 1, []Tuning{only}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(again) != 1 || again[0].Layer != only.Layer || len(again[0].Candidates) != 2 {
		t.Errorf("%+v, want the candidates of %+v", again, only)
	}
	if _, err := c.Tune(t.Context(), x, 0, nil, nil); err == nil || !strings.Contains(err.Error(), "0 rounds") {
		t.Errorf("no rounds: %v", err)
	}
	if _, err := c.Tune(t.Context(), tensor.New(1, 2, 18, 18), 1, nil, nil); err == nil {
		t.Error("an input of two channels")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Tune(ctx, x, 1, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestTuningBehind(t *testing.T) {
	l := Tuning{Layer: "conv3_1", Candidates: []Candidate{{Algorithm: "a", Median: 1}, {Algorithm: "b", Median: 1.04}, {Algorithm: "c", Chosen: true, Median: 1.06}, {Algorithm: "d", Median: 0.9}}}
	if got := l.Fastest().Algorithm; got != "d" {
		t.Errorf("fastest %q", got)
	}
	for fraction, want := range map[float64]string{0.2: "", 0.1: "cd", 0.05: "acd", 0.01: "abcd"} {
		behind, ok := l.Behind(fraction)
		if ok != (want != "") {
			t.Errorf("behind by more than %g: %v", fraction, ok)
		}
		names := ""
		for _, c := range behind.Candidates {
			names += c.Algorithm
		}
		if ok && names != want {
			t.Errorf("behind by more than %g of %q, want %q", fraction, names, want)
		}
	}
}
