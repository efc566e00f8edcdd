package eval_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"testing"
	"testing/fstest"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
)

// TestPictures: pictures in memory are evaluated as their files are.
func TestPictures(t *testing.T) {
	classes := []string{"a", "b", "c", "d", "e", "f"}
	files := fstest.MapFS{}
	var samples []dataset.Sample
	var pictures []dataset.Picture
	for i := range 12 {
		im := image.NewNRGBA(image.Rect(0, 0, 40+i, 50))
		for y := range 50 {
			for x := range 40 + i {
				im.SetNRGBA(x, y, color.NRGBA{uint8(x * i), uint8(y*3 + i), uint8(x ^ y), 255})
			}
		}
		var file bytes.Buffer
		if err := png.Encode(&file, im); err != nil {
			t.Fatal(err)
		}
		p := dataset.Picture{Name: fmt.Sprintf("%02d.png", i), Label: i % len(classes)}
		switch i % 3 {
		case 0:
			p.Image = im
		case 1:
			p.Encoded = file.Bytes()
		case 2:
			p.Load = func() (image.Image, error) { return im, nil }
		}
		files[p.Name] = &fstest.MapFile{Data: file.Bytes()}
		samples, pictures = append(samples, dataset.Sample{Name: p.Name, Label: p.Label}), append(pictures, p)
	}
	onDisk, err := dataset.New("set", files, classes, samples)
	if err != nil {
		t.Fatal(err)
	}
	inMemory, err := dataset.FromPictures("set", classes, pictures)
	if err != nil {
		t.Fatal(err)
	}
	o := network.DefaultOptions("A")
	o.Classes, o.Width, o.FC, o.Input = len(classes), 0.05, 16, 32
	net, err := network.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := net.Init(network.He, 1); err != nil {
		t.Fatal(err)
	}
	spec, err := preprocess.Preset("vgg")
	if err != nil {
		t.Fatal(err)
	}
	spec.Crop, spec.Resize = 32, 36
	model := &vgg.Model{Net: net, Classes: classes, Preprocess: spec}
	var results []*eval.Result
	for _, d := range []*dataset.Dataset{onDisk, inMemory} {
		r, err := eval.Run(t.Context(), model, d, eval.Options{Protocol: eval.Dense})
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	if a, b := results[0], results[1]; a.Images != 12 || b.Images != 12 || a.Top1Error != b.Top1Error || a.Top5Error != b.Top5Error {
		t.Errorf("in memory %d images, errors %v and %v; as files %d, %v and %v", b.Images, b.Top1Error, b.Top5Error, a.Images, a.Top1Error, a.Top5Error)
	}
}
