package vgg

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// headModel returns a model with that head on tiny features, every parameter drawn.
func headModel(t interface{ Fatal(...any) }, config string, input, classes int, eps float32) *Model {
	n, err := network.New(network.Options{Config: config, Classes: classes, Width: 1, FC: 5, Input: input, Dropout: 0.25, BNEps: eps})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range n.Params() {
		v := make([]float32, p.Len())
		for i := range v {
			v[i] = float32(rng.NormFloat64()) / 2
			if p.Running || strings.Contains(p.Name, "norm") || strings.Contains(p.Name, ".bn") {
				v[i] = 1 + v[i]*v[i]
			}
		}
		if err := p.Set(v); err != nil {
			t.Fatal(err)
		}
	}
	m := &Model{Net: n, Preprocess: preprocess.Spec{Name: "own", Scale: 1, Std: [3]float32{1, 1, 1}, Filter: preprocess.Bilinear, Crop: input, Resize: input}}
	for i := range classes {
		m.Classes = append(m.Classes, string(rune('a'+i)))
	}
	return m
}

// drawHead draws a head, in canonical spelling.
func drawHead(t *rapid.T) string {
	var tokens []string
	tokens = append(tokens, rapid.SampledFrom([]string{"", "", "BN", "L2", "TANH", "DROP0.1"}).Draw(t, "before"))
	tokens = append(tokens, rapid.SampledFrom([]string{"", "GAP", "GMP", "GAP", "GAP L2", "GMAP", "FLATTEN BN", "GAP BN", "ADAPT2", "ADAPT3 L2", "ADAPT3 BN"}).Draw(t, "pooling"))
	middle := []string{"FC5", "FC5bn", "FC7", "FC5 BN RELU", "FC5 RELU", "FC6 TANH", "FC5 LEAKY0.2 DROP0.3", "FC4 ELU BN", "FC5 GELU", "FC5 SILU", "FC7 SIGMOID", "FC3 LINEAR", "FC5 L2", "FC5 BN"}
	tokens = append(tokens, rapid.SliceOfN(rapid.SampledFrom(middle), 0, 3).Draw(t, "middle")...)
	tokens = append(tokens, rapid.SampledFrom([]string{"FC", "FC", "FC", "FC TANH", "FC BN", "FC LOGSOFTMAX", "FC1 SIGMOID", "FC SIGMOID", "FC SCORES"}).Draw(t, "ending"))
	a, err := architecture.ParseHead(strings.Join(tokens, " "))
	if err != nil {
		t.Fatal(err)
	}
	return a.HeadName()
}

// posteriorsOf returns the posteriors of two drawn images.
func posteriorsOf(t interface{ Fatal(...any) }, m *Model, input int) []float32 {
	rng := rand.New(rand.NewPCG(3, 4))
	x := tensor.New(2, 3, input, input)
	for i := range x.Data {
		x.Data[i] = float32(rng.NormFloat64())
	}
	y, err := m.Net.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	k := m.Net.Options().Classes
	for i := 0; i < len(y.Data); i += k {
		m.Net.Options().Posterior().Of(y.Data[i:i+k], y.Data[i:i+k])
	}
	return y.Data
}

func samePosteriors(a, b []float32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !(math.Abs(float64(a[i]-b[i])) <= 1e-5) {
			return false
		}
	}
	return true
}

// bareTensors writes a model's tensors without anything beside them, under torchvision's
// names.
func bareTensors(t interface{ Fatal(...any) }, m *Model, path string) {
	s, err := interchange.Tensors(m.Net, interchange.Torchvision, "F32")
	if err != nil {
		t.Fatal(err)
	}
	if err := weights.WriteSafetensors(path, nil, s); err != nil {
		t.Fatal(err)
	}
}

