package preprocess

import (
	"math/rand/v2"
	"os"
	"testing"
)

func noise(w, h int, seed uint64) *Image {
	rng := rand.New(rand.NewPCG(seed, 0))
	im := NewImage(w, h)
	for i := range im.Pix {
		im.Pix[i] = uint8(rng.Uint32())
	}
	return im
}

// BenchmarkResize rescales an image of ILSVRC's commonest size to smallest
// side 256.
func BenchmarkResize(b *testing.B) {
	im := noise(500, 375, 1)
	w, h := ShortSide(im.W, im.H, 256)
	for _, f := range []Filter{Bilinear, Bicubic} {
		b.Run(f.String(), func(b *testing.B) {
			b.ReportAllocs()
			var r Resizer
			var dst Image
			for b.Loop() {
				if err := r.ResizeRegion(&dst, im, w, h, f, 0, 0, w, h); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(f.String()+"-crop224", func(b *testing.B) {
			b.ReportAllocs()
			var r Resizer
			var dst Image
			x, y := CentreCrop(w, h, 224)
			for b.Loop() {
				if err := r.ResizeRegion(&dst, im, w, h, f, x, y, x+224, y+224); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkTensor(b *testing.B) {
	im := noise(224, 224, 1)
	s, err := Preset("torchvision")
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]float32, len(im.Pix))
	for b.Loop() {
		s.Tensor(dst, im, [3]float32{})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{"photo-420.jpg", "444.jpg", "rgb.png"} {
		data, err := os.ReadFile("testdata/decode/" + name)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(data, DecodeOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
