package eval_test

import (
	"testing"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// randomSet has images of many sizes, and some that are none.
func randomSet(t testing.TB) (*dataset.Dataset, map[string]bool) {
	t.Helper()
	classes := []string{"e", "c", "a"} // not in the model's order, and not all
	var files []tiny.File
	for i := range 17 {
		files = append(files, tiny.Image(classes[i%3], vggtest.PNG(32+i*3, 60-i, vggtest.Noise(uint64(i)))))
	}
	files[4].Data = files[4].Data[:len(files[4].Data)/2]
	files[5].Data = []byte("no image at all")
	files[16].Data = nil
	return tiny.Set(t, classes, files...), map[string]bool{"c/4.png": true, "a/5.png": true, "c/16.png": true}
}

// read returns the bytes of a set's image.
func read(t testing.TB, d *dataset.Dataset, i int) []byte {
	t.Helper()
	data, err := d.Read(i)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
