package preprocess

import (
	"fmt"
	"math"
	"slices"
)

// Resize returns im rescaled to w×h by filter f, bit for bit as PIL's
// Image.resize does it for 8-bit images.
//
// A source or a result of more than [DefaultMaxPixels] pixels is refused with
// a [*SizeError]: rescaling a 1×20000 strip to a smallest side of 256 would
// need four gigabytes.
func Resize(im *Image, w, h int, f Filter) (*Image, error) {
	return ResizeRegion(im, w, h, f, 0, 0, w, h)
}

// ResizeShort returns im rescaled isotropically to smallest side s, to the size
// that [ShortSide] gives. Its errors are [Resize]'s.
func ResizeShort(im *Image, s int, f Filter) (*Image, error) {
	if err := im.validate(); err != nil {
		return nil, err
	}
	if s < 1 {
		return nil, fmt.Errorf("preprocess: resize: smallest side %d, want at least 1", s)
	}
	w, h := ShortSide(im.W, im.H, s)
	return Resize(im, w, h, f)
}

// ResizeRegion returns the region [x0,x1)×[y0,y1) of im rescaled to w×h. It
// gives the same bits as [Resize] followed by [Crop], but computes only the
// region. The limit on pixels applies to the region, not to w×h.
func ResizeRegion(im *Image, w, h int, f Filter, x0, y0, x1, y1 int) (*Image, error) {
	out := new(Image)
	if err := new(Resizer).ResizeRegion(out, im, w, h, f, x0, y0, x1, y1); err != nil {
		return nil, err
	}
	return out, nil
}

// Resizer rescales images as [ResizeRegion] does, and reuses its working memory
// from one call to the next. The zero value is ready to use. Only one goroutine
// at a time may use a Resizer.
type Resizer struct {
	horizontal, vertical taps
	pairs                [][3]int64 // two source rows: for R, G, B a pixel of the one and, times 2³², of the other
	rows                 []uint8    // the image between the two passes
}

// ResizeRegion is the function [ResizeRegion] with the result in dst. It reuses
// dst.Pix if that is large enough. dst must not be im.
func (r *Resizer) ResizeRegion(dst, im *Image, w, h int, f Filter, x0, y0, x1, y1 int) error {
	if err := im.validate(); err != nil {
		return err
	}
	if err := f.validate(); err != nil {
		return err
	}
	if w < 1 || h < 1 {
		return fmt.Errorf("preprocess: resize: to %d×%d pixels, want at least 1×1", w, h)
	}
	if err := checkRegion(w, h, x0, y0, x1, y1); err != nil {
		return err
	}
	regionW, regionH := x1-x0, y1-y0
	if tooMany(regionW, regionH, DefaultMaxPixels) {
		return &SizeError{fmt.Sprintf("%d×%d image rescaled to", im.W, im.H), regionW, regionH, DefaultMaxPixels}
	}

	top, bottom := y0, y1
	if h != im.H {
		r.vertical.plan(f, im.H, h, y0, y1)
		top, bottom = r.vertical.reach()
	}
	if tooMany(regionW, bottom-top, DefaultMaxPixels) {
		return &SizeError{fmt.Sprintf("%d×%d image rescaled to %d×%d by way of", im.W, im.H, w, h), regionW, bottom - top, DefaultMaxPixels}
	}

	dst.W, dst.H = regionW, regionH
	dst.Pix = grow(dst.Pix, 3*regionW*regionH)

	// A pass that doesn't change the size is the identity. The horizontal pass
	// comes first, as in PIL. The order matters, since its result is rounded to
	// 8 bits.
	rows, stride := im.Pix[3*top*im.W:3*bottom*im.W], 3*im.W
	if w != im.W {
		r.horizontal.plan(f, im.W, w, x0, x1)
		r.horizontal.level(im.W)
		target := dst.Pix
		if h != im.H {
			r.rows = grow(r.rows, 3*regionW*(bottom-top))
			target = r.rows
		}
		r.passHorizontal(target, rows, im.W)
		rows, stride = target, 3*regionW
		x0 = 0
	}
	if h != im.H {
		r.passVertical(dst.Pix, rows, stride, 3*x0, 3*regionW, top)
	} else if w == im.W {
		for y := range regionH {
			copy(dst.Pix[3*y*regionW:3*(y+1)*regionW], rows[y*stride+3*x0:])
		}
	}
	return nil
}

// Fixed point: coefficients have precision fractional bits. With pixels of 8
// bits and the cubic's overshoot (Σ|k| < 2), a sum stays under 2³¹ in magnitude,
// so two of them fit in the halves of a 64-bit word.
const (
	precision = 32 - 8 - 2
	half      = 1 << (precision - 1)
	halves    = half<<32 | half
	lanes     = 0x000000ff_000000ff
)

// taps holds the coefficients of one axis: output i is the sum of
// coefficients[i·width+j] · input[first[i]+j] over j < count[i].
type taps struct {
	first, count []int
	width        int
	coefficients []int64
	weights      []float64
	positive     bool // no coefficient is negative: no sum leaves [0, 255]
}

// plan computes the coefficients of the outputs [from, to) of an axis rescaled
// from in to out samples: PIL's precompute_coeffs and normalize_coeffs_8bpc.
// The conversions to float64 keep products from being fused into sums, which
// would let the rounding depend on the architecture.
func (t *taps) plan(f Filter, in, out, from, to int) {
	scale := float64(in) / float64(out)
	stretch := max(scale, 1)
	if f.aliased() {
		stretch = 1
	}
	support := 1.0
	if f.cubic() {
		support = 2
	}
	support *= stretch
	t.width = int(math.Ceil(support))*2 + 1
	t.positive = !f.cubic()
	n := to - from
	t.first, t.count = grow(t.first, n), grow(t.count, n)
	t.coefficients = grow(t.coefficients, n*t.width)
	t.weights = grow(t.weights, t.width)
	inverse := 1 / stretch
	for i := range n {
		centre := float64((float64(from+i) + 0.5) * scale)
		lo := max(int(centre-support+0.5), 0)
		hi := min(int(centre+support+0.5), in)
		weights := t.weights[:hi-lo]
		sum := 0.0
		for j := range weights {
			weights[j] = f.at(float64((float64(lo+j) - centre + 0.5) * inverse))
			sum += weights[j]
		}
		k := t.coefficients[i*t.width:][:len(weights)]
		for j, w := range weights {
			if sum != 0 {
				w /= sum
			}
			k[j] = int64(int32(math.Copysign(0.5, w) + float64(w*(1<<precision))))
		}
		t.first[i], t.count[i] = lo, len(weights)
	}
}

// reach returns the range of inputs that the planned outputs need.
func (t *taps) reach() (lo, hi int) {
	last := len(t.first) - 1
	return t.first[0], t.first[last] + t.count[last]
}

// level gives every output of an axis of in samples the same number of inputs,
// by adding coefficients of zero, and stores the coefficients without gaps.
func (t *taps) level(in int) {
	most := slices.Max(t.count)
	for i, n := range t.count {
		k := t.weights[:most]
		clear(k)
		back := max(0, t.first[i]+most-in)
		for j, c := range t.coefficients[i*t.width:][:n] {
			k[back+j] = float64(c)
		}
		for j, c := range k {
			t.coefficients[i*most+j] = int64(c)
		}
		t.first[i] -= back
		t.count[i] = most
	}
	t.width = most
}

// grow returns a slice of length n, in the memory of s if that is large enough.
// The elements may have any value.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
