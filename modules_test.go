package vgg

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// moduleCase is what tools/oracle/modules.py expects of a file in testdata/modules.
type moduleCase struct {
	Side       int
	Posteriors []float64 // of moduleImage
	Head       string
	Eps        float32
	Normalize  bool // the file tells torchvision's preprocessing
	Unit       bool // the file's code takes pixels 0 … 1 by (x − 0.5)/0.25
	Input      int  // to be given, without which it is no error
	Error      string
	Refused    bool   // nothing that is given opens it
	GiveHead   string `json:"give_head"`
	GiveInput  int    `json:"give_input"`
	Ignore     []string
	Classes    []string // that came with the weights
}

// moduleImage is the picture of the expectations.
func moduleImage(side int) *tensor.Tensor {
	x := tensor.New(1, 3, side, side)
	for i := range x.Data {
		c, r, col := float64(i/side/side), float64(i/side%side), float64(i%side)
		x.Data[i] = float32(math.Sin(0.9*c + 0.13*r + 0.07*col + 0.001*r*col))
	}
	return x
}

var asked = regexp.MustCompile(`--config '([^']+)'`)

// TestModules opens what torch.save, torch.jit.script and torch.jit.trace wrote of whole
// models. Posteriors are PyTorch's; what a file doesn't tell is an error that names what to
// give, and with that the posteriors are PyTorch's, too.
func TestModules(t *testing.T) {
	data, err := os.ReadFile(vggtest.Fixture(t, "testdata/modules/expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases map[string]moduleCase
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(vggtest.Fixture(t, "testdata/modules"), "*.p*"))
	if err != nil || len(files) != len(cases) {
		t.Fatalf("%d files, %v, want the %d of expected.json", len(files), err, len(cases))
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := OpenOptions{Preprocess: "unit", Input: c.Input}
			if c.Normalize || c.Unit {
				o.Preprocess = ""
			}
			path := vggtest.Fixture(t, "testdata/modules/"+name)
			if strings.HasPrefix(c.Error, "--head 'GMAP") { // and its features are none of the paper's
				c.Error, c.GiveInput = "--config '1bn M 2bn M 2bn M 3bn M 4bn M GMAP BN FC6 RELU BN FC'", c.Side
			}
			m, err := Open(t.Context(), path, o)
			if c.Error != "" {
				if err == nil || !strings.Contains(err.Error(), c.Error) {
					t.Fatalf("%v, want %q", err, c.Error)
				}
				if asks := strings.Contains(err.Error(), "--"); !asks && !c.Refused {
					t.Errorf("%v: names no flag", err)
				}
				ambiguous := errors.As(err, new(*AmbiguousError))
				if want := asked.MatchString(err.Error()) || c.Ignore == nil && !c.Refused; ambiguous != want && !c.Refused && !strings.Contains(c.Error, "activation of first") {
					t.Errorf("%v: ambiguous %v, want %v", err, ambiguous, want)
				}
			}
			if c.Refused {
				return
			}
			if c.Error != "" || c.GiveHead != "" {
				o.Head, o.Ignore = c.GiveHead, c.Ignore
				if err != nil {
					if row := asked.FindStringSubmatch(err.Error()); row != nil { // the features that it proposes, with the head of the model
						o.Head, o.Config = "", row[1][:strings.LastIndex(row[1], " M")]+" M "+c.Head
					}
				}
				if c.GiveInput != 0 {
					o.Input = c.GiveInput
				}
				m, err = Open(t.Context(), path, o)
			}
			if err != nil {
				t.Fatal(err)
			}
			opts := m.Net.Options()
			if c.Head != opts.Head() || opts.BNEps != c.Eps {
				t.Errorf("head %q, epsilon %g, want %q, %g", opts.Head(), opts.BNEps, c.Head, c.Eps)
			}
			if c.Normalize && m.Preprocess.Name != "normalize" {
				t.Errorf("preprocessing %+v", m.Preprocess)
			}
			if c.Classes != nil && !slices.Equal(m.Classes, c.Classes) {
				t.Errorf("classes %q, want %q", m.Classes, c.Classes)
			}
			x := moduleImage(c.Side)
			switch {
			case c.Normalize || c.Unit:
				for i := range x.Data {
					ch := i / c.Side / c.Side % 3
					x.Data[i] = (x.Data[i] - m.Preprocess.Mean[ch]) / m.Preprocess.Std[ch]
				}
			}
			y, err := m.Net.Forward(x)
			if err != nil {
				t.Fatal(err)
			}
			opts.Posterior().Of(y.Data, y.Data)
			nearTool(t, "posteriors", y.Data, c.Posteriors)
		})
	}
}

