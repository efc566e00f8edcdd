package eval

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
)

type oracle struct {
	Grids  map[string][][2]int
	Images []struct {
		File  string
		Views []struct {
			Scale     int
			Dense     []float32
			DenseFlip []float32 `json:"dense_flip"`
			Grid      []float32
			GridFlip  []float32 `json:"grid_flip"`
			Ten       []float32
			Map       []float32
		}
	}
}

// TestOracle compares posteriors of photographs with PyTorch's, within 1e-4: dense passes,
// grids of crops, ten crops, mirror images and their means, at every scale.
func TestOracle(t *testing.T) {
	var o oracle
	text, err := os.ReadFile("testdata/oracle.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for name, want := range o.Grids {
		var w, h int
		if _, err := fmt.Sscanf(name, "%dx%d", &w, &h); err != nil {
			t.Fatal(err)
		}
		for i, c := range Grid(w, h, 224) {
			if c != (Corner{want[i][0], want[i][1]}) {
				t.Errorf("%s: crop %d at %v, want %v", name, i, c, want[i])
			}
		}
		checked++
	}
	if checked < 8 || len(o.Images) != 20 {
		t.Fatalf("%d grids and %d images, want at least 8 and 20", checked, len(o.Images))
	}
	data := photographs(t, o)
	m := tiny.Hashed()
	images := len(o.Images)
	switch {
	case testing.Short():
		images = 2
	case !vggtest.All():
		images = 6
	}
	compareWithOracle(t, m, data, o, images, func(image, scale int) bool {
		return !testing.Short() && (image == 0 || scale == 512)
	})

	raw, err := data.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	im, err := preprocess.Decode(raw, preprocess.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range o.Images[0].Views {
		if testing.Short() && k > 0 {
			break // the same maps were averaged above
		}
		maps, err := ScoreMaps(t.Context(), m, im, []int{v.Scale})
		if err != nil {
			t.Fatal(err)
		}
		if len(maps[0].Posteriors) != len(v.Map) || maps[0].Window != 224 || maps[0].Stride != 32 {
			t.Fatalf("Q %d: a map of %d×%d places, %d numbers, want %d", v.Scale, maps[0].OW, maps[0].OH, len(maps[0].Posteriors), len(v.Map))
		}
		for i, want := range v.Map {
			if got := maps[0].Posteriors[i]; math.Abs(float64(got-want)) > 1e-4 {
				t.Fatalf("map at Q %d: number %d is %v, want %v", v.Scale, i, got, want)
			}
		}
	}
}

// compareWithOracle compares the posteriors of the first images with the oracle's, in each
// of its views. It leaves out the grid of crops where crops is false.
func compareWithOracle(t *testing.T, m *vgg.Model, data *dataset.Dataset, o oracle, images int, crops func(image, scale int) bool) {
	t.Helper()
	var views []View
	for _, v := range o.Images[0].Views {
		views = append(views, View{Dense, v.Scale, false}, View{Dense, v.Scale, true}, View{MultiCrop, v.Scale, false}, View{TenCrop, v.Scale, false})
	}
	wanted := func(i int) []int { // into views
		var list []int
		for j, v := range o.Images[i].Views {
			list = append(list, 4*j, 4*j+1)
			if v.Grid != nil && crops(i, v.Scale) {
				list = append(list, 4*j+2)
			}
			if v.Ten != nil {
				list = append(list, 4*j+3)
			}
		}
		return list
	}
	l, err := newLimits(designOf(m), true, resources.Resources{})
	if err != nil {
		t.Fatal(err)
	}
	worst, varied := 0.0, false
	check := func(file string, v View, got, want []float32) {
		for k := range want {
			d := math.Abs(float64(got[k] - want[k]))
			worst = max(worst, d)
			if d > 1e-4 {
				t.Errorf("%s: %+v: class %d: %v, want %v", file, v, k, got[k], want[k])
			}
			varied = varied || float64(want[k])*float64(len(want)) > 1.5
		}
	}
	c := &crew{pass: pass{model: m, data: data, views: views, limits: l, workers: 2, done: func(i int, posteriors [][]float32, err error) error {
		if err != nil {
			return err
		}
		for j, v := range wanted(i) {
			im, got := o.Images[i], posteriors[j]
			want := im.Views[v/4]
			switch v % 4 {
			case 0:
				check(im.File, views[v], got, want.Dense)
			case 1:
				check(im.File, views[v], got, Mean(want.Dense, want.DenseFlip))
			case 2:
				check(im.File, views[v], got, Mean(want.Grid, want.GridFlip))
			case 3:
				check(im.File, views[v], got, want.Ten)
			}
		}
		return nil
	}}}
	if err := c.run(t.Context(), whole().images(images), wanted); err != nil {
		t.Fatal(err)
	}
	t.Logf("largest difference of a posterior: %.2g", worst)
	if !varied {
		t.Error("the posteriors are all alike: the comparison is empty")
	}
}

// photographs are the oracle's images, of the embedded sample, as a set of one class.
func photographs(t *testing.T, o oracle) *dataset.Dataset {
	t.Helper()
	_, val, err := sample.Open()
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	var samples []dataset.Sample
	for _, im := range o.Images {
		i := slices.IndexFunc(val.Samples, func(s dataset.Sample) bool { return s.Name == im.File })
		if i < 0 {
			t.Fatalf("the sample has no %s", im.File)
		}
		data, err := val.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		files[im.File] = &fstest.MapFile{Data: data}
		samples = append(samples, dataset.Sample{Name: im.File})
	}
	data, err := dataset.New("photographs", files, []string{"0"}, samples)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var (
	fullWeights = flag.String("weights", "", "file of weights for TestFullSize; a file that is missing is written, with random weights of D")
	fullOracle  = flag.String("oracle", "", "what tools/oracle/eval.py --weights made of them")
)

// TestFullSize is TestOracle at full size. It runs on request: the weights are half a gigabyte.
func TestFullSize(t *testing.T) {
	if *fullWeights == "" {
		vggtest.Skip(t, "-weights and -oracle, half a gigabyte")
	}
	if _, err := os.Stat(*fullWeights); err != nil {
		writeFullSize(t, *fullWeights)
	}
	if *fullOracle == "" {
		vggtest.Skip(t, "-oracle, which tools/oracle/eval.py makes of the weights")
	}
	text, err := os.ReadFile(*fullOracle)
	if err != nil {
		t.Fatal(err)
	}
	var o oracle
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	m, err := vgg.Open(t.Context(), *fullWeights, vgg.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	compareWithOracle(t, m, photographs(t, o), o, len(o.Images), func(int, int) bool { return true })
}

// writeFullSize writes the paper's D with random weights.
func writeFullSize(t *testing.T, path string) {
	t.Helper()
	net, err := network.New(network.DefaultOptions("D"))
	if err != nil {
		t.Fatal(err)
	}
	if err := net.Init(network.He, 1); err != nil {
		t.Fatal(err)
	}
	for _, p := range net.Params() {
		if p.Name == "conv1_1.weight" { // its input is grey levels
			v := make([]float32, p.Len())
			if err := p.Get(v); err != nil {
				t.Fatal(err)
			}
			for i := range v {
				v[i] /= 64
			}
			if err := p.Set(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	spec, err := preprocess.Preset("vgg")
	if err != nil {
		t.Fatal(err)
	}
	if err := (&vgg.Model{Net: net, Classes: vgg.ImageNetClasses(), Preprocess: spec}).Save(t.Context(), path); err != nil {
		t.Fatal(err)
	}
}
