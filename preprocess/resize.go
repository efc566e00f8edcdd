package preprocess

import (
	"fmt"
	"math"
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

// ResizeShort returns im rescaled isotropically to smallest side s; the sizes
// are [ShortSide]'s, the errors [Resize]'s.
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

// ResizeRegion returns the region [x0,x1)×[y0,y1) of im rescaled to w×h: the
// same bits as [Resize] followed by [Crop], at the cost of the region alone.
// Only the region, not w×h, counts towards the limit on pixels.
func ResizeRegion(im *Image, w, h int, f Filter, x0, y0, x1, y1 int) (*Image, error) {
	out := new(Image)
	if err := new(Resizer).ResizeRegion(out, im, w, h, f, x0, y0, x1, y1); err != nil {
		return nil, err
	}
	return out, nil
}

// Resizer rescales images as [ResizeRegion] does and keeps its working memory
// from one call to the next. The zero value is ready to use. A Resizer may not
// be used by several goroutines at once.
type Resizer struct {
	horizontal, vertical taps
	pairs                [][3]int64 // two source rows: for R, G, B a pixel of the one and, times 2³², of the other
	rows                 []uint8    // the image between the two passes
}

// ResizeRegion is the function [ResizeRegion] with the result in dst, whose
// Pix is reused where it is large enough. dst may not be im.
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
	// comes first, as in PIL: its result is rounded to 8 bits, so that the
	// order matters.
	rows, stride := im.Pix[3*top*im.W:3*bottom*im.W], 3*im.W
	if w != im.W {
		r.horizontal.plan(f, im.W, w, x0, x1)
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

// Fixed point: coefficients have precision fractional bits. 8 bits of pixel
// and the cubic's overshoot (Σ|k| < 2) leave a sum under 2³¹ in magnitude, so
// that two of them fit in the halves of one 64-bit word.
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
	coefficients []int32
	weights      []float64
}

// plan computes the coefficients of the outputs [from, to) of an axis rescaled
// from in to out samples: PIL's precompute_coeffs and normalize_coeffs_8bpc.
// The conversions to float64 keep products from being fused into sums, which
// would let the rounding depend on the architecture.
func (t *taps) plan(f Filter, in, out, from, to int) {
	scale := float64(in) / float64(out)
	stretch := max(scale, 1)
	support := 1.0
	if f == Bicubic {
		support = 2
	}
	support *= stretch
	t.width = int(math.Ceil(support))*2 + 1
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
			k[j] = int32(math.Copysign(0.5, w) + float64(w*(1<<precision)))
		}
		t.first[i], t.count[i] = lo, len(weights)
	}
}

// reach returns the range of inputs that the planned outputs need.
func (t *taps) reach() (lo, hi int) {
	last := len(t.first) - 1
	return t.first[0], t.first[last] + t.count[last]
}

// passHorizontal rescales every row of src, w pixels each, into dst, two rows
// at a time: one multiplication serves the same channel of both.
func (r *Resizer) passHorizontal(dst, src []uint8, w int) {
	outW := len(r.horizontal.first)
	height := len(src) / (3 * w)
	r.pairs = grow(r.pairs, w)
	for y := 0; y < height; y += 2 {
		other := min(y+1, height-1)
		packRows(r.pairs, src[3*w*y:3*w*(y+1)], src[3*w*other:3*w*(other+1)])
		a := dst[3*outW*y : 3*outW*(y+1)]
		b := dst[3*outW*other : 3*outW*(other+1)]
		r.rowPair(a, b)
	}
}

// packRows puts pixel x of row a into the low and of row b into the high halves
// of pairs[x].
func packRows(pairs [][3]int64, a, b []uint8) {
	for x := range pairs {
		p, q := a[3*x:3*x+3:3*x+3], b[3*x:3*x+3:3*x+3]
		pairs[x] = [3]int64{
			int64(p[0]) | int64(q[0])<<32,
			int64(p[1]) | int64(q[1])<<32,
			int64(p[2]) | int64(q[2])<<32,
		}
	}
}

func (r *Resizer) rowPair(a, b []uint8) {
	t := &r.horizontal
	for i, first := range t.first {
		n := t.count[i]
		k := t.coefficients[i*t.width:][:n]
		pixels := r.pairs[first:][:n]
		var red, green, blue int64 = halves, halves, halves
		for j := range pixels {
			p, c := &pixels[j], int64(k[j])
			red += p[0] * c
			green += p[1] * c
			blue += p[2] * c
		}
		p, q := a[3*i:3*i+3:3*i+3], b[3*i:3*i+3:3*i+3]
		p[0], q[0] = split(red)
		p[1], q[1] = split(green)
		p[2], q[2] = split(blue)
	}
}

// split rounds the two sums in the halves of s to grey levels. The low one may
// be negative, and has then borrowed from the high one.
func split(s int64) (lo, hi uint8) {
	low := int32(s)
	return clip(low >> precision), clip(int32((s-int64(low))>>32) >> precision)
}

func clip(v int32) uint8 {
	if uint32(v) > 255 {
		return uint8(^(v >> 31))
	}
	return uint8(v)
}

// passVertical rescales the columns of src, whose rows are stride bytes long
// and begin with row top of the source: each row of dst takes the n bytes from
// offset on.
func (r *Resizer) passVertical(dst, src []uint8, stride, offset, n, top int) {
	t := &r.vertical
	for y, first := range t.first {
		k := t.coefficients[y*t.width:][:t.count[y]]
		out := dst[y*n : (y+1)*n]
		in := src[(first-top)*stride+offset:]
		x := 0
		for ; x+8 <= n; x += 8 {
			column(out[x:x+8], in[x:], stride, k)
		}
		for ; x < n; x++ {
			sum := int32(half)
			for j, c := range k {
				sum += int32(in[x+j*stride]) * c
			}
			out[x] = clip(sum >> precision)
		}
	}
}

// column sums eight neighbouring bytes over the rows of src: bytes 0 and 4, 1
// and 5, 2 and 6, 3 and 7 share a word.
func column(dst, src []uint8, stride int, k []int32) {
	var s0, s1, s2, s3 int64 = halves, halves, halves, halves
	at := 0
	for _, c32 := range k {
		p := src[at : at+8 : at+8]
		v := uint64(p[0]) | uint64(p[1])<<8 | uint64(p[2])<<16 | uint64(p[3])<<24 |
			uint64(p[4])<<32 | uint64(p[5])<<40 | uint64(p[6])<<48 | uint64(p[7])<<56
		c := int64(c32)
		s0 += int64(v&lanes) * c
		s1 += int64(v>>8&lanes) * c
		s2 += int64(v>>16&lanes) * c
		s3 += int64(v>>24&lanes) * c
		at += stride
	}
	d := dst[:8:8]
	d[0], d[4] = split(s0)
	d[1], d[5] = split(s1)
	d[2], d[6] = split(s2)
	d[3], d[7] = split(s3)
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