// drawFeatures draws features: the paper's, narrow, or others. table tells that they are the
// paper's, so that the numbers of their names can tell them.
func drawFeatures(t *rapid.T) (row string, poolings int, table bool) {
	switch rapid.IntRange(0, 3).Draw(t, "features") {
	case 0:
		return "1 M 2 M 4 4 M 6 6 M 6 6 M ", 5, true
	case 1:
		return "1bn M 2bn M 4bn 4bn M 6bn 6bn M 6bn 6bn M ", 5, true
	}
	poolings = rapid.IntRange(1, 2).Draw(t, "poolings")
	for range poolings {
		row += rapid.SampledFrom([]string{"4 M ", "4 4 M ", "4bn M ", "4 4bn M ", "4 BN M ", "4bn BN 5 M ", "4 M BN 3 "}).Draw(t, "block")
	}
	return row, poolings, false
}

// skipNumbers renumbers the layers of torchvision's features as if dropouts stood between them,
// and tells whether there are any.
func skipNumbers(t *rapid.T, s []weights.Source) bool {
	shift, last, skipped := 0, -1, false
	for i := range s {
		number, rest, _ := strings.Cut(strings.TrimPrefix(s[i].Name, "features."), ".")
		n, err := strconv.Atoi(number)
		if err != nil {
			return skipped
		}
		if last >= 0 && n > last+1 && rapid.IntRange(0, 9).Draw(t, "dropout") == 0 {
			shift, skipped = shift+1, true
		}
		last = n
		s[i].Name = fmt.Sprintf("features.%d.%s", n+shift, rest)
	}
	return skipped
}

// rename gives the features other names that people give: conv1 and bn1 in the order of the
// network or by kinds, block1.0, 0.0 of a Sequential of Sequentials.
func rename(t *rapid.T, scheme string, s []weights.Source) []weights.Source {
	conv, norm, block, at, last := 0, 0, 1, -1, -1
	name := ""
	isNorm := map[string]bool{}
	for _, x := range s {
		if strings.HasSuffix(x.Name, "running_mean") {
			isNorm[strings.TrimSuffix(x.Name, ".running_mean")] = true
		}
	}
	var kinds [2][]weights.Source
	for i := range s {
		layer, role := s[i].Name[:strings.LastIndexByte(s[i].Name, '.')], s[i].Name[strings.LastIndexByte(s[i].Name, '.'):]
		n, err := strconv.Atoi(strings.TrimPrefix(layer, "features."))
		of := 0
		if isNorm[layer] {
			of = 1
		}
		if err == nil && n != last {
			switch {
			case of == 1:
				norm++
				name = fmt.Sprintf("bn%d", norm)
			default:
				conv++
				name = fmt.Sprintf("conv%d", conv)
			}
			if scheme == "block" || scheme == "0.0" {
				at += n - last
				if n-last > 2 && last >= 0 || last < 0 {
					at = 0
				}
				if n-last > 2 && last >= 0 {
					block++
				}
				name = fmt.Sprintf("block%d.%d", block, at)
				if scheme == "0.0" {
					name = fmt.Sprintf("%d.%d", block-1, at)
				}
			}
			last = n
		}
		if err == nil {
			s[i].Name = name + role
		} else if scheme == "0.0" { // the head follows in the same Sequential
			_, number, _ := strings.Cut(layer, ".")
			k, _ := strconv.Atoi(number)
			s[i].Name = fmt.Sprintf("%d%s", block+1+k, role)
		}
		kinds[of] = append(kinds[of], s[i])
	}
	if scheme == "by kinds" {
		return append(kinds[0], kinds[1]...)
	}
	return s
}

