package nn

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/tensor"
)

// inFileChain is a small network with every kind of layer whose weights may stay in a file:
// one behind Winograd's algorithm, one before a batch normalisation, which stays in memory,
// and one that is the last.
func inFileChain() *Chain {
	c := Plan(3, NewConv("conv1_1", 3, 16, 3, 1, true), NewConv("conv1_2", 16, 24, 3, 1, true),
		NewMaxPool("pool1"), NewFC("fc6", 24, 7, 40, false), NewBatchNorm("bn6", 40, true), NewFC("fc7", 40, 1, 37, true), NewFC("fc8", 37, 1, 10, false))
	return c
}

// TestInFile: a network whose weights stay where they are read gives the bits of the network
// in memory, in the memory that is estimated, and can be neither set nor trained.
func TestInFile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	held, stays := inFileChain(), inFileChain()
	held.Alloc()
	if err := stays.StoreFC(InFile); err != nil {
		t.Fatal(err)
	}
	stays.Alloc()
	x := tensor.New(2, 3, 14, 14)
	for i := range x.Data {
		x.Data[i] = float32(rng.NormFloat64())
	}
	file := map[string][]float32{}
	broken := error(nil)
	var staying []string
	for i, p := range held.Params() {
		v := make([]float32, p.Len())
		for j := range v {
			v[j] = float32(rng.NormFloat64())
		}
		if p.Running {
			for j := range v {
				v[j] = v[j]*v[j] + 0.5
			}
		}
		file[p.Name] = v
		if err := p.Set(v); err != nil {
			t.Fatal(err)
		}
		q := stays.Params()[i]
		if !q.InFile() {
			if err := q.Set(v); err != nil {
				t.Fatal(err)
			}
			continue
		}
		staying = append(staying, q.Name)
		if len(staying) == 1 {
			if _, err := stays.Forward(x); err == nil || !strings.Contains(err.Error(), "no file was given") {
				t.Errorf("without a source: %v", err)
			}
		}
		row := q.Len() / q.Shape[0]
		if err := q.KeepIn(func(k0 int, dst []float32) error {
			copy(dst, v[k0*row:][:len(dst)])
			return broken
		}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"fc7.weight", "fc8.weight"}; !slices.Equal(staying, want) {
		t.Errorf("%v stay in the file, want %v", staying, want)
	}
	want, err := held.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	got, err := stays.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Data, want.Data) {
		t.Errorf("scores %v, want %v", got.Data, want.Data)
	}
	estimated, err := stays.InferenceFloats(2, 14, 14)
	if err != nil {
		t.Fatal(err)
	}
	folded := stays.layers[3].(*Conv).folded.Load().conv.Weight
	ws := stays.free[0]
	if n := cap(ws.buf[0]) + cap(ws.buf[1]) + ws.work.Floats() + len(folded.Value); n != estimated {
		t.Errorf("%d floats allocated, estimated %d", n, estimated)
	}
	for i := range stays.layers[1].(*Conv).filters {
		if stays.layers[1].(*Conv).filters[i].Load() != nil {
			t.Errorf("transformed weights %d are kept", i)
		}
	}
	fc8 := stays.layers[6].(*Conv).Weight
	v := make([]float32, fc8.Len())
	if err := fc8.Get(v); err != nil || !slices.Equal(v, file["fc8.weight"]) {
		t.Errorf("reading fc8: %v", err)
	}
	for what, err := range map[string]error{
		"Set": fc8.Set(v), "SetRows": fc8.SetRows(0, v[:37]), "SetInputs": fc8.SetInputs(0, v[:10]), "GetInputs": fc8.GetInputs(0, v[:10]),
	} {
		if err == nil || !strings.Contains(err.Error(), "stays in its file") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := stays.NewTraining(1, 14, 14); err == nil || !strings.Contains(err.Error(), "stays in its file") {
		t.Errorf("training: %v", err)
	}
	if err := held.layers[6].(*Conv).Weight.KeepIn(nil); err == nil || !strings.Contains(err.Error(), "held in memory") {
		t.Errorf("a source for weights in memory: %v", err)
	}
	broken = errors.New("broken")
	if _, err := stays.Forward(x); !errors.Is(err, broken) {
		t.Errorf("a source that fails: %v", err)
	}
	if _, err := stays.Profile(x); !errors.Is(err, broken) {
		t.Errorf("a source that fails, profiled: %v", err)
	}
}
