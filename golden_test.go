package vgg

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
)

func readCSV(t *testing.T, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestTrainedOnTheSample compares a network that was trained on the embedded photographs
// with PyTorch (tools/oracle/trained.py): its class probabilities on all hundred validation
// images, and its error.
func TestTrainedOnTheSample(t *testing.T) {
	var oracle struct {
		Images []struct {
			File       string
			Posteriors []float32
		}
		Top1Error float64 `json:"top1_error"`
		Top5Error float64 `json:"top5_error"`
	}
	if err := json.Unmarshal(readFile(t, "testdata/trained/pytorch.json"), &oracle); err != nil {
		t.Fatal(err)
	}
	m, err := Open(t.Context(), "testdata/trained/sample.safetensors", OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, val, err := sample.Open()
	if err != nil {
		t.Fatal(err)
	}
	if val.Len() != 100 || len(oracle.Images) != 100 || !slices.Equal(val.Classes, m.Classes) {
		t.Fatalf("%d images of %v, and %d of PyTorch's, want 100 of %v", val.Len(), val.Classes, len(oracle.Images), m.Classes)
	}
	want := map[string][]float32{}
	for _, im := range oracle.Images {
		want[im.File] = im.Posteriors
	}
	var worst float64
	wrong1, wrong5 := 0, 0
	for i, s := range val.Samples {
		data, err := val.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		im, err := preprocess.Decode(data, preprocess.DecodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := m.Posteriors(im, m.Preprocess.Resize)
		if err != nil {
			t.Fatal(err)
		}
		if len(want[s.Name]) != len(p) {
			t.Fatalf("%s: %d probabilities, PyTorch has %d", s.Name, len(p), len(want[s.Name]))
		}
		for k := range p {
			worst = max(worst, math.Abs(float64(p[k]-want[s.Name][k])))
		}
		top := metrics.TopK(p, 5)
		if top[0] != s.Label {
			wrong1++
		}
		if !slices.Contains(top, s.Label) {
			wrong5++
		}
	}
	if worst > 1e-4 {
		t.Errorf("probabilities differ by up to %.1e, want 1e-4", worst)
	}
	if wrong1 != 29 || wrong5 != 1 || oracle.Top1Error != 0.29 || oracle.Top5Error != 0.01 {
		t.Errorf("top-1 error %d %%, top-5 error %d %%, PyTorch's %v and %v; want 29 %% and 1 %%", wrong1, wrong5, oracle.Top1Error, oracle.Top5Error)
	}
}

// TestTrainedNetwork opens a network that others trained and published, a TensorFlow.js
// model of three blocks with batch normalisation in some layers. On the first 1000 test
// images of CIFAR-10 it must give the probabilities and the accuracy of an independent
// forward pass in numpy.
func TestTrainedNetwork(t *testing.T) {
	model := vggtest.Shared(t, "weights/cifar10-vgg6-bn-tfjs/model.json")
	images := vggtest.Shared(t, "cifar10/png-batches/cifar10_batch_50.png")
	golden := readCSV(t, vggtest.Shared(t, "cifar10/png-batches/golden_batch50_vgg6bn_probs.csv"))
	var truth []int
	for _, row := range readCSV(t, vggtest.Shared(t, "cifar10/png-batches/labels.csv"))[1:] {
		if row[0] == "50" {
			label, err := strconv.Atoi(row[2])
			if err != nil {
				t.Fatal(err)
			}
			truth = append(truth, label)
		}
	}
	text := readFile(t, vggtest.Shared(t, "weights/cifar10-vgg6-bn-tfjs/labels.json"))
	var classes []string
	if err := json.Unmarshal(text, &classes); err != nil {
		t.Fatal(err)
	}

	m, err := Open(t.Context(), model, OpenOptions{Classes: classes})
	if err != nil {
		t.Fatal(err)
	}
	o := m.Net.Options()
	want := network.Options{Config: "32bn 32 M 64bn 64 M 128bn 128 M FC256 FC", Classes: 10, Width: 1, Input: 32, Dropout: o.Dropout, LRN: o.LRN, BNEps: 1e-3}
	if o != want {
		t.Fatalf("taken for %+v, want %+v", o, want)
	}
	if s := m.Preprocess; s.Scale != 1./255 || s.Mean != [3]float32{} || s.Std != [3]float32{1, 1, 1} || s.Crop != 32 || s.Resize != 32 {
		t.Errorf("preprocessing %+v, want pixel/255 on crops of 32", s)
	}
	// The same through a native file.
	if m, err = Open(t.Context(), save(t, m), OpenOptions{}); err != nil {
		t.Fatal(err)
	}

	batch, err := preprocess.Decode(readFile(t, images), preprocess.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if batch.W != 1024 || batch.H != len(golden) || len(truth) != len(golden) {
		t.Fatalf("%d×%d pixels, %d golden rows, %d labels", batch.W, batch.H, len(golden), len(truth))
	}
	var worst float64
	right, other := 0, 0
	for i, row := range golden {
		im := preprocess.NewImage(32, 32)
		copy(im.Pix, batch.Pix[i*3*1024:(i+1)*3*1024])
		p, err := m.Posteriors(im, 32)
		if err != nil {
			t.Fatal(err)
		}
		q := make([]float32, len(row))
		for k, s := range row {
			v, err := strconv.ParseFloat(s, 32)
			if err != nil {
				t.Fatal(err)
			}
			q[k] = float32(v)
			worst = max(worst, math.Abs(float64(p[k])-v))
		}
		top := metrics.TopK(p, 1)[0]
		if top != metrics.TopK(q, 1)[0] {
			other++
		}
		if top == truth[i] {
			right++
		}
	}
	if other > 0 || worst > 1e-4 || right != 815 {
		t.Errorf("%d of %d images have another class, probabilities differ by up to %.1e, %d are right; want none, 1e-4, 815", other, len(golden), worst, right)
	}
	t.Logf("probabilities within %.1e, top-1 accuracy %.1f %%", worst, float64(right)/10)
}