// TestStateDicts: the tensors of a network with any features and any head, as a state dict of
// PyTorch alone, in any file that holds one, with the names that people give, and with dropouts
// that take a number: the answer is right, or an error. With the whole network and the input side
// given, it is right.
func TestStateDicts(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		head := drawHead(t)
		features, poolings, table := drawFeatures(t)
		side := rapid.IntRange(1, 3).Draw(t, "side")
		input := side<<poolings + rapid.IntRange(0, 1<<poolings-1).Draw(t, "more")
		classes := 3
		if strings.Contains(head, "FC1 SIGMOID") {
			classes = 2
		}
		m := headModel(t, features+head, input, classes, 0)
		want := posteriorsOf(t, m, input)
		s, err := interchange.Tensors(m.Net, interchange.Torchvision, "F32")
		if err != nil {
			t.Fatal(err)
		}
		wrapper := rapid.SampledFrom([]string{"", "", "module.", "model.", "net.backbone."}).Draw(t, "wrapper")
		classifier := rapid.SampledFrom([]string{"classifier.", "classifier.", "head.", "fc."}).Draw(t, "classifier")
		scheme := rapid.SampledFrom([]string{"features", "features", "conv", "by kinds", "block", "0.0"}).Draw(t, "scheme")
		told := scheme == "features" // by the numbers of the names
		if skipNumbers(t, s) {
			told = false
		}
		if scheme != "features" {
			s = rename(t, scheme, s)
		}
		for i := range s {
			if rest, ok := strings.CutPrefix(s[i].Name, "classifier."); ok {
				s[i].Name = classifier + rest
			}
			s[i].Name = wrapper + s[i].Name
		}
		file := rapid.SampledFrom([]string{"state.safetensors", "state.pth", "state.npz"}).Draw(t, "file")
		path := filepath.Join(dir, file)
		switch file {
		case "state.pth":
			err = weights.WritePyTorch(path, nil, s)
		case "state.npz":
			err = weights.WriteNPZ(path, nil, s)
		default:
			if scheme != "features" { // as the library of safetensors writes them
				slices.SortStableFunc(s, func(a, b weights.Source) int { return strings.Compare(a.Name, b.Name) })
			}
			err = weights.WriteSafetensors(path, nil, s)
		}
		if err != nil {
			t.Fatal(err)
		}
		whole := features + head
		for _, o := range []OpenOptions{{}, {Input: input}, {Head: head}, {Head: head, Input: input}, {Config: whole}, {Config: whole, Input: input}} {
			o.Preprocess = "unit"
			got, err := Open(t.Context(), path, o)
			given := o.Input != 0 && (o.Config != "" || o.Head != "" && told && table)
			switch {
			case err != nil && given && (classifier == "classifier." || scheme == "0.0"):
				t.Fatalf("%s%s: %s, %s: %v", features, head, scheme, file, err)
			case err != nil:
			case o.Config == "" && !(told && table):
				t.Fatalf("%s%s: %s, %s, %+v: opened as %q, which nothing tells", features, head, scheme, file, o, got.Net.Options().Config)
			case o.Head == "" && o.Config == "" && strings.HasSuffix(head, "TANH"): // Convention: nothing follows the last layer
			case o.Head == "" && o.Config == "" && m.Net.Options().Posterior() != network.BySoftmax:
				// Convention: the scores of several classes go through a soft-max, and the file can't
				// say otherwise. Everything before it is the same.
				d := got.Net.Options()
				if a, b := scoresOf(t, got, input), scoresOf(t, m, input); d.Posterior() != network.BySoftmax || d.Input == input && !samePosteriors(a, b) {
					t.Fatalf("%s: %s: opened as %q with other scores", head, file, d.Config)
				}
			case got.Net.Options().Input != input && o.Input == 0:
				if !globalHead(head) {
					t.Fatalf("%s: %s, %+v: input side %d, want %d", head, file, o, got.Net.Options().Input, input)
				}
			case !samePosteriors(posteriorsOf(t, got, input), want):
				t.Fatalf("%s%s: %s, %s, %+v: opened as %q with other posteriors", features, head, scheme, file, o, got.Net.Options().Config)
			}
		}
	})
}

// globalHead tells whether a head pools the whole map, so that the side of the input is that of
// the crop alone.
func globalHead(head string) bool {
	return strings.Contains(head, "GAP") || strings.Contains(head, "GMP") || strings.Contains(head, "GMAP") || strings.Contains(head, "ADAPT")
}

// scoresOf returns the scores of two drawn images.
func scoresOf(t interface{ Fatal(...any) }, m *Model, input int) []float32 {
	rng := rand.New(rand.NewPCG(3, 4))
	x := tensor.New(2, 3, input, input)
	for i := range x.Data {
		x.Data[i] = float32(rng.NormFloat64())
	}
	y, err := m.Net.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	return y.Data
}

