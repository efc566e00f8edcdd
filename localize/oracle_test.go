package localize

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// oracle reads a file of tools/oracle/localize.py.
func oracle(t *testing.T, name string) (map[string]*tensor.Tensor, map[string]string) {
	t.Helper()
	f, err := weights.Open(t.Context(), vggtest.Fixture(t, "testdata/oracle/"+name+".safetensors"))
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

// rows are a buffer in a parameter's packed order, in the canonical one.
func rows(t *testing.T, p *nn.Param, packed []float32) []float32 {
	t.Helper()
	out := make([]float32, p.Len())
	if err := p.UnpackRows(0, out, packed); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestTrainingAgainstPyTorch: loss, gradients and ten steps of SCR and PCR are PyTorch's,
// of whole mini-batches and of images one by one, on every instruction set.
func TestTrainingAgainstPyTorch(t *testing.T) {
	for _, isa := range kernel.ISAs() {
		before := kernel.Current().Name()
		if err := kernel.Use(isa.Name()); err != nil {
			t.Fatal(err)
		}
		for _, r := range []vgg.Regression{vgg.SCR, vgg.PCR} {
			for _, parts := range []bool{false, true} {
				name := isa.Name() + "/" + string(r)
				if parts {
					name += "_in_parts"
				}
				t.Run(name, func(t *testing.T) { testTraining(t, r, parts) })
			}
		}
		if err := kernel.Use(before); err != nil {
			t.Fatal(err)
		}
	}
}

func testTraining(t *testing.T, r vgg.Regression, parts bool) {
	const side = 12
	start, meta := oracle(t, "start")
	want, _ := oracle(t, string(r))
	x := start["x"]
	n := x.Dim(0)
	number := func(key string) float32 {
		var v float32
		if err := json.Unmarshal([]byte(meta[key]), &v); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		return v
	}
	net, err := network.New(network.Options{Config: "12 M 16 M FC10 FC", Classes: r.Outputs(3), Width: 1, Input: side})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range net.Params() {
		v := start[p.Name]
		if v == nil {
			v = start[string(r)+"."+p.Name]
		}
		if err := p.Set(v.Data); err != nil {
			t.Fatal(err)
		}
	}
	// Images of which the network sees all, but one whose box lies mostly outside.
	task := NewTask(vgg.Localisation{Regression: r, ClassBoxes: make([][4]float64, 3)}, DefaultRule(), nil, nil)
	view := dataset.View{ImageW: 2 * side, ImageH: 3 * side, W: 2 * side, H: 3 * side, X: 5, Y: 9, Side: side}
	var samples []dataset.Sample
	for i := range n {
		var target [4]float64
		for k := range target {
			target[k] = float64(start["target"].Data[4*i+k])
		}
		b := toImage(view, decode(target))
		if start["seen"].Data[i] == 0 {
			b = corners{0, 0, 6, 10}
		}
		label := int(start["labels"].Data[i])
		samples = append(samples, dataset.Sample{Label: label, Boxes: []dataset.Box{{X0: b[0], Y0: b[1], X1: b[2], Y1: b[3], Class: label}}})
	}
	chain := net.Chain()
	training, err := chain.NewTraining(n, side, side)
	if err != nil {
		t.Fatal(err)
	}
	sgd := nn.NewSGD(chain)
	u := nn.Update{Rate: number("rate"), Momentum: number("momentum"), Decay: number("decay"), DecayBiases: true}
	lossFrom := func(from int) nn.Loss {
		return func(i int, outputs, d []float32, scale float32) float64 {
			return task.Loss(samples[from+i], view, outputs, d, scale)
		}
	}
	var losses []float32
	for step := range 10 {
		var sum float64
		switch {
		case parts:
			chain.ZeroGrad()
			for i := range n {
				one, err := tensor.FromSlice(x.Index(i).Data, 1, 3, side, side)
				if err != nil {
					t.Fatal(err)
				}
				l, err := training.StepLoss(one, lossFrom(i), nn.Pass{Image: i, Batch: n, More: i < n-1})
				if err != nil {
					t.Fatal(err)
				}
				sum += l
			}
			if step == 0 {
				for _, p := range net.Params() {
					vggtest.Near(t, "gradient of "+p.Name, rows(t, p, p.Grad), want["grad."+p.Name].Data)
				}
			}
			sgd.Step(u)
		default:
			if sum, err = training.StepLossSGD(x, lossFrom(0), nn.Pass{}, sgd, u); err != nil {
				t.Fatal(err)
			}
		}
		losses = append(losses, float32(sum/float64(n)))
	}
	vggtest.Near(t, "loss", losses, want["loss"].Data)
	for _, p := range net.Params() {
		vggtest.Near(t, p.Name, rows(t, p, p.Value), want[p.Name].Data)
		vggtest.Near(t, "momentum of "+p.Name, rows(t, p, sgd.Momentum(p)), want["momentum."+p.Name].Data)
	}
}

// boxCase is a line of boxes.json.
type boxCase struct {
	Image, Rescaled, Corner [2]int
	Side                    int
	Flip                    bool
	Label                   int
	Boxes                   [][]any
	Targets                 map[string][]float64
	Outputs                 []float32
	Predicted               [4]float64
	IoU                     float64
}

func boxCases(t *testing.T) []boxCase {
	t.Helper()
	text, err := os.ReadFile(vggtest.Fixture(t, "testdata/oracle/boxes.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []boxCase
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 50 {
		t.Fatalf("%d cases", len(cases))
	}
	return cases
}

func (c boxCase) sample(t *testing.T) (dataset.Sample, dataset.View) {
	t.Helper()
	s := dataset.Sample{Label: c.Label}
	for _, b := range c.Boxes {
		s.Boxes = append(s.Boxes, dataset.Box{X0: b[0].(float64), Y0: b[1].(float64), X1: b[2].(float64), Y1: b[3].(float64), Class: int(b[4].(float64)), Difficult: b[5].(bool)})
	}
	return s, dataset.View{ImageW: c.Image[0], ImageH: c.Image[1], W: c.Rescaled[0], H: c.Rescaled[1], X: c.Corner[0], Y: c.Corner[1], Side: c.Side, Flip: c.Flip}
}

// TestBoxesAgainstNumpy: rescaling, crop and mirroring move boxes as matrices do, and
// back; targets by every rule, and IoU.
func TestBoxesAgainstNumpy(t *testing.T) {
	head := vgg.Localisation{Regression: vgg.SCR, ClassBoxes: make([][4]float64, 2)}
	for n, c := range boxCases(t) {
		s, v := c.sample(t)
		for name, want := range c.Targets {
			rule, err := ParseRule(name)
			if err != nil {
				t.Fatal(err)
			}
			task := NewTask(head, rule, nil, nil)
			got, ok := task.target(s, v)
			if ok != (want != nil) {
				t.Errorf("case %d, %s: target %v, want %v", n, name, got, want)
				continue
			}
			for i, w := range want {
				if math.Abs(float64(got[i])-w) > 1e-6*(1+math.Abs(w)) {
					t.Errorf("case %d, %s: target %v, want %v", n, name, got, want)
					break
				}
			}
			// The gradient is the difference, and nothing where there is no target.
			d := []float32{9, 9, 9, 9}
			loss, sum := task.Loss(s, v, c.Outputs, d, 0.5), 0.0
			for i := range d {
				diff := 0.0
				if ok {
					diff = float64(c.Outputs[i]) - float64(got[i])
				}
				sum += diff * diff / 2
				if math.Abs(float64(d[i])-diff/2) > 1e-6 {
					t.Errorf("case %d, %s: derivative %v, want %v", n, name, d[i], diff/2)
				}
			}
			if math.Abs(loss-sum) > 1e-9 {
				t.Errorf("case %d, %s: loss %v, want %v", n, name, loss, sum)
			}
		}
		got := predicted(v, c.Outputs)
		for i := range got {
			if math.Abs(got[i]-c.Predicted[i]) > 1e-3 {
				t.Errorf("case %d: predicted %v, want %v", n, got, c.Predicted)
				break
			}
		}
		if iou := NewTask(head, DefaultRule(), nil, nil).IoU(s, v, c.Outputs); math.Abs(iou-c.IoU) > 1e-5 {
			t.Errorf("case %d: IoU %v, want %v", n, iou, c.IoU)
		}
	}
}
