package nn

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// The relative error, max |a−b| / max |b| over a tensor, of fp32 results against
// PyTorch's in float64: of the direct algorithms, and of F(4×4,3×3), which amplifies
// rounding.
const (
	oracleTolerance   = 2e-6
	winogradTolerance = 2e-5
)

// fixture is one layer's tensors by tools/oracle/nn.py. A large one comes in several files.
type fixture struct {
	name    string
	meta    map[string]string
	tensors map[string]*tensor.Tensor
	used    map[string]bool

	winograd bool // the layer runs by Winograd
}

func (f *fixture) tolerance() float64 {
	if f.winograd {
		return winogradTolerance
	}
	return oracleTolerance
}

var part = regexp.MustCompile(`-[0-9]+$`)

func readFixtures(t *testing.T) []*fixture {
	t.Helper()
	paths, err := filepath.Glob("testdata/oracle/*.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	var all []*fixture
	for _, path := range paths {
		name := part.ReplaceAllString(strings.TrimSuffix(filepath.Base(path), ".safetensors"), "")
		i := slices.IndexFunc(all, func(f *fixture) bool { return f.name == name })
		if i < 0 {
			i = len(all)
			all = append(all, &fixture{name: name, tensors: map[string]*tensor.Tensor{}, used: map[string]bool{}})
		}
		f, err := weights.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		all[i].meta = f.Metadata()
		for _, e := range f.Tensors() {
			if all[i].tensors[e.Name], err = f.Read(e.Name); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
	return all
}

func (f *fixture) get(t *testing.T, name string) *tensor.Tensor {
	t.Helper()
	x := f.tensors[name]
	if x == nil {
		t.Fatalf("no tensor %q", name)
	}
	f.used[name] = true
	return x
}

// number returns a value of the metadata.
func (f *fixture) number(t *testing.T, key string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(f.meta[key], 64)
	if err != nil {
		t.Fatalf("metadata %s: %v", key, err)
	}
	return v
}

// compare compares got with the tensor called name.
func (f *fixture) compare(t *testing.T, name string, got []float32) {
	t.Helper()
	want := f.get(t, name)
	if len(got) != want.Len() {
		t.Errorf("%s: %d values, want %v", name, len(got), want.Shape)
		return
	}
	if e := relativeError(got, want.Data); !(e <= f.tolerance()) {
		t.Errorf("%s: relative error %.2g, want at most %g", name, e, f.tolerance())
	}
}

// input returns x, its batch size and the shape of one image; (N,C) is (N,C,1,1).
func (f *fixture) input(t *testing.T) (*tensor.Tensor, int, Shape) {
	t.Helper()
	x := f.get(t, "x")
	s := append(slices.Clone(x.Shape), 1, 1)
	return x, s[0], Shape{s[1], s[2], s[3]}
}

func (f *fixture) set(t *testing.T, p *Param, name string) {
	t.Helper()
	x := f.get(t, name)
	if !slices.Equal(x.Shape, p.Shape) {
		t.Fatalf("%s: shape %v, the parameter has %v", name, x.Shape, p.Shape)
	}
	if err := p.Set(x.Data); err != nil {
		t.Fatal(err)
	}
}

func TestOracle(t *testing.T) {
	type kind struct {
		prefix string
		check  func(*testing.T, *fixture, int)
	}
	kinds := []kind{
		{"conv", oracleConv}, {"fc", oracleFC}, {"maxpool", oracleMaxPool}, {"relu", oracleReLU},
		{"lrn", oracleLRN}, {"batchnorm", oracleBatchNorm}, {"softmax_loss", oracleLoss},
	}
	seen := map[string]int{}
	for _, f := range readFixtures(t) {
		i := slices.IndexFunc(kinds, func(k kind) bool { return strings.HasPrefix(f.name, k.prefix) })
		if i < 0 {
			t.Errorf("%s: no test for it", f.name)
			continue
		}
		seen[kinds[i].prefix]++
		for _, threads := range []int{1, 3} {
			t.Run(f.name+"/threads"+strconv.Itoa(threads), func(t *testing.T) {
				kinds[i].check(t, f, threads)
				for name := range f.tensors {
					if !f.used[name] {
						t.Errorf("%s was not compared", name)
					}
				}
			})
		}
	}
	for _, k := range kinds {
		if seen[k.prefix] == 0 {
			t.Errorf("no fixture %s*", k.prefix)
		}
	}
}

// oracleLayer compares y, dx and the gradients in grads with the fixture's.
func oracleLayer(t *testing.T, f *fixture, l Layer, threads int, grads map[string]*Param) {
	t.Helper()
	x, n, in := f.input(t)
	r := mustRig(t, l, n, in, threads)
	p := Pass{Train: true}
	f.compare(t, "y", r.forward(x.Data, p))
	checkStray(t, "y", r.y)
	f.compare(t, "dx", r.backward(f.get(t, "dy").Data, p))
	checkStray(t, "dx", r.dx)
	for name, p := range grads {
		f.compare(t, name, canonical(p, p.Grad))
	}
}

func oracleConv(t *testing.T, f *fixture, threads int) {
	w := f.get(t, "w")
	relu, err := strconv.ParseBool(f.meta["relu"])
	if err != nil {
		t.Fatal(err)
	}
	l := NewConv("conv", w.Shape[1], w.Shape[0], w.Shape[2], int(f.number(t, "pad")), relu)
	f.set(t, l.Weight, "w")
	f.set(t, l.Bias, "b")
	_, n, in := f.input(t)
	_, f.winograd = l.winograd(n, in, threads, true)
	oracleLayer(t, f, l, threads, map[string]*Param{"dw": l.Weight, "db": l.Bias})
}

func oracleFC(t *testing.T, f *fixture, threads int) {
	_, _, in := f.input(t)
	l := NewFC("fc", in.C, in.H, f.get(t, "w").Shape[0], false)
	f.set(t, l.Weight, "w")
	f.set(t, l.Bias, "b")
	oracleLayer(t, f, l, threads, map[string]*Param{"dw": l.Weight, "db": l.Bias})
}

func oracleMaxPool(t *testing.T, f *fixture, threads int) {
	oracleLayer(t, f, NewMaxPool("pool"), threads, nil)
}

func oracleReLU(t *testing.T, f *fixture, threads int) {
	oracleLayer(t, f, NewReLU("relu"), threads, nil)
}

func oracleLRN(t *testing.T, f *fixture, threads int) {
	l, err := NewLRN("lrn", LRNOptions{
		Size: int(f.number(t, "n")), K: float32(f.number(t, "k")), Form: LRNForm(f.meta["form"]),
		Alpha: float32(f.number(t, "alpha")), Beta: float32(f.number(t, "beta")),
	})
	if err != nil {
		t.Fatal(err)
	}
	oracleLayer(t, f, l, threads, nil)
}

func oracleBatchNorm(t *testing.T, f *fixture, threads int) {
	x, n, in := f.input(t)
	l := NewBatchNorm("bn", in.C, false)
	l.Eps, l.Momentum = float32(f.number(t, "eps")), float32(f.number(t, "momentum"))
	f.set(t, l.Gamma, "gamma")
	f.set(t, l.Beta, "beta")
	f.set(t, l.RunningMean, "running_mean")
	f.set(t, l.RunningVar, "running_var")

	r := mustRig(t, l, n, in, threads)
	f.compare(t, "y_eval", r.forward(x.Data, Pass{}))
	checkStray(t, "y_eval", r.y)
	f.compare(t, "running_mean", canonical(l.RunningMean, l.RunningMean.Value)) // not moved
	f.compare(t, "running_var", canonical(l.RunningVar, l.RunningVar.Value))

	oracleLayer(t, f, l, threads, map[string]*Param{"dgamma": l.Gamma, "dbeta": l.Beta})
	f.compare(t, "running_mean_after", canonical(l.RunningMean, l.RunningMean.Value))
	f.compare(t, "running_var_after", canonical(l.RunningVar, l.RunningVar.Value))
}

func oracleLoss(t *testing.T, f *fixture, _ int) {
	logits := f.get(t, "logits")
	var labels []int
	for _, v := range f.get(t, "labels").Data {
		labels = append(labels, int(v))
	}
	d := make([]float32, logits.Len())
	n := len(labels)
	loss := softmaxLoss(logits.Data, labels, 1/float32(n), d)
	f.compare(t, "loss", []float32{float32(loss / float64(n))})
	f.compare(t, "dlogits", d)
}
