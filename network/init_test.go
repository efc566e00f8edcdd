package network

import (
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/nn"
)

// drawn builds a network and draws its weights.
func drawn(t *testing.T, config string, method Init, seed uint64) *Network {
	t.Helper()
	n, err := New(Options{Config: config, Classes: 40, Width: 0.25, FC: 128, Input: 64})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Init(method, seed); err != nil {
		t.Fatal(err)
	}
	return n
}

func values(t *testing.T, p *nn.Param) []float32 {
	t.Helper()
	v := make([]float32, p.Len())
	if err := p.Get(v); err != nil {
		t.Fatal(err)
	}
	return v
}

// moments returns mean, variance and the largest magnitude.
func moments(v []float32) (mean, variance, most float64) {
	for _, x := range v {
		mean += float64(x) / float64(len(v))
		most = max(most, math.Abs(float64(x)))
	}
	for _, x := range v {
		variance += (float64(x) - mean) * (float64(x) - mean) / float64(len(v))
	}
	return mean, variance, most
}

// TestInitialVariance compares every layer with its formula, within five standard
// errors.
func TestInitialVariance(t *testing.T) {
	for method, want := range map[Init]func(in, out float64) float64{
		He:        func(in, _ float64) float64 { return 2 / in },
		Glorot:    func(in, out float64) float64 { return 2 / (in + out) },
		Normal01:  func(_, _ float64) float64 { return 0.01 },
		Normal001: func(_, _ float64) float64 { return 0.0001 },
	} {
		for _, config := range []string{"C", "B-shallow-BN"} {
			for _, p := range drawn(t, config, method, 1).Params() {
				v := values(t, p)
				if strings.Contains(p.Name, ".bn.") {
					continue
				}
				if strings.HasSuffix(p.Name, ".bias") {
					if slices.ContainsFunc(v, func(x float32) bool { return x != 0 }) {
						t.Errorf("%s: %s %s is not zero", method, config, p.Name)
					}
					continue
				}
				field := 1 // pixels of a filter
				if len(p.Shape) == 4 {
					field = p.Shape[2] * p.Shape[3]
				}
				in, out := p.Len()/p.Shape[0], p.Shape[0]*field
				mean, variance, most := moments(v)
				w, n := want(float64(in), float64(out)), float64(len(v))
				kurtosis := 3.0
				if method == Glorot {
					kurtosis = 9.0 / 5 // of the uniform distribution
					if bound := math.Sqrt(3 * w); most > bound*(1+1e-6) || most < 0.9*bound {
						t.Errorf("%s: %s %s: largest %v, want just below %v", method, config, p.Name, most, bound)
					}
				}
				if limit := 5 * w * math.Sqrt((kurtosis-1)/n); math.Abs(variance-w) > limit {
					t.Errorf("%s: %s %s: variance %v, want %v ± %v", method, config, p.Name, variance, w, limit)
				}
				if limit := 5 * math.Sqrt(w/n); math.Abs(mean) > limit {
					t.Errorf("%s: %s %s: mean %v, want 0 ± %v", method, config, p.Name, mean, limit)
				}
			}
		}
	}
}

// TestInitialBits: what is drawn does not depend on the processors in use.
func TestInitialBits(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	want := drawn(t, "A", He, 1).Params()
	for _, procs := range []int{2, 5} {
		runtime.GOMAXPROCS(procs)
		for i, p := range drawn(t, "A", He, 1).Params() {
			if vggtest.SameBits(values(t, p), values(t, want[i])) != nil {
				t.Errorf("%s: other values on %d processors than on 1", p.Name, procs)
			}
		}
	}
}

// TestInitialSeeds: another seed draws other weights in every layer, and layers of one
// shape, and the channels of one layer, differ.
func TestInitialSeeds(t *testing.T) {
	a, b := drawn(t, "D", Glorot, 1), drawn(t, "D", Glorot, 2)
	others := b.Params()
	seen := map[float32]string{}
	for i, p := range a.Params() {
		if !strings.HasSuffix(p.Name, ".weight") {
			continue
		}
		v, row := values(t, p), p.Len()/p.Shape[0]
		if w := values(t, others[i]); v[0] == w[0] || vggtest.SameBits(v, w) == nil {
			t.Errorf("%s: seeds 1 and 2 draw the same", p.Name)
		}
		for k := range p.Shape[0] {
			x := v[k*row]
			if before, ok := seen[x]; ok {
				t.Errorf("%s: channel %d begins as one of %s does", p.Name, k, before)
			}
			seen[x] = p.Name
		}
	}
}

// TestInitAgain: a network that has been used is as a new one.
func TestInitAgain(t *testing.T) {
	used := drawn(t, "A-BN", He, 1)
	for _, p := range used.Params() {
		v := values(t, p)
		for i := range v {
			v[i] += 3
		}
		if err := p.Set(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := used.Init(He, 1); err != nil {
		t.Fatal(err)
	}
	fresh := drawn(t, "A-BN", He, 1).Params()
	for i, p := range used.Params() {
		if vggtest.SameBits(values(t, p), values(t, fresh[i])) != nil {
			t.Errorf("%s: not as in a new network", p.Name)
		}
	}
}

func TestUnknownInit(t *testing.T) {
	n := drawn(t, "A", He, 1)
	before := values(t, n.Params()[0])
	err := n.Init("xavier", 1)
	if err == nil || !strings.Contains(err.Error(), `"xavier"`) || !strings.Contains(err.Error(), "he, glorot, normal-0.1, normal-0.01") {
		t.Errorf("%v, want the names there are", err)
	}
	if vggtest.SameBits(values(t, n.Params()[0]), before) != nil {
		t.Error("the weights were changed")
	}
}
