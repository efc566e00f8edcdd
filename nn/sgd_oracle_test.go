package nn

import (
	"os"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// sgdTolerance is the relative error, max |a−b| / max |b| over a tensor, after ten steps
// in fp32 against PyTorch's in float64.
const sgdTolerance = 1e-4

// readSGD reads a fixture of tools/oracle/sgd.py.
func readSGD(t *testing.T, name string) *fixture {
	t.Helper()
	f, err := weights.Open(t.Context(), vggtest.Fixture(t, "testdata/sgd/"+name+".safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fix := &fixture{name: name, meta: f.Metadata(), tensors: map[string]*tensor.Tensor{}, used: map[string]bool{}}
	for _, e := range f.Tensors() {
		if fix.tensors[e.Name], err = f.Read(e.Name); err != nil {
			t.Fatal(err)
		}
	}
	return fix
}

// TestSGDAgainstPyTorch takes ten steps in every form of the optimiser and the loss, by
// the update within the backward pass where there is one, and by parts of the batch.
func TestSGDAgainstPyTorch(t *testing.T) {
	start := readSGD(t, "start")
	x := start.get(t, "x")
	var labels []int
	for _, v := range start.get(t, "labels").Data {
		labels = append(labels, int(v))
	}
	entries, err := os.ReadDir(vggtest.Fixture(t, "testdata/sgd"))
	if err != nil {
		t.Fatal(err)
	}
	forms := 0
	for _, e := range entries {
		form := strings.TrimSuffix(e.Name(), ".safetensors")
		if form == "start" {
			continue
		}
		forms++
		for _, parts := range []int{1, 4} {
			t.Run(form+map[int]string{1: "", 4: "_in_parts"}[parts], func(t *testing.T) {
				want := readSGD(t, form)
				c := NewChain(3, NewConv("conv1", 3, 12, 3, 1, true), NewConv("conv2", 12, 16, 3, 1, true),
					NewMaxPool("pool"), NewFC("fc", 16, 3, 6, false))
				frozen := want.meta["frozen"]
				for _, p := range c.Params() {
					start.set(t, p, p.Name)
					p.Frozen = frozen != "" && strings.HasPrefix(p.Name, frozen)
				}
				tr, err := c.NewTraining(len(labels)/parts, 6, 6)
				if err != nil {
					t.Fatal(err)
				}
				tr.Smoothing = float32(want.number(t, "smoothing"))
				sgd := NewSGD(c)
				u := Update{
					Rate: float32(start.number(t, "rate")), Momentum: float32(start.number(t, "momentum")), Decay: float32(start.number(t, "decay")),
					Nesterov: want.meta["nesterov"] == "true", DecayBiases: want.meta["decay_biases"] == "true", ClipNorm: float32(want.number(t, "clip")),
				}
				var losses []float32
				for range 10 {
					var loss float64
					if parts == 1 {
						if loss, err = tr.StepSGD(x, labels, Pass{}, sgd, u); err != nil {
							t.Fatal(err)
						}
					} else {
						c.ZeroGrad()
						for i := range labels {
							p := Pass{Image: i, Batch: len(labels), More: i < len(labels)-1}
							one, err := tensor.FromSlice(x.Index(i).Data, 1, 3, 6, 6)
							if err != nil {
								t.Fatal(err)
							}
							l, err := tr.Step(one, labels[i:i+1], p)
							if err != nil {
								t.Fatal(err)
							}
							loss += l
						}
						sgd.Step(u)
					}
					losses = append(losses, float32(loss/float64(len(labels))))
				}
				compare := func(name string, got []float32) {
					t.Helper()
					w := want.get(t, name)
					if e := relativeError(got, w.Data); !(e <= sgdTolerance) {
						t.Errorf("%s: relative error %.2g, want at most %g", name, e, sgdTolerance)
					}
				}
				compare("loss", losses)
				for _, p := range c.Params() {
					if p.Frozen {
						if err := sameBits(canonical(p, p.Value), start.get(t, p.Name).Data); err != nil {
							t.Errorf("%s is frozen: %v", p.Name, err)
						}
						if sgd.Momentum(p) != nil || p.Grad != nil {
							t.Errorf("%s is frozen and has a momentum or a gradient", p.Name)
						}
						continue
					}
					compare(p.Name, canonical(p, p.Value))
					compare("momentum."+p.Name, canonical(p, sgd.Momentum(p)))
				}
				for name := range want.tensors {
					if !want.used[name] {
						t.Errorf("%s was not compared", name)
					}
				}
			})
		}
	}
	if forms < 7 {
		t.Errorf("%d forms in testdata/sgd, want 7", forms)
	}
}
