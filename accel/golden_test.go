package accel

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/nn"
)

var update = flag.Bool("update", false, "rewrite the programs in testdata")

// goldenChain is a convolution, others of two channels, a pooling and two products.
func goldenChain(between ...nn.Layer) *nn.Chain {
	layers := append([]nn.Layer{nn.NewConv("conv", 3, 2, 3, 1, true)}, between...)
	return nn.NewChain(3, append(layers, nn.NewMaxPool("pool"), nn.NewFC("fc1", 2, 2, 5, true), nn.NewFC("fc2", 5, 1, 4, false))...)
}

// golden are the kinds of programs that networks become. Whatever changes them changes the bits
// of results, and by their text the names under which compiled programs are kept.
var golden = map[string]func() (pjrt.Program, error){
	"inference": func() (pjrt.Program, error) {
		return InferenceProgram(goldenChain(), 2, 4, 4, F32)
	},
	"dense": func() (pjrt.Program, error) {
		p, _, _, err := inferenceProgram(goldenChain(), inferenceInput{n: 1, h: 32, w: 64, smaller: true}, BF16)
		return p, err
	},
	"gradients": func() (pjrt.Program, error) {
		c := nn.NewChain(3, nn.NewConv("conv", 3, 2, 3, 1, false), nn.NewBatchNorm("norm", 2, true),
			nn.NewDropout("drop", 0.25, 7), nn.NewFC("fc", 2, 4, 4, false))
		return gradients(c, nn.TrainerOptions{Smoothing: 0.5}, TF32)
	},
	"labels": func() (pjrt.Program, error) {
		lrn, err := nn.NewLRN("lrn", nn.PaperLRN())
		if err != nil {
			return pjrt.Program{}, err
		}
		c := nn.NewChain(3, nn.NewConv("conv", 3, 2, 1, 0, true), lrn, nn.NewFC("fc", 2, 4, 5, false))
		return gradients(c, nn.TrainerOptions{Labels: true}, F32)
	},
	"reduce": func() (pjrt.Program, error) {
		p, err := goldenPlan(lastLearnt(goldenChain()), nn.TrainerOptions{}, 2, F32)
		if err != nil {
			return pjrt.Program{}, err
		}
		tree, at := comm.Tree(6), ranks{0, 3, 3} // of 6 groups in 3 ranks, the second rank's are no node
		p.replicas = at.count
		spans, _ := at.spans(tree)
		return p.reduceProgram(tree, spans, tree.Spans(at.own(tree)))
	},
	"update": func() (pjrt.Program, error) {
		c := lastLearnt(goldenChain())
		params := c.Params()
		params[len(params)-1].RateFactor = 2
		p, err := goldenPlan(c, nn.TrainerOptions{}, 2, F32)
		if err != nil {
			return pjrt.Program{}, err
		}
		return p.updateProgram(updateKey{momentum: 0.5, decay: 0.25, clip: 4, nesterov: true})
	},
}

// lastLearnt freezes all layers but the last.
func lastLearnt(c *nn.Chain) *nn.Chain {
	params := c.Params()
	for _, p := range params[:len(params)-2] {
		p.Frozen = true
	}
	return c
}

// goldenPlan is the training of a chain on micro-batches of images of 4×4 pixels.
func goldenPlan(c *nn.Chain, o nn.TrainerOptions, images int, precision Precision) (*plan, error) {
	o.Batch, o.Groups, o.Ranks, o.H, o.W = images, 1, 1, 4, 4
	return newPlan(c, o, images, precision)
}

func gradients(c *nn.Chain, o nn.TrainerOptions, precision Precision) (pjrt.Program, error) {
	p, err := goldenPlan(c, o, 2, precision)
	if err != nil {
		return pjrt.Program{}, err
	}
	return p.gradientProgram(p.loss)
}

// TestGoldenPrograms compares programs with those in testdata, which XLA's compiler took: no
// plugin is needed to see what a change does to them.
func TestGoldenPrograms(t *testing.T) {
	for name, write := range golden {
		t.Run(name, func(t *testing.T) {
			p, err := write()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, p.Code, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if string(p.Code) != string(want) {
				t.Errorf("%s: the program is\n%s\nwant\n%s\n(go test ./accel -run Golden -update, if that is meant)", file, p.Code, want)
			}
		})
	}
}

// TestGoldenProgramsCompile: the plugin takes the programs in testdata.
func TestGoldenProgramsCompile(t *testing.T) {
	d := testDevice(t, Options{Count: 3})
	for name, write := range golden {
		p, err := write()
		if err != nil {
			t.Fatal(err)
		}
		replicas := 1
		if name == "reduce" {
			replicas = 3
		}
		if _, err := d.compile(p, replicas, true, work{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPrecisionOfPrograms: every convolution and product of a program, forward and backward, asks
// for what the precision's name says, and takes bfloat16 with bf16 alone. XLA reads HIGHEST as
// float32, HIGH as leave for TF32 on GPUs, where tools/device-aot looks at its library calls.
func TestPrecisionOfPrograms(t *testing.T) {
	product := regexp.MustCompile(`(?m)^ *%\d+ = stablehlo\.(convolution|dot_general).*$`)
	precision := regexp.MustCompile(`precision ([A-Z]+)>, #stablehlo<precision ([A-Z]+)>|precision = \[([A-Z]+), ([A-Z]+)\]`)
	operands := regexp.MustCompile(`: \(tensor<[0-9x]+x([a-z0-9]+)>, tensor<[0-9x]+x([a-z0-9]+)>\)`)
	for p, want := range map[Precision]struct {
		asked hlo.Precision
		elem  hlo.Elem
	}{F32: {hlo.Highest, hlo.F32}, TF32: {hlo.High, hlo.F32}, BF16: {hlo.Default, hlo.BF16}} {
		c := goldenChain(nn.NewConv("conv2", 2, 2, 3, 1, true), nn.NewConv("pixel", 2, 2, 1, 0, true))
		forward, err := InferenceProgram(c, 2, 4, 4, p)
		if err != nil {
			t.Fatal(err)
		}
		backward, err := gradients(c, nn.TrainerOptions{}, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			name    string
			program pjrt.Program
			count   int
		}{
			{"inference", forward, 5},
			{"gradients", backward, 5 + 5 + 4}, // the first layer's input has none
		} {
			lines := product.FindAll(test.program.Code, -1)
			if len(lines) != test.count {
				t.Errorf("%s, %s: %d convolutions and products, want %d", p, test.name, len(lines), test.count)
			}
			for _, line := range lines {
				asked, elems := groups(precision.FindSubmatch(line)), groups(operands.FindSubmatch(line))
				if !slices.Equal(asked, []string{string(want.asked), string(want.asked)}) || !slices.Equal(elems, []string{string(want.elem), string(want.elem)}) {
					t.Errorf("%s, %s: %s of %s, want %s of %s: %s", p, test.name, asked, elems, want.asked, want.elem, line)
				}
			}
		}
	}
}

// groups are the parts of a match that aren't empty.
func groups(match [][]byte) (parts []string) {
	for _, m := range match[min(1, len(match)):] {
		if len(m) > 0 {
			parts = append(parts, string(m))
		}
	}
	return parts
}