// TestHeadsTravel: a network with any head, written in any form, is opened as the same
// network or not at all; and with its head and input side given, where the file doesn't tell
// them, it is the same.
func TestHeadsTravel(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		head := drawHead(t)
		poolings := rapid.IntRange(1, 2).Draw(t, "poolings")
		side := rapid.IntRange(1, 3).Draw(t, "side")
		input := side<<poolings + rapid.IntRange(0, 1<<poolings-1).Draw(t, "more")
		classes := 3
		if strings.Contains(head, "FC1 SIGMOID") {
			classes = 2
		}
		features := ""
		for range poolings {
			features += rapid.SampledFrom([]string{"4 M ", "4 M ", "4bn M ", "4 BN M ", "4bn BN 5 M ", "4 M BN 3 "}).Draw(t, "block")
		}
		features = strings.TrimSpace(features)
		m := headModel(t, features+" "+head, input, classes, 0)
		want := posteriorsOf(t, m, input)
		files := []string{"a.safetensors", "a.pth", "t.safetensors", "a.npz", "a.onnx", "dense.onnx", "a.weights.h5", "a.keras", "bare.safetensors"}
		if files = rapid.Permutation(files).Draw(t, "files"); !vggtest.All() {
			files = files[:3]
		}
		for _, file := range files {
			path := filepath.Join(dir, file)
			o := ExportOptions{ONNX: ONNXOptions{Dense: file == "dense.onnx"}}
			if file == "t.safetensors" {
				o.Names = "torchvision"
			}
			if file == "bare.safetensors" {
				bareTensors(t, m, path)
				// No configuration of the paper has so few poolings.
				if got, err := Open(t.Context(), path, OpenOptions{Preprocess: "unit", Head: head, Input: input}); err == nil {
					t.Fatalf("%s %s: %s: opened as %q", features, head, file, got.Net.Options().Config)
				}
			} else if err := m.Export(t.Context(), path, o); err != nil {
				if file == "dense.onnx" && strings.Contains(err.Error(), "which has no meaning on other maps") {
					continue
				}
				if strings.Contains(head, "ADAPT") && file == "dense.onnx" && strings.Contains(err.Error(), "maps of any size") {
					continue
				}
				if why := refusedByKeras(head, side); why != "" && file == "a.keras" && strings.Contains(err.Error(), why) {
					continue
				}
				t.Fatalf("%s: %s: %v", head, file, err)
			} else if why := refusedByKeras(head, side); why != "" && file == "a.keras" {
				t.Fatalf("%s: %s: written, want %q", head, file, why)
			}
			alone := file != "bare.safetensors"
			open := OpenOptions{}
			if !alone {
				open.Preprocess = "unit"
			}
			// Convention: the scores of several classes in bare tensors go through a soft-max.
			asked := !alone && m.Net.Options().Posterior() != network.BySoftmax
			if !asked {
				got, err := Open(t.Context(), path, open)
				switch {
				case err != nil && !alone && errors.As(err, new(*AmbiguousError)):
				case err != nil:
					t.Fatalf("%s: %s: %v", head, file, err)
				case got.Net.Options().Input != input:
					t.Fatalf("%s: %s: input side %d, want %d", head, file, got.Net.Options().Input, input)
				case !samePosteriors(posteriorsOf(t, got, input), want):
					t.Fatalf("%s: %s: opened as %q with other posteriors", head, file, got.Net.Options().Config)
				case alone && got.Net.Options().Head() != m.Net.Options().Head():
					t.Fatalf("%s: %s: head %q", head, file, got.Net.Options().Head())
				}
			}
			if alone {
				continue
			}
			open.Config, open.Input = features+" "+head, input
			got, err := Open(t.Context(), path, open)
			if err != nil {
				t.Fatalf("%s: %s with its head given: %v", head, file, err)
			}
			if !samePosteriors(posteriorsOf(t, got, input), want) {
				t.Fatalf("%s: %s with its head given: opened as %+v with other posteriors", head, file, got.Net.Options())
			}
		}
	})
}

