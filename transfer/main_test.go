package transfer

import (
	"fmt"
	"image/color"
	"math/rand/v2"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// picture is noise of a colour as PNG.
func picture(w, h int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	return vggtest.PNG(w, h, func(int, int) color.RGBA {
		return color.RGBA{uint8(rng.IntN(256)), uint8(40 * (seed % 6)), uint8(rng.IntN(64)), 255}
	})
}

// folder is images of many sizes in three classes, two of them unreadable.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string][]byte{}
	for i := range 14 {
		files[fmt.Sprintf("%c/%02d.png", 'a'+i%3, i)] = picture(32+i*3, 60-i, uint64(i))
	}
	files["a/06.png"] = files["a/06.png"][:90]
	files["b/10.png"] = []byte("no image")
	vggtest.WriteFiles(t, dir, files)
	return dir
}

// smallNet is a small B with random weights.
func smallNet(seed uint64) Net {
	m := tiny.Random(24, seed)
	return Net{Weights: fmt.Sprint("network ", seed), SHA256: fmt.Sprint(seed), Open: func() (*vgg.Model, error) { return m, nil }}
}

// open opens a folder's images.
func open(t testing.TB, layout Layout, dir string) *Images {
	t.Helper()
	images, err := OpenImages(t.Context(), ImageOptions{Layout: layout}, dir)
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// contents reads a file of descriptors.
func contents(t testing.TB, path string) (*Descriptors, []float32) {
	t.Helper()
	d, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	x, err := d.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d, x
}

// sameBits reports the first difference of two lists of numbers.
func sameBits(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if err := vggtest.SameBits(got, want); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
