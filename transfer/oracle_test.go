package transfer

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

var (
	fullWeights = flag.String("weights", "", "file of weights for TestOracle, in place of the small network")
	fullOracle  = flag.String("oracle", "", "what tools/oracle/features.py --weights made of them")
)

type featureOracle struct {
	Scales []int
	Images []struct {
		File     string
		Raw      [][]float32
		Stacked  []float32
		Averaged []float32
		Others   map[string]map[string][]float32
	}
}

// TestOracle compares descriptors of photographs with PyTorch's, within 1e-4 of their largest
// number: at every Q, stacked and averaged, and of several layers.
func TestOracle(t *testing.T) {
	path, open := "testdata/features.json", func() (*vgg.Model, error) { return vgg.Open(t.Context(), *fullWeights, vgg.OpenOptions{}) }
	if *fullOracle != "" {
		path = *fullOracle
	} else {
		m := tiny.Hashed()
		open = func() (*vgg.Model, error) { return m, nil }
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var o featureOracle
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	scales := o.Scales
	if testing.Short() {
		o.Images, scales = o.Images[:1], o.Scales[:1]
	}
	_, val, err := sample.Open()
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	dir := t.TempDir()
	for _, im := range o.Images {
		i := slices.IndexFunc(val.Samples, func(s dataset.Sample) bool { return s.Name == im.File })
		if i < 0 {
			t.Fatalf("the sample has no %s", im.File)
		}
		data, err := val.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		vggtest.WriteFiles(t, dir, map[string][]byte{im.File: data})
		files = append(files, filepath.Join(dir, filepath.FromSlash(im.File)))
	}
	describe := func(files []string, scales []int, layer string, o Options) []float32 {
		t.Helper()
		images, err := OpenImages(t.Context(), ImageOptions{Layout: Files}, files...)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "f.npy")
		o.Flip = true
		net := Net{Weights: "D", Scales: scales, Layer: layer, Open: open}
		if _, err := Extract(t.Context(), []Net{net}, images, out, o); err != nil {
			t.Fatal(err)
		}
		_, x := contents(t, out)
		return x
	}
	worst := 0.0
	check := func(what string, got, want []float32) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
		}
		most := 0.0
		for _, v := range want {
			most = max(most, math.Abs(float64(v)))
		}
		for i := range want {
			d := math.Abs(float64(got[i]-want[i])) / most
			worst = max(worst, d)
			if !(d <= 1e-4) {
				t.Fatalf("%s: number %d is %v, want %v", what, i, got[i], want[i])
			}
		}
	}
	n, k := len(o.Images[0].Averaged)*len(scales), len(o.Images[0].Averaged)
	raw := describe(files, scales, "", Options{Raw: true})
	for i, im := range o.Images {
		for s := range scales {
			check(im.File+": a scale", raw[i*n+s*k:i*n+(s+1)*k], im.Raw[s])
		}
	}
	if !testing.Short() {
		some := o.Images
		if !vggtest.All() {
			some = some[:1] // they are made of the raw ones
		}
		stacked, averaged := describe(files[:len(some)], scales, "", Options{}), describe(files[:len(some)], scales, "", Options{Average: true})
		for i, im := range some {
			check(im.File+": stacked", stacked[i*n:(i+1)*n], im.Stacked)
			check(im.File+": averaged", averaged[i*k:(i+1)*k], im.Averaged)
		}
	}
	others := 0
	for layer, kinds := range o.Images[0].Others {
		for kind, want := range kinds {
			x := describe(files[:1], o.Scales[:1], layer, Options{Raw: true, Max: strings.HasPrefix(kind, "max"), Unrectified: strings.HasSuffix(kind, "unrectified")})
			check(layer+": "+kind, x[:len(want)], want)
			others++
		}
	}
	if *fullOracle == "" && others != 24 {
		t.Errorf("%d other layers", others)
	}
	t.Logf("largest difference, in the largest number of a descriptor: %.2g", worst)
}
