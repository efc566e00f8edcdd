package vgg

import (
	"encoding/json"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/verydeep/vgg/weights"
)

// matLabels are the classes' descriptions in the fixtures of tools/oracle/matconvnet.py.
var matLabels = []string{"kit fox, Vulpes macrotis", "English setter", "Siberian husky", "tench, Tinca tinca", "Ménière's fox"}

// TestImportMatConvNet opens networks in every layout of MatConvNet's: classes, mean and
// preprocessing come with them, and the class scores are those of numpy.
func TestImportMatConvNet(t *testing.T) {
	for _, c := range []struct{ name, config, filter string }{
		{"d_old", "D", "bilinear"},
		{"a_plain", "A", "bilinear"},
		{"a_new", "A", "bicubic"},
		{"a-lrn_old", "A-LRN", "bilinear"},
		{"d-bn_new", "D-BN", "bicubic"},
		{"v73", "1 M", "bicubic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join("weights", "testdata", "mat", c.name+".mat")
			m, err := Open(t.Context(), path, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			o := m.Net.Options()
			side, width := 64, 1.0/64
			if c.name == "v73" {
				side, width = 16, 1
			}
			if o.Config != c.config || o.Width != width || o.FC != 8 || o.Classes != 5 || o.Input != side {
				t.Errorf("taken for %+v, want configuration %s", o, c.config)
			}
			x := oracleImage(2, side, side)
			want := goldenLogits(t, filepath.Join("weights", "testdata", "mat", c.name+".safetensors"))
			near(t, "logits", forward(t, m.Net, x).Data, want)
			if !slices.Equal(m.Classes, matLabels) {
				t.Errorf("classes %q, want %q", m.Classes, matLabels)
			}
			p := m.Preprocess
			for i, mean := range []float64{123.68, 116.779, 103.939} {
				if math.Abs(float64(p.Mean[i])-mean) > 1e-3 {
					t.Errorf("mean %v of channel %d, want %v", p.Mean[i], i, mean)
				}
			}
			if p.Scale != 1 || p.Std != [3]float32{1, 1, 1} || p.Filter.String() != c.filter || p.Crop != side || p.Resize != side+8 {
				t.Errorf("preprocessing %+v, want %s, a border of 8 round crops of %d", p, c.filter, side)
			}
			again, err := Open(t.Context(), save(t, m), OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			near(t, "logits when saved", forward(t, again.Net, x).Data, want)
		})
	}
}

// The way of SciPy's loadmat: biases are (K,1) or (1,K), in an npz or a .mat.
func TestImportLoadmat(t *testing.T) {
	want := goldenLogits(t, filepath.Join("weights", "testdata", "mat", "d_old.safetensors"))
	for _, name := range []string{"d_loadmat.npz", "d_arrays.mat"} {
		m, err := Open(t.Context(), filepath.Join("weights", "testdata", "mat", name), OpenOptions{Preprocess: "vgg"})
		if err != nil {
			t.Error(err)
			continue
		}
		near(t, name+": logits", forward(t, m.Net, oracleImage(2, 64, 64)).Data, want)
	}
}

// The names of ImageNet's synsets in a file make its classes those of ImageNet.
func TestMatConvNetSynsets(t *testing.T) {
	f, err := weights.Open(filepath.Join("weights", "testdata", "mat", "a_new.mat"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var synsets []string
	if err := json.Unmarshal([]byte(f.Metadata()["synsets"]), &synsets); err != nil || len(synsets) != 5 || synsets[3] != "n01440764" {
		t.Errorf("synsets %q, %v", synsets, err)
	}
	if got, want := f.Metadata()["averageImage"], "an image of 64×64 pixels, of which the mean is subtracted"; got != want {
		t.Errorf("averageImage: %q, want %q", got, want)
	}
}
