package transfer

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/preprocess"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// picture encodes noise of a colour as PNG.
func picture(t testing.TB, w, h int, seed uint64) []byte {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	im := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		im.SetRGBA(i%w, i/w, color.RGBA{uint8(rng.IntN(256)), uint8(40 * (seed % 6)), uint8(rng.IntN(64)), 255})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, im); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// write writes files below a folder.
func write(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// folder is images of many sizes in three classes, two of them unreadable.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string][]byte{}
	for i := range 14 {
		files[fmt.Sprintf("%c/%02d.png", 'a'+i%3, i)] = picture(t, 32+i*3, 60-i, uint64(i))
	}
	files["a/06.png"] = files["a/06.png"][:90]
	files["b/10.png"] = []byte("no image")
	write(t, dir, files)
	return dir
}

// network is a small B with random weights.
func network(t testing.TB, seed uint64) Net {
	t.Helper()
	o := network.DefaultOptions("B")
	o.Classes, o.Width, o.FC, o.Input = 5, 1./8, 24, 32
	net, err := network.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := net.Init(network.He, seed); err != nil {
		t.Fatal(err)
	}
	spec, err := preprocess.Preset("torchvision")
	if err != nil {
		t.Fatal(err)
	}
	spec.Crop, spec.Resize = 32, 40
	m := &vgg.Model{Net: net, Classes: []string{"a", "b", "c", "d", "e"}, Preprocess: spec}
	return Net{Weights: fmt.Sprint("network ", seed), SHA256: fmt.Sprint(seed), Open: func() (*vgg.Model, error) { return m, nil }}
}

// open opens a folder's images.
func open(t testing.TB, layout Layout, dir string) *Images {
	t.Helper()
	images, err := OpenImages(t.Context(), layout, dir)
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// contents reads a file of descriptors.
func contents(t testing.TB, path string) (*Descriptors, []float32) {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	x, err := d.Load()
	if err != nil {
		t.Fatal(err)
	}
	return d, x
}

// sameBits reports the first difference of two lists of numbers.
func sameBits(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: number %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}
