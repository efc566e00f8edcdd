package preprocess_test

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"log"
	"os"
	"strings"

	"github.com/verydeep/vgg/preprocess"
)

// An image file becomes the input tensor of a network with 224×224 inputs.
func ExampleDecodeFile() {
	im, err := preprocess.DecodeFile("testdata/decode/photo-420.jpg", preprocess.DecodeOptions{Orient: preprocess.Upright})
	if err != nil {
		log.Fatal(err)
	}
	spec, err := preprocess.Preset("vgg")
	if err != nil {
		log.Fatal(err)
	}
	w, h := preprocess.ShortSide(im.W, im.H, spec.Resize)
	x0, y0 := preprocess.CentreCrop(w, h, spec.Crop)
	crop, err := preprocess.ResizeRegion(im, w, h, spec.Filter, x0, y0, x0+spec.Crop, y0+spec.Crop)
	if err != nil {
		log.Fatal(err)
	}
	x := make([]float32, 3*spec.Crop*spec.Crop)
	spec.Tensor(x, crop, [3]float32{})
	fmt.Printf("%d×%d pixels, rescaled to %d×%d, cropped to %d×%d", im.W, im.H, w, h, crop.W, crop.H)
	// Output: 150×99 pixels, rescaled to 387×256, cropped to 224×224
}

// An upload is read from the connection; the error tells what it was instead of an image.
func ExampleDecodeReader() {
	f, err := os.Open("testdata/decode/420.jpg")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	im, err := preprocess.DecodeReader(f, preprocess.DecodeOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(im.W, im.H)

	_, err = preprocess.DecodeReader(strings.NewReader("%PDF-1.7"), preprocess.DecodeOptions{})
	if other, ok := errors.AsType[*preprocess.FormatError](err); ok {
		fmt.Println(other.Found)
	}
	// Output:
	// 37 29
	// PDF
}

// A picture that a program has drawn, or decoded itself.
func ExampleFromImage() {
	m := image.NewNRGBA(image.Rect(0, 0, 2, 1))
	m.Set(0, 0, color.NRGBA{R: 255, A: 255})
	m.Set(1, 0, color.NRGBA{B: 200, A: 10}) // alpha is dropped
	im, err := preprocess.FromImage(m)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(im.W, im.H, im.Pix)
	// Output: 2 1 [255 0 0 0 0 200]
}
