package train

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// oracleTolerance is the relative error, max |a−b| / max |b| over a tensor, after ten steps in
// float32 against PyTorch's in float64.
const oracleTolerance = 1e-4

// oracleForms are the files of tools/oracle/sgd.py.
var oracleForms = []string{"paper", "nesterov", "weights_only", "clip", "smoothing", "all", "frozen"}

// oracleSteps takes ten steps on the ranks of a process, or of several, and compares the losses,
// the parameters and the momenta with PyTorch's.
func oracleSteps(t *testing.T, form string, exchange ExchangeForm, ranks int, outer comm.Group) {
	t.Helper()
	start, _ := oracleFile(t, "start")
	want, meta := oracleFile(t, form)
	number := func(key string) float64 {
		v, err := strconv.ParseFloat(meta[key], 64)
		if err != nil {
			t.Fatalf("%s: metadata %s: %v", form, key, err)
		}
		return v
	}
	_, common := oracleFile(t, "start")
	for _, key := range []string{"rate", "momentum", "decay"} {
		meta[key] = common[key]
	}
	r := tinyRecipe()
	r.Config, r.Width, r.FC, r.Input, r.Dropout = "12 16 M FC", 1, 16, 6, 0
	r.LearningRate, r.Momentum, r.WeightDecay = number("rate"), number("momentum"), number("decay")
	r.Nesterov, r.DecayBiases, r.ClipNorm, r.LabelSmoothing = meta["nesterov"] == "true", meta["decay_biases"] == "true", number("clip"), number("smoothing")
	batch := &dataset.Batch{X: start["x"]}
	for _, v := range start["labels"].Data {
		batch.Labels = append(batch.Labels, int(v))
	}
	n := len(batch.Labels)
	r.Batch, r.Groups, r.Exchange = n, ranks, exchange
	if outer != nil {
		r.Groups *= outer.Size()
	}
	if n%r.Groups == 0 { // several in a rank
		r.Groups = n
	}
	if err := r.Validate(); err != nil {
		t.Fatal(err)
	}
	net, err := network.New(r.Options(6))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{} // PyTorch's, by those here
	for i, p := range net.Params() {
		names[p.Name] = []string{"conv1", "conv2", "fc"}[i/2] + p.Name[strings.LastIndexByte(p.Name, '.'):]
		if err := p.Set(start[names[p.Name]].Data); err != nil {
			t.Fatal(err)
		}
		p.Frozen = meta["frozen"] != "" && strings.HasPrefix(names[p.Name], meta["frozen"])
	}
	s, err := newStepper(context.Background(), net, stepOptions{Recipe: r, Batch: n, Ranks: ranks, Threads: ranks, Outer: outer})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	own := whole(batch)
	if outer != nil { // this process's part of the images
		own.from = outer.Rank() * n / outer.Size()
		end := (outer.Rank() + 1) * n / outer.Size()
		x, labels, err := images(batch, own.from, end)
		if err != nil {
			t.Fatal(err)
		}
		own.Batch = &dataset.Batch{X: x, Labels: labels}
	}
	var losses []float32
	for i := range 10 {
		loss, err := s.step(context.Background(), own, i+1, r.LearningRate)
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, float32(loss/float64(n)))
	}
	compare := func(name string, got []float32) {
		w := want[name]
		if w == nil || w.Len() != len(got) {
			t.Fatalf("%s: no %d values of %s in the file", form, len(got), name)
		}
		far, largest := 0.0, 0.0
		for i, v := range got {
			far = max(far, math.Abs(float64(v)-float64(w.Data[i])))
			largest = max(largest, math.Abs(float64(w.Data[i])))
		}
		if !(far <= oracleTolerance*largest) {
			t.Errorf("%s: relative error %.2g, want at most %g", name, far/largest, oracleTolerance)
		}
	}
	compare("loss", losses)
	compared := 0
	for _, p := range net.Params() {
		v := make([]float32, p.Len())
		if p.Frozen {
			continue
		}
		if err := p.Get(v); err != nil {
			t.Fatal(err)
		}
		compare(names[p.Name], v)
		if err := p.Unpack(v, s.momentum(p)); err != nil {
			t.Fatal(err)
		}
		compare("momentum."+names[p.Name], v)
		compared += 2
	}
	if compared != len(want)-1 {
		t.Errorf("%s: %d tensors of %d compared", form, compared, len(want)-1)
	}
}

// oracleFile reads a file of tools/oracle/sgd.py.
func oracleFile(t *testing.T, name string) (map[string]*tensor.Tensor, map[string]string) {
	t.Helper()
	f, err := weights.Open(t.Context(), vggtest.Fixture(t, "../nn/testdata/sgd/"+name+".safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]*tensor.Tensor{}
	for _, e := range f.Tensors() {
		if all[e.Name], err = f.Read(e.Name); err != nil {
			t.Fatal(err)
		}
	}
	return all, f.Metadata()
}

// TestStepsAgainstPyTorch takes ten steps in every form of the optimiser and the loss, on one rank
// and on several.
func TestStepsAgainstPyTorch(t *testing.T) {
	for _, form := range oracleForms {
		for _, exchange := range []ExchangeForm{Sums, Factored} {
			for _, ranks := range []int{1, 2, 3} {
				t.Run(fmt.Sprintf("%s/%v/%d_ranks", form, exchange, ranks), func(t *testing.T) { oracleSteps(t, form, exchange, ranks, nil) })
			}
		}
	}
}
