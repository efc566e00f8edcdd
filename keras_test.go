package vgg

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// kerasFolder has the models that tools/oracle/kerasheads.py wrote with Keras 3 and Keras 2.
const kerasFolder = "testdata/keras"

// kerasImage is the image that their posteriors are of.
func kerasImage(t *testing.T) *preprocess.Image {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(kerasFolder, "image.png"))
	if err != nil {
		t.Fatal(err)
	}
	im, err := preprocess.Decode(data, preprocess.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// TestKerasModels: a model of Keras's is followed layer by layer, with the preprocessing in it.
// Nothing is asked, and the posteriors are those of Keras.
func TestKerasModels(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(kerasFolder, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases map[string]struct{ Posteriors []float64 }
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	im := kerasImage(t)
	for file, c := range cases {
		t.Run(file, func(t *testing.T) {
			m, err := Open(context.Background(), filepath.Join(kerasFolder, file), OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			nearTool(t, m.Net.Options().Config, kerasPosteriors(t, m, im), c.Posteriors)
		})
	}
}

// kerasPosteriors returns the posteriors of the image, or the scores of a network without them.
func kerasPosteriors(t *testing.T, m *Model, im *preprocess.Image) []float32 {
	t.Helper()
	if m.Net.Options().Posterior() != network.NoPosterior {
		p, err := m.Posteriors(im, m.Preprocess.Resize)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	side := m.Net.Options().Input
	x := tensor.New(1, 3, side, side)
	if err := m.centralCrop(x.Data, im, m.Preprocess.Resize); err != nil {
		t.Fatal(err)
	}
	y, err := m.Net.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	return y.Data
}
