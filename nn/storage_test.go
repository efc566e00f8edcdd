package nn

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

// TestStoreFC: 16-bit weights give the scores of the same weights rounded, and can be
// read back and set but not trained.
func TestStoreFC(t *testing.T) {
	for storage, eps := range map[Storage]float64{F16: 0x1p-11, BF16: 0x1p-8} {
		rng := rand.New(rand.NewPCG(1, 1))
		fc := []*Conv{NewFC("fc6", 20, 7, 40, true), NewFC("fc7", 40, 1, 10, false)}
		c := NewChain(20, fc[0], NewDropout("drop6", 0.5, 6), fc[1])
		before := map[string][]float32{}
		for _, p := range c.Params() {
			v := make([]float32, p.Len())
			for i := range v {
				v[i] = float32(rng.NormFloat64())
			}
			if err := p.Set(v); err != nil {
				t.Fatal(err)
			}
			before[p.Name] = v
		}
		x := tensor.New(3, 20, 9, 8)
		for i := range x.Data {
			x.Data[i] = float32(rng.NormFloat64())
		}
		exact, err := c.Forward(x)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.StoreFC(storage); err != nil {
			t.Fatal(err)
		}
		y, err := c.Forward(x)
		if err != nil {
			t.Fatal(err)
		}
		var diff, size float64
		for i, v := range exact.Data {
			diff = max(diff, math.Abs(float64(v-y.Data[i])))
			size = max(size, math.Abs(float64(v)))
		}
		if diff == 0 || diff > 2*eps*size {
			t.Errorf("%s: scores differ by %g of %g, want above 0 and at most %g", storage, diff, size, 2*eps*size)
		}
		for _, p := range c.Params() {
			v := make([]float32, p.Len())
			if err := p.Get(v); err != nil {
				t.Fatal(err)
			}
			for i, w := range before[p.Name] {
				if math.Abs(float64(v[i]-w)) > eps*math.Abs(float64(w)) {
					t.Fatalf("%s: %s[%d] is %g, was %g", storage, p.Name, i, v[i], w)
				}
			}
		}
		if err := fc[0].Weight.Set(before["fc6.weight"]); err != nil {
			t.Error(err)
		}
		again, err := c.Forward(x)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range again.Data {
			if v != y.Data[i] {
				t.Fatalf("%s: score %d is %g after the weights were set again, was %g", storage, i, v, y.Data[i])
			}
		}
		if _, err := c.NewTraining(1, 7, 7); err == nil || !strings.Contains(err.Error(), "stored in 16 bits") {
			t.Errorf("training: %v", err)
		}
		want, err := c.InferenceFloats(3, 9, 8)
		if err != nil {
			t.Fatal(err)
		}
		ws := c.free[0]
		if got := cap(ws.buf[0]) + cap(ws.buf[1]) + ws.work.Floats(); got != want {
			t.Errorf("%s: %d floats allocated, estimated %d", storage, got, want)
		}
	}
	if err := NewChain(3, NewFC("fc6", 3, 1, 1, false)).StoreFC("f8"); err == nil || !strings.Contains(err.Error(), `storage "f8"`) {
		t.Errorf("unknown storage: %v", err)
	}
}
