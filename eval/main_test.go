package eval_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	red  = color.RGBA{255, 0, 0, 255}
	blue = color.RGBA{0, 0, 255, 255}
)

// paint encodes a picture as PNG.
func paint(t testing.TB, w, h int, at func(x, y int) color.RGBA) []byte {
	t.Helper()
	im := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			im.SetRGBA(x, y, at(x, y))
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, im); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func plain(c color.RGBA) func(x, y int) color.RGBA { return func(int, int) color.RGBA { return c } }

// halves is c on the left, d on the right of x = at.
func halves(at int, c, d color.RGBA) func(x, y int) color.RGBA {
	return func(x, _ int) color.RGBA {
		if x < at {
			return c
		}
		return d
	}
}

func noise(seed uint64) func(x, y int) color.RGBA {
	rng := rand.New(rand.NewPCG(seed, 0))
	return func(int, int) color.RGBA {
		v := rng.Uint32()
		return color.RGBA{uint8(v), uint8(v >> 8), uint8(v >> 16), 255}
	}
}

// file is an image of a set: its class and its bytes.
type file struct {
	class string
	data  []byte
}

// set makes a dataset of files, named by class and place.
func set(t testing.TB, classes []string, files ...file) *dataset.Dataset {
	t.Helper()
	fsys := fstest.MapFS{}
	var samples []dataset.Sample
	for i, f := range files {
		name := fmt.Sprintf("%s/%d.png", f.class, i)
		fsys[name] = &fstest.MapFile{Data: f.data}
		label := -1
		for l, c := range classes {
			if c == f.class {
				label = l
			}
		}
		samples = append(samples, dataset.Sample{Name: name, Label: label})
	}
	d, err := dataset.New("set", fsys, classes, samples)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// colourModel tells red, green and blue pictures apart: every layer hands the three
// channels on, so that the scores of a 32×32 crop are the largest red, green and blue
// in it, from 0 to 1.
func colourModel(t testing.TB) *vgg.Model {
	t.Helper()
	o := network.DefaultOptions("A")
	o.Classes, o.Width, o.FC, o.Input = 3, 3./64, 8, 32
	net, err := network.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range net.Params() {
		v := make([]float32, p.Len())
		switch len(p.Shape) {
		case 4: // (K,C,3,3)
			for c := range 3 {
				v[(c*p.Shape[1]+c)*9+4] = 1
			}
		case 2: // (out,in)
			for c := range 3 {
				v[c*p.Shape[1]+c] = 1
			}
		}
		if err := p.Set(v); err != nil {
			t.Fatal(err)
		}
	}
	return &vgg.Model{Net: net, Classes: []string{"red", "green", "blue"}, Preprocess: preprocess.Spec{
		Name: "grey levels", Scale: 1. / 255, Std: [3]float32{1, 1, 1}, Filter: preprocess.Bilinear, Crop: 32, Resize: 32,
	}}
}

// randomModel has random weights and classes a to e.
func randomModel(t testing.TB) *vgg.Model {
	t.Helper()
	o := network.DefaultOptions("B")
	o.Classes, o.Width, o.FC, o.Input = 5, 1./8, 32, 32
	net, err := network.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := net.Init(network.He, 7); err != nil {
		t.Fatal(err)
	}
	spec, err := preprocess.Preset("torchvision")
	if err != nil {
		t.Fatal(err)
	}
	spec.Crop, spec.Resize = 32, 40
	return &vgg.Model{Net: net, Classes: []string{"a", "b", "c", "d", "e"}, Preprocess: spec}
}

// randomSet has images of many sizes, and some that are none.
func randomSet(t testing.TB) (*dataset.Dataset, map[string]bool) {
	t.Helper()
	classes := []string{"e", "c", "a"} // not in the model's order, and not all
	var files []file
	for i := range 17 {
		files = append(files, file{classes[i%3], paint(t, 32+i*3, 60-i, noise(uint64(i)))})
	}
	files[4].data = files[4].data[:len(files[4].data)/2]
	files[5].data = []byte("no image at all")
	files[16].data = nil
	return set(t, classes, files...), map[string]bool{"c/4.png": true, "a/5.png": true, "c/16.png": true}
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
