package dataset

import (
	"math/bits"

	"github.com/verydeep/vgg/preprocess"
)

// looks is the difference hash of an image (Krawetz 2013, "Kind of like that"): whether each
// of 16×16 cells is brighter than the one to its left, with 16 rows of 17 cells.
type looks struct {
	bits [4]uint64
	flat bool // too few cells differ for the hash to tell images apart
}

const (
	looksSide = 16
	// maxLooks is the largest distance of near-duplicates in bits of 256. A picture that was
	// rescaled or compressed again differs from itself by less, other pictures by more.
	maxLooks = 16
	// flatContrast is the least difference of neighbouring cells, in grey levels, that counts
	// as a sign of what the image shows, and flatCells the least number of such cells.
	flatContrast, flatCells = 2, 64
)

// looks computes the hash of sample i, upright.
func (d *Dataset) looks(i int) (*looks, error) {
	im, err := d.decode(i, preprocess.DecodeOptions{Orient: preprocess.Upright})
	if err != nil {
		return nil, err
	}
	return looksOf(im.Image)
}

// looksOf computes the hash of an image.
func looksOf(im *preprocess.Image) (*looks, error) {
	small, err := preprocess.Resize(im, looksSide+1, looksSide, preprocess.Bilinear)
	if err != nil {
		return nil, err
	}
	grey := func(x, y int) int {
		p := small.Pix[3*(y*small.W+x):]
		return 299*int(p[0]) + 587*int(p[1]) + 114*int(p[2])
	}
	var l looks
	cells := 0
	for y := range looksSide {
		for x := range looksSide {
			n := y*looksSide + x
			d := grey(x+1, y) - grey(x, y)
			if d > 0 {
				l.bits[n/64] |= 1 << (n % 64)
			}
			if max(d, -d) >= 1000*flatContrast {
				cells++
			}
		}
	}
	l.flat = cells < flatCells
	return &l, nil
}

// distance is the number of bits in which two hashes differ; more than any, if one is of an
// image without contrast.
func (l *looks) distance(m *looks) int {
	if l.flat || m.flat {
		return 64*len(l.bits) + 1
	}
	n := 0
	for i, b := range l.bits {
		n += bits.OnesCount64(b ^ m.bits[i])
	}
	return n
}
