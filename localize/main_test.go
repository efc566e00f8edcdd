package localize

import (
	"fmt"
	"image/color"
	"math/rand/v2"
	"testing"
	"testing/fstest"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// squares is a dataset of pictures of a bright square on dark noise, red or blue by
// class, with its box; sizes differ. Those in bad are text.
func squares(t testing.TB, name string, n int, bad ...int) *dataset.Dataset {
	t.Helper()
	files := fstest.MapFS{}
	var samples []dataset.Sample
	for i := range n {
		rng := rand.New(rand.NewPCG(uint64(i), 9))
		w, h := 40+rng.IntN(30), 40+rng.IntN(30)
		side := 12 + rng.IntN(18)
		x, y := rng.IntN(w-side), rng.IntN(h-side)
		picture := vggtest.PNG(w, h, func(u, v int) color.RGBA {
			rgb := [3]uint8{uint8(rng.UintN(90)), uint8(rng.UintN(90)), uint8(rng.UintN(90))}
			if u >= x && u < x+side && v >= y && v < y+side {
				rgb[2*(i%2)] += 150
			}
			return color.RGBA{rgb[0], rgb[1], rgb[2], 255}
		})
		file := fmt.Sprintf("%03d.png", i)
		files[file] = &fstest.MapFile{Data: picture}
		samples = append(samples, dataset.Sample{Name: file, Label: i % 2, Boxes: []dataset.Box{
			{X0: float64(x), Y0: float64(y), X1: float64(x + side), Y1: float64(y + side), Class: i % 2},
		}})
	}
	for _, i := range bad {
		files[samples[i].Name].Data = []byte("this is no image\n")
	}
	d, err := dataset.New(name, files, []string{"red", "blue"}, samples)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// tinyModel is a network of a few units with random weights; regression "" is of a
// classification network.
func tinyModel(t testing.TB, r vgg.Regression, seed uint64, config ...string) *vgg.Model {
	t.Helper()
	m := &vgg.Model{Classes: []string{"red", "blue"}, Preprocess: preprocess.Spec{Name: "vgg", Scale: 1.0 / 128, Mean: [3]float32{1, 1, 1}, Std: [3]float32{1, 1, 1}, Filter: preprocess.Bilinear, Crop: 32, Resize: 36}}
	outputs := 2
	if r != "" {
		m.Localisation = &vgg.Localisation{Regression: r, MeanBox: [4]float64{0.2, 0.2, 0.7, 0.7}, ClassBoxes: [][4]float64{{0.1, 0.1, 0.6, 0.6}, {0.3, 0.3, 0.9, 0.9}}}
		outputs = r.Outputs(2)
	}
	config = append(config, "16 M 16 M 16 M FC16 FC")
	var err error
	if m.Net, err = network.New(network.Options{Config: config[0], Classes: outputs, Width: 1, FC: 16, Input: 32}); err != nil {
		t.Fatal(err)
	}
	if err := m.Net.Init(network.He, seed); err != nil {
		t.Fatal(err)
	}
	if r != "" { // boxes about the middle of their windows rather than anywhere
		p := m.Net.Params()
		w := p[len(p)-2]
		values := make([]float32, w.Len())
		if err := w.GetRows(0, values); err != nil {
			t.Fatal(err)
		}
		for i := range values {
			values[i] *= 0.2
		}
		if err := w.Set(values); err != nil {
			t.Fatal(err)
		}
		bias := make([]float32, outputs)
		for i := range bias {
			bias[i] = 0.5
		}
		if err := p[len(p)-1].Set(bias); err != nil {
			t.Fatal(err)
		}
	}
	return m
}