// refusedByKeras returns the error of writing a head behind maps of that side as .keras, "" if it
// is written.
func refusedByKeras(head string, side int) string {
	for token := range strings.FieldsSeq(head) {
		if token == "GMAP" {
			return "Keras has no pooling to maxima and means (GMAP) in a Sequential model: write .onnx"
		}
		if size, ok := strings.CutPrefix(token, "ADAPT"); ok {
			if n, err := strconv.Atoi(size); err != nil || side%n != 0 {
				return fmt.Sprintf("Keras has no pooling of %d×%[1]d pixels to %s×%[2]s: write .onnx", side, size)
			}
		}
	}
	return ""
}

// TestAmbiguousHeads: what fits several networks is an error that names them, and what is
// given settles it or is refused.
func TestAmbiguousHeads(t *testing.T) {
	const d = "1 1 M 1 1 M 1 1 1 M 2 2 2 M 4 4 4 M " // D's poolings
	for _, c := range []struct {
		head  string
		input int
		open  OpenOptions
		err   string // "" if it is opened
	}{
		{"GAP FC", 224, OpenOptions{}, "--input 32"},
		{"GAP FC", 224, OpenOptions{}, "--head 'GAP FC'"},
		{"GAP FC", 224, OpenOptions{Head: "gap fc"}, ""},
		{"GAP FC", 224, OpenOptions{Input: 224}, "want a head that pools"},
		{"FC", 32, OpenOptions{Input: 32}, ""},
		{"FC", 180, OpenOptions{}, "inputs of 160 to 191 pixels: say which (--input 160)"},
		{"FC", 180, OpenOptions{Input: 180}, ""},
		{"FC", 180, OpenOptions{Preprocess: `{"crop":180}`}, ""},
		{"FC", 180, OpenOptions{Input: 192}, "inputs of 160 to 191 pixels, want 192"},
		{"FC", 180, OpenOptions{Input: 180, Preprocess: `{"crop":170}`}, "crops of 170"},
		{"FC", 224, OpenOptions{}, ""},
		{"FC", 180, OpenOptions{Head: "GAP FC"}, "global pooling leaves"},
		{"GAP FC1 SIGMOID", 224, OpenOptions{}, "FC1"},
		{"GAP FC1 SIGMOID", 224, OpenOptions{Head: "GAP FC"}, "a soft-max tells nothing"},
		{"GAP FC1 SIGMOID", 224, OpenOptions{Head: "GAP FC1 SIGMOID"}, ""},
		{"GAP FC5 BN RELU FC", 224, OpenOptions{}, "don't tell the head"},
		{"GAP FC5 BN RELU FC", 224, OpenOptions{Head: "GAP FC RELU FC"}, "are those of FC BN FC, want FC FC"},
		{"GAP FC5 BN RELU FC", 224, OpenOptions{Head: "GAP FC5 BN RELU FC"}, ""},
		{"GAP FC5 BN RELU FC", 224, OpenOptions{Head: "GAP FC6 BN RELU FC"}, "5 units"},
	} {
		classes := 3
		if strings.Contains(c.head, "FC1") {
			classes = 2
		}
		m := headModel(t, d+c.head, c.input, classes, 0)
		path := filepath.Join(t.TempDir(), "bare.safetensors")
		bareTensors(t, m, path)
		if c.open.Preprocess == "" {
			c.open.Preprocess = "unit"
		}
		got, err := Open(t.Context(), path, c.open)
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s of %d pixels, %+v: %v, want %q", c.head, c.input, c.open, err, c.err)
		case c.err == "" && err != nil:
			t.Errorf("%s of %d pixels, %+v: %v", c.head, c.input, c.open, err)
		case c.err == "" && (got.Net.Options().Input != c.input || got.Net.Options().Head() != m.Net.Options().Head() || !samePosteriors(posteriorsOf(t, got, c.input), posteriorsOf(t, m, c.input))):
			t.Errorf("%s of %d pixels, %+v: opened as %+v", c.head, c.input, c.open, got.Net.Options())
		}
	}
}