// A head that a module's own attributes contradict is refused, however it is given.
func TestModulesContradicted(t *testing.T) {
	for file, config := range map[string]string{
		"own.pth":      "1 M 2 M 2 M 3 M 4 M GAP FC6 RELU FC",
		"replaced.pth": "1 M 2 M 2 M 3 M 4 M FC5 RELU DROP FC",
		"relu6.pth":    "1 M 2 M 2 M 3 M 4 M GAP FC4 RELU FC",
	} {
		m, err := Open(t.Context(), vggtest.Fixture(t, "testdata/modules/"+file), OpenOptions{Preprocess: "unit", Config: config})
		if err == nil {
			t.Errorf("%s: opened as %q", file, m.Net.Options().Config)
		}
	}
}

// TestSlices: a part of a network that doesn't begin with an image is an error that says
// which part it is.
func TestSlices(t *testing.T) {
	type conv struct {
		name    string
		out, in int
	}
	for _, c := range []struct {
		convs []conv
		err   string
	}{
		{[]conv{{"10", 16, 8}, {"12", 16, 16}, {"14", 16, 16}, {"17", 32, 16}}, `10.weight: it takes 8 channels: a part of a network without its beginning, that of D after "64 64 M 128 128 M"`},
		{[]conv{{"features.0", 128, 64}, {"features.2", 128, 128}, {"features.5", 256, 128}}, `that of B after "64 64 M"`},
		{[]conv{{"features.0", 8, 6}, {"features.2", 8, 8}}, "features.0.weight: it takes 6 channels: a part of a network without its beginning: want"},
		{[]conv{{"0", 8, 1}, {"2", 8, 8}}, "0.weight: it takes 1 channel, want the 3 of RGB images"},
	} {
		var s []weights.Source
		for _, l := range c.convs {
			zeros := make([]float32, l.out*l.in*9)
			s = append(s, weights.Source{Name: l.name + ".weight", Shape: []int{l.out, l.in, 3, 3}, Data: func(yield func([]float32) bool) { yield(zeros) }})
		}
		path := filepath.Join(t.TempDir(), "slice.safetensors")
		if err := weights.WriteSafetensors(path, nil, s); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), path, OpenOptions{Preprocess: "torchvision"}); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %v, want %q", c.convs, err, c.err)
		}
	}
}

// TestLeftovers: what training leaves in a checkpoint is listed with its reason and left out,
// in every format of state dicts, and the network is the same.
func TestLeftovers(t *testing.T) {
	const row = "4bn M 4 M FC5 FC5 FC" // no configuration of the paper: it is given
	m := headModel(t, row, 8, 3, 0)
	want := posteriorsOf(t, m, 8)
	for name, reason := range map[string]string{
		"criterion.weight": "of the loss function", "loss_fn.pos_weight": "of the loss function", "n_averaged": "counter of averaged models",
		"features.1.num_batches_tracked": "counter of batches", "total_ops": "thop", "features.0.total_params": "thop",
		"optimizer.state.0.exp_avg": "state of the optimiser", "features.0.weight.momentum_buffer": "state of the optimiser",
		"lr_scheduler.last": "state of training", "global_step": "counter of training", "val_acc.correct": "a metric's state",
	} {
		for _, ext := range []string{".safetensors", ".pth", ".npz"} {
			s, err := interchange.Tensors(m.Net, interchange.Torchvision, "F32")
			if err != nil {
				t.Fatal(err)
			}
			s = append(s, weights.Source{Name: name, Shape: []int{2}, Data: func(yield func([]float32) bool) { yield([]float32{3, 4}) }})
			path := filepath.Join(t.TempDir(), "checkpoint"+ext)
			switch ext {
			case ".pth":
				err = weights.WritePyTorch(path, nil, s)
			case ".npz":
				err = weights.WriteNPZ(path, nil, s)
			default:
				err = weights.WriteSafetensors(path, nil, s)
			}
			if err != nil {
				t.Fatal(err)
			}
			var d *Description
			got, err := Open(t.Context(), path, OpenOptions{Preprocess: "unit", Config: row, Input: 8, Described: func(of *Description) { d = of }})
			if err != nil {
				t.Errorf("%s in %s: %v", name, ext, err)
				continue
			}
			if left := strings.Join(d.Ignored, "\n"); !strings.Contains(left, name+": ") || !strings.Contains(left, reason) {
				t.Errorf("%s in %s: left out %q, want the name and %q", name, ext, left, reason)
			}
			if !samePosteriors(posteriorsOf(t, got, 8), want) {
				t.Errorf("%s in %s: other posteriors", name, ext)
			}
		}
	}
}
