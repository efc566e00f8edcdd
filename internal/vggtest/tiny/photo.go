package tiny

import (
	"io/fs"
	"testing"

	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/preprocess"
)

// Crop returns w × h pixels of a photograph of the embedded sample, such as
// val/sunflower/image_0041.jpg, from the pixel x, y on.
func Crop(t *testing.T, file string, x, y, w, h int) *preprocess.Image {
	t.Helper()
	files, err := sample.Files()
	if err != nil {
		t.Fatal(err)
	}
	data, err := fs.ReadFile(files, file)
	if err != nil {
		t.Fatal(err)
	}
	im, err := preprocess.Decode(data, preprocess.DecodeOptions{})
	if err == nil {
		im, err = preprocess.Crop(im, x, y, x+w, y+h)
	}
	if err != nil {
		t.Fatal(err)
	}
	return im
}
