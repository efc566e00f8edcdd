package vgg

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// kerasFolder has the models that tools/oracle/kerasheads.py wrote with Keras 3 and Keras 2.
const kerasFolder = "testdata/keras"

// kerasImage is an image that their posteriors are of.
func kerasImage(t *testing.T, name string) *preprocess.Image {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(kerasFolder, name))
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
	var cases map[string]struct {
		Image      string // that the model rescales; "" for image.png
		Posteriors []float64
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for file, c := range cases {
		t.Run(file, func(t *testing.T) {
			m, err := Open(context.Background(), filepath.Join(kerasFolder, file), OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if c.Image == "" {
				nearTool(t, m.Net.Options().Config, kerasPosteriors(t, m, kerasImage(t, "image.png")), c.Posteriors)
				return
			}
			// Rescaled images are rounded to grey levels.
			for i, p := range kerasPosteriors(t, m, kerasImage(t, c.Image)) {
				if d := math.Abs(float64(p) - c.Posteriors[i]); !(d <= 2e-3) {
					t.Errorf("posterior %d is %v, want %v; %+v", i, p, c.Posteriors[i], m.Preprocess)
				}
			}
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

// kerasZip calls f with each file that tools/oracle/kerasheads.py packed, and with what it
// expects of it.
func kerasZip[T any](t *testing.T, name string, f func(t *testing.T, file string, content []byte, expected T)) {
	t.Helper()
	z, err := zip.OpenReader(filepath.Join(kerasFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	read := func(name string) []byte {
		r, err := z.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var expected map[string]T
	if err := json.Unmarshal(read("expected.json"), &expected); err != nil {
		t.Fatal(err)
	}
	if len(expected) != len(z.File)-1 || len(expected) < 20 {
		t.Fatalf("%d expectations of %d files, want at least 20", len(expected), len(z.File)-1)
	}
	for file, want := range expected {
		t.Run(file, func(t *testing.T) { f(t, file, read(file), want) })
	}
}

// TestKerasDrawn: models of drawn layers, in all forms that Keras has for them, give Keras's
// posteriors, and give them again once they are written for Keras.
func TestKerasDrawn(t *testing.T) {
	im := kerasImage(t, "image.png")
	kerasZip(t, "drawn.zip", func(t *testing.T, file string, content []byte, want []float64) {
		m, err := OpenReader(t.Context(), file, bytes.NewReader(content), int64(len(content)), OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		nearTool(t, m.Net.Options().Config, kerasPosteriors(t, m, im), want)
		for _, name := range []string{"a.keras", "a.weights.h5"} {
			path := filepath.Join(t.TempDir(), name)
			if err := m.Export(t.Context(), path, ExportOptions{}); err != nil {
				t.Fatal(err)
			}
			again, err := Open(t.Context(), path, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			nearTool(t, name, kerasPosteriors(t, again, im), want)
		}
	})
}

// TestKerasRefused: what can't be followed is an error that names the layer or asks, for
// Keras 3 and Keras 2.
func TestKerasRefused(t *testing.T) {
	kerasZip(t, "refused.zip", func(t *testing.T, file string, content []byte, want string) {
		m, err := OpenReader(t.Context(), file, bytes.NewReader(content), int64(len(content)), OpenOptions{})
		if err == nil {
			t.Fatalf("opened as %q with %+v", m.Net.Options().Config, m.Preprocess)
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
		t.Log(err)
	})
}
