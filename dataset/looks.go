package dataset

import (
	"context"
	"math/bits"

	"github.com/verydeep/vgg/preprocess"
)

// looks is a difference hash of an image (Krawetz 2013, "Kind of like that"): whether each
// of 16×16 cells is brighter than its left neighbour, in a picture reduced to 17×16 cells.
// Where two cells are about as bright, chance and compression decide, so it also says which
// of these signs count.
type looks struct {
	brighter, counts [looksSide * looksSide / 64]uint64
}

const (
	looksSide = 16
	// looksContrast is the least difference of neighbouring cells that counts, in grey levels.
	looksContrast = 3
	// looksLeast is the least number of cells that count; images with fewer are alike anyway.
	looksLeast = 48
)

// looks computes the hash of sample i, upright.
func (d *Dataset) looks(ctx context.Context, i int, o DecodeOptions) (*looks, error) {
	o.Orient = preprocess.Upright
	im, err := d.Decode(ctx, i, o)
	if err != nil {
		return nil, err
	}
	defer im.Release()
	return looksOf(im.Image)
}

// looksOf computes the hash of an image.
func looksOf(im *preprocess.Image) (*looks, error) {
	small, err := preprocess.Resize(im, looksSide+1, looksSide, preprocess.Bilinear)
	if err != nil {
		return nil, err
	}
	grey := func(x, y int) int { // in thousandths
		p := small.Pix[3*(y*small.W+x):]
		return 299*int(p[0]) + 587*int(p[1]) + 114*int(p[2])
	}
	var l looks
	for y := range looksSide {
		for x := range looksSide {
			n := y*looksSide + x
			d := grey(x+1, y) - grey(x, y)
			if d > 0 {
				l.brighter[n/64] |= 1 << (n % 64)
			}
			if max(d, -d) >= 1000*looksContrast {
				l.counts[n/64] |= 1 << (n % 64)
			}
		}
	}
	return &l, nil
}

// difference returns the share of the cells that count for one of two images in which they
// differ; 1 if too few count.
func (l *looks) difference(m *looks) float64 {
	differ, count := 0, 0
	for i := range l.brighter {
		either := l.counts[i] | m.counts[i]
		count += bits.OnesCount64(either)
		differ += bits.OnesCount64((l.brighter[i] ^ m.brighter[i]) & either)
	}
	if count < looksLeast {
		return 1
	}
	return float64(differ) / float64(count)
}
