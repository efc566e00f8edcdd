package preprocess

import (
	"fmt"
	"math"
	"strings"
)

// Spec is the preprocessing that a network was trained with and that its
// weights carry: y = (x·Scale − Mean)/Std for a pixel x in grey levels
// (0 … 255), channel by channel. Everything is in RGB order. For weights made
// for BGR input, the import exchanges the input channels of the first layer;
// the image is never changed.
type Spec struct {
	Name   string     `json:"name"`   // "vgg", "caffe", "keras", "torchvision", or the user's own
	Scale  float32    `json:"scale"`  // multiplies the pixel before the mean is subtracted: 1 or 1/255
	Mean   [3]float32 `json:"mean"`   // in scaled units
	Std    [3]float32 `json:"std"`    // in scaled units; 1 for no division
	Filter Filter     `json:"filter"` // rescaling filter
	Crop   int        `json:"crop"`   // side of the square that the network was trained on, in pixels
	// Resize is the default Q, in pixels: the smallest side of the rescaled image, or with Squash
	// both its sides. timm's crop_pct is Crop/Resize: Resize is ⌊Crop/crop_pct⌋.
	Resize int `json:"resize"`
	// Fit tells what of the aspect is kept. Keep is left out of the JSON.
	Fit Fit `json:"fit,omitzero"`
	// Orient tells which way up image files are read. Stored is left out of the JSON, but written
	// to files of weights: of weights that don't say it package vgg takes Upright.
	Orient Orient `json:"orient,omitzero"`
	// Centre tells where the central crop begins if an odd number of pixels is cut off. Round is
	// left out of the JSON.
	Centre Centre `json:"centre,omitzero"`
}

// presets returns the preprocessing of the public VGG weights. The mean is that of
// the ILSVRC-2012 training set, published with the models of the paper.
func presets() []Spec {
	vgg := Spec{
		Name:   "vgg",
		Scale:  1,
		Mean:   [3]float32{123.68, 116.779, 103.939},
		Std:    [3]float32{1, 1, 1},
		Filter: Bilinear,
		Crop:   224,
		Resize: 256,
	}
	caffe, keras := vgg, vgg
	caffe.Name, keras.Name = "caffe", "keras"
	torchvision := Spec{
		Name:   "torchvision",
		Scale:  1.0 / 255,
		Mean:   [3]float32{0.485, 0.456, 0.406},
		Std:    [3]float32{0.229, 0.224, 0.225},
		Filter: Bilinear,
		Crop:   224,
		Resize: 256,
	}
	return []Spec{vgg, caffe, keras, torchvision}
}

// Preset returns the preprocessing called name:
//
//   - "vgg": the paper's, pixel minus mean RGB (section 2.1)
//   - "caffe", "keras": the same numbers; the weights released for these take
//     BGR, which the import of the weights corrects (see [Spec])
//   - "torchvision": pixel/255, minus mean, over standard deviation
//
// The aspect is kept, and images are taken as they are stored.
func Preset(name string) (Spec, error) {
	var known []string
	for _, s := range presets() {
		if s.Name == name {
			return s, nil
		}
		known = append(known, s.Name)
	}
	return Spec{}, fmt.Errorf("preprocess: preset: %q, want one of %s", name, strings.Join(known, ", "))
}

// Validate returns an error for the first field that is out of range.
func (s Spec) Validate() error {
	fail := func(field string, got any, want string) error {
		return fmt.Errorf("preprocess: spec %q: %s %v, want %s", s.Name, field, got, want)
	}
	if !positive(s.Scale) {
		return fail("scale", s.Scale, "a finite number over 0")
	}
	for c := range 3 {
		if m := float64(s.Mean[c]); math.IsNaN(m) || math.IsInf(m, 0) {
			return fail("mean", s.Mean, "three finite numbers")
		}
		if !positive(s.Std[c]) {
			return fail("std", s.Std, "three finite numbers over 0")
		}
	}
	if err := s.Filter.validate(); err != nil {
		return fmt.Errorf("preprocess: spec %q: %w", s.Name, err)
	}
	if err := s.Fit.validate(); err != nil {
		return fmt.Errorf("preprocess: spec %q: %w", s.Name, err)
	}
	if err := s.Orient.validate(); err != nil {
		return fmt.Errorf("preprocess: spec %q: %w", s.Name, err)
	}
	if err := s.Centre.validate(); err != nil {
		return fmt.Errorf("preprocess: spec %q: %w", s.Name, err)
	}
	if s.Crop < 1 {
		return fail("crop", s.Crop, "at least 1")
	}
	if s.Resize < s.Crop {
		return fail("resize", s.Resize, fmt.Sprintf("at least the crop of %d", s.Crop))
	}
	return nil
}

func positive(x float32) bool {
	return x > 0 && !math.IsInf(float64(x), 0)
}

// SamePixels reports whether s and o make the same numbers of a pixel.
func (s Spec) SamePixels(o Spec) bool {
	return s.Scale == o.Scale && s.Mean == o.Mean && s.Std == o.Std
}

// Tensor writes im into dst, (3,H,W) planar RGB, as
// ((x + shift)·Scale − Mean)/Std. The shift is in grey levels, the RGB colour
// shift of section 3.1 (see [Stats.Shift]) or zero; the shifted pixel is not
// clipped to 0 … 255. dst must hold 3·im.W·im.H numbers.
func (s Spec) Tensor(dst []float32, im *Image, shift [3]float32) {
	n := im.W * im.H
	if len(dst) != 3*n || len(im.Pix) != 3*n {
		panic("preprocess: Spec.Tensor: dst and image differ in size")
	}
	var table [3][256]float32
	for c := range 3 {
		scale, mean, std := float64(s.Scale), float64(s.Mean[c]), float64(s.Std[c])
		for x := range 256 {
			// The conversions keep the product from being fused with the
			// subtraction, so that every architecture gives the same bits.
			v := float64((float64(x) + float64(shift[c])) * scale)
			table[c][x] = float32((v - mean) / std)
		}
	}
	r, g, b := dst[:n:n], dst[n:2*n:2*n], dst[2*n:]
	tr, tg, tb := &table[0], &table[1], &table[2]
	pix := im.Pix
	for i := range r {
		p := pix[3*i : 3*i+3 : 3*i+3]
		r[i], g[i], b[i] = tr[p[0]], tg[p[1]], tb[p[2]]
	}
}
