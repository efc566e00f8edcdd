// Command pipeline measures the preparation of an image for a network, on one thread:
// decoding, rescaling, augmentation, and all of them. It reads the JPEG files of a folder
// and prints the milliseconds of processor time for an image as JSON, the median over
// rounds. pipeline.py compares it with other libraries.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/verydeep/vgg/preprocess"
)

const (
	scale = 256 // smallest side S
	crop  = 224
)

func main() {
	rounds := flag.Int("rounds", 5, "rounds over all images")
	flag.Parse()
	runtime.GOMAXPROCS(1)
	if err := run(flag.Arg(0), *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "pipeline:", err)
		os.Exit(1)
	}
}

func run(dir string, rounds int) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.JPEG"))
	if err != nil || len(names) == 0 {
		return fmt.Errorf("%s: no JPEG files (%v)", dir, err)
	}
	spec, err := preprocess.Preset("vgg")
	if err != nil {
		return err
	}
	var files [][]byte
	var images, rescaled []*preprocess.Image
	for _, n := range names {
		data, err := os.ReadFile(n)
		if err != nil {
			return err
		}
		im, err := preprocess.Decode(data, preprocess.DecodeOptions{})
		if err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		small, err := preprocess.ResizeShort(im, scale, preprocess.Bilinear)
		if err != nil {
			return err
		}
		files, images, rescaled = append(files, data), append(images, im), append(rescaled, small)
	}
	var r preprocess.Resizer
	var dst preprocess.Image
	tensor := make([]float32, 3*crop*crop)
	rng := rand.New(rand.NewPCG(1, 1))
	stats := preprocess.Stats{Eigenvalues: [3]float64{20000, 1300, 240}, Eigenvectors: [3][3]float64{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}
	draw := func(w, h int) (x, y int, flip bool, shift [3]float32) {
		x, y = preprocess.RandomCrop(w, h, crop, rng)
		flip = rng.Uint64()>>63 == 1
		return x, y, flip, stats.Shift([3]float64{0.1 * rng.NormFloat64(), 0.1 * rng.NormFloat64(), 0.1 * rng.NormFloat64()})
	}
	finish := func(im *preprocess.Image, flip bool, shift [3]float32) {
		if flip {
			im = preprocess.FlipH(im)
		}
		spec.Tensor(tensor, im, shift)
	}
	resizeCrop := func(im *preprocess.Image) (flip bool, shift [3]float32, err error) {
		w, h := preprocess.ShortSide(im.W, im.H, scale)
		x, y, flip, shift := draw(w, h)
		return flip, shift, r.ResizeRegion(&dst, im, w, h, preprocess.Bilinear, x, y, x+crop, y+crop)
	}
	works := []struct {
		name string
		do   func(i int) error
	}{
		{"decode", func(i int) error {
			_, err := preprocess.Decode(files[i], preprocess.DecodeOptions{})
			return err
		}},
		{"rescale", func(i int) error {
			w, h := preprocess.ShortSide(images[i].W, images[i].H, scale)
			return r.ResizeRegion(&dst, images[i], w, h, preprocess.Bilinear, 0, 0, w, h)
		}},
		{"rescale bicubic", func(i int) error {
			w, h := preprocess.ShortSide(images[i].W, images[i].H, scale)
			return r.ResizeRegion(&dst, images[i], w, h, preprocess.Bicubic, 0, 0, w, h)
		}},
		{"augment", func(i int) error {
			im := rescaled[i]
			x, y, flip, shift := draw(im.W, im.H)
			c, err := preprocess.Crop(im, x, y, x+crop, y+crop)
			if err == nil {
				finish(c, flip, shift)
			}
			return err
		}},
		{"rescale and augment", func(i int) error {
			flip, shift, err := resizeCrop(images[i])
			if err == nil {
				finish(&dst, flip, shift)
			}
			return err
		}},
		{"all", func(i int) error {
			im, err := preprocess.Decode(files[i], preprocess.DecodeOptions{})
			if err != nil {
				return err
			}
			flip, shift, err := resizeCrop(im)
			if err == nil {
				finish(&dst, flip, shift)
			}
			return err
		}},
	}
	times := map[string][]float64{}
	for range rounds {
		for _, work := range works {
			start := processorTime()
			for i := range files {
				if err := work.do(i); err != nil {
					return fmt.Errorf("%s: %s: %w", names[i], work.name, err)
				}
			}
			times[work.name] = append(times[work.name], (processorTime()-start).Seconds()*1e3/float64(len(files)))
		}
	}
	result := map[string]float64{}
	for name, t := range times {
		slices.Sort(t)
		result[name] = t[len(t)/2]
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"version": runtime.Version(), "ms": result})
}
