package eval

import (
	"bytes"
	"context"
	"fmt"
	"image"

	"golang.org/x/sync/semaphore"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/preprocess"
)

// piece is what goes through the network at once: a region of a rescaled image or of
// its mirror image.
type piece struct {
	of     *preprocess.Image
	x, y   int // upper left corner, in the mirror image where flip is set
	w, h   int
	flip   bool
	target *sum // what its posterior is added to
}

// fill writes the piece as the network takes it, (3,h,w) planar.
func (p piece) fill(dst []float32, s preprocess.Spec) {
	im := p.of
	if p.w != im.W || p.h != im.H {
		x := p.x
		if p.flip {
			x = im.W - p.x - p.w
		}
		im = cropOf(im, x, p.y, p.w, p.h)
	}
	if p.flip {
		im = preprocess.FlipH(im)
	}
	s.Tensor(dst, im, [3]float32{})
}

func cropOf(im *preprocess.Image, x, y, w, h int) *preprocess.Image {
	out, err := preprocess.Crop(im, x, y, x+w, y+h)
	if err != nil {
		panic("eval: a crop outside its image")
	}
	return out
}

// prepared is an image as the network will see it, or why it can't.
type prepared struct {
	index  int
	views  []viewPieces
	err    error
	large  bool  // a pass of one of its pieces takes more than there is for one: put off, not read
	weight int64 // bytes that the images it holds take
}

// viewPieces is the pieces of a view, all of one size.
type viewPieces struct {
	view   int // index into the pass's views
	pieces []piece
}

// decodeBytes is what decoding takes a pixel: a progressive JPEG's coefficients, planes
// and RGB.
const decodeBytes = 18

// preparer reads and rescales images within a bound of memory.
type preparer struct {
	model  *vgg.Model
	data   *dataset.Dataset
	views  []view
	limits limits
	room   *semaphore.Weighted // limits.decode bytes
	// region, where set, is the part of an image that is shown; empty: all.
	region func(image int) image.Rectangle
	bound  int64 // of all, for errors
}

func newPreparer(m *vgg.Model, data *dataset.Dataset, views []view, l limits) *preparer {
	return &preparer{model: m, data: data, views: views, limits: l, room: semaphore.NewWeighted(l.decode), bound: l.total}
}

// prepare reads image i once, rescales it once a scale, and makes the pieces of the
// wanted views. What its images take of the preparer's room is held until
// [preparer.release]. An image of which a pass takes more than so many bytes is only
// said to be large.
func (p *preparer) prepare(ctx context.Context, i int, wanted []int, pass int64) prepared {
	out := prepared{index: i}
	raw, err := p.data.Read(i)
	if err != nil {
		out.err = err
		return out
	}
	need := int64(0)
	header, _, headerErr := image.DecodeConfig(bytes.NewReader(raw))
	if headerErr == nil && header.Width > 0 && header.Height > 0 {
		shown, err := p.part(i, header.Width, header.Height)
		if err != nil {
			out.err = err
			return out
		}
		sizes, err := p.check(header.Width, header.Height, shown.Size(), wanted)
		if err != nil {
			out.err = err
			return out
		}
		if sizes.pass > pass {
			out.large = true
			return out
		}
		need, out.weight = sizes.most, sizes.kept
	}
	need = max(need, int64(len(raw)))
	if err := p.room.Acquire(ctx, min(need, p.limits.decode)); err != nil {
		out.err = err
		out.weight = 0
		return out
	}
	held := min(need, p.limits.decode)
	im, err := preprocess.Decode(raw, preprocess.DecodeOptions{})
	if err == nil {
		im, err = p.cut(i, im)
	}
	if err == nil {
		err = p.show(&out, im, wanted)
	}
	if err != nil {
		out.err, out.views, out.weight = err, nil, 0
	}
	p.room.Release(held - out.weight)
	return out
}

// part is the region shown of an image of w×h pixels.
func (p *preparer) part(i, w, h int) (image.Rectangle, error) {
	whole := image.Rect(0, 0, w, h)
	if p.region == nil {
		return whole, nil
	}
	r := p.region(i)
	if r.Empty() {
		return whole, nil
	}
	if r = r.Intersect(whole); r.Empty() {
		return r, fmt.Errorf("eval: box %v outside the image of %d×%d pixels", p.region(i), w, h)
	}
	return r, nil
}

// cut cuts an image to the region shown of it.
func (p *preparer) cut(i int, im *preprocess.Image) (*preprocess.Image, error) {
	r, err := p.part(i, im.W, im.H)
	if err != nil || r.Dx() == im.W && r.Dy() == im.H {
		return im, err
	}
	return preprocess.Crop(im, r.Min.X, r.Min.Y, r.Max.X, r.Max.Y)
}

// release gives back what a prepared image held.
func (p *preparer) release(im prepared) { p.room.Release(im.weight) }

// sizes is what an image takes while it is prepared, afterwards, and in a pass of the
// largest of its pieces, in bytes.
type sizes struct{ most, kept, pass int64 }

// check reports an image of w×h pixels, of which a part is shown, that doesn't fit into
// the memory at any of the wanted views.
func (p *preparer) check(w, h int, shown image.Point, wanted []int) (sizes, error) {
	var s sizes
	pixels := int64(w) * int64(h)
	s.most = decodeBytes * pixels
	// A header may claim anything; what it claims is not multiplied further unless it
	// can be decoded at all.
	if pixels > preprocess.DefaultMaxPixels || s.most > p.limits.decode {
		return s, fmt.Errorf("eval: %d×%d pixels take %s to decode, want at most %s, a part of the %s of memory allowed", w, h, mebibytes(s.most), mebibytes(p.limits.decode), mebibytes(p.bound))
	}
	w, h = shown.X, shown.Y
	seen := map[int]bool{}
	for _, v := range wanted {
		view := p.views[v]
		rw, rh := preprocess.ShortSide(w, h, view.scale)
		if view.protocol == Centre {
			if !p.wholeAt(view.scale, wanted) {
				side := int64(p.model.Net.Options().Input)
				s.kept += 3 * side * side
			}
			continue
		}
		area := int64(rw) * int64(rh)
		if rw > 1<<24 || rh > 1<<24 || 12*area > p.limits.total {
			return s, p.tooLarge(w, h, rw, rh, 12*float64(rw)*float64(rh))
		}
		if view.protocol == Dense {
			need, err := p.limits.passBytes(p.model.Net, 1, rh, rw)
			if err != nil {
				return s, err
			}
			if need > p.limits.pass {
				return s, p.tooLarge(w, h, rw, rh, float64(need))
			}
			s.pass = max(s.pass, need)
		}
		if !seen[view.scale] {
			seen[view.scale] = true
			s.kept += 3 * area
		}
	}
	// Rescaling holds, between its passes, rows of the new width and the old height.
	s.most += 2 * s.kept
	if s.most > p.limits.decode {
		return s, fmt.Errorf("eval: %d×%d pixels rescaled to smallest sides %v take %s, want at most %s, a part of the %s of memory allowed", w, h, p.scales(wanted), mebibytes(s.most), mebibytes(p.limits.decode), mebibytes(p.bound))
	}
	return s, nil
}

func (p *preparer) tooLarge(w, h, rw, rh int, need float64) error {
	return fmt.Errorf("eval: %d×%d pixels rescaled to %d×%d take %.0f MiB, want at most %s, a part of the %s of memory allowed", w, h, rw, rh, need/(1<<20), mebibytes(p.limits.pass), mebibytes(p.bound))
}

func (p *preparer) scales(wanted []int) []int {
	var qs []int
	for _, v := range wanted {
		if q := p.views[v].scale; len(qs) == 0 || qs[len(qs)-1] != q {
			qs = append(qs, q)
		}
	}
	return qs
}

// wholeAt reports whether a wanted view needs all of the image rescaled to q.
func (p *preparer) wholeAt(q int, wanted []int) bool {
	for _, v := range wanted {
		if p.views[v].scale == q && p.views[v].protocol != Centre {
			return true
		}
	}
	return false
}

// show makes the pieces of the wanted views of a decoded image.
func (p *preparer) show(out *prepared, im *preprocess.Image, wanted []int) error {
	whole := map[int]*preprocess.Image{} // by scale
	side, filter := p.model.Net.Options().Input, p.model.Preprocess.Filter
	for _, v := range wanted {
		view := p.views[v]
		w, h := preprocess.ShortSide(im.W, im.H, view.scale)
		var pieces []piece
		if view.protocol == Centre && whole[view.scale] == nil && !p.wholeAt(view.scale, wanted) {
			x, y := preprocess.CentreCrop(w, h, side)
			crop, err := preprocess.ResizeRegion(im, w, h, filter, x, y, x+side, y+side)
			if err != nil {
				return err
			}
			pieces = []piece{{of: crop, w: side, h: side}, {of: crop, w: side, h: side, flip: true}}
		} else {
			if whole[view.scale] == nil {
				var err error
				if whole[view.scale], err = preprocess.Resize(im, w, h, filter); err != nil {
					return err
				}
			}
			pieces = piecesOf(view.protocol, whole[view.scale], side)
		}
		if !view.flip && !view.protocol.Mirrors() {
			pieces = pieces[:len(pieces)/2]
		}
		out.views = append(out.views, viewPieces{v, pieces})
	}
	return nil
}

// piecesOf lists what a protocol shows of a rescaled image: first all of the image, then
// as many of its mirror image.
func piecesOf(p Protocol, im *preprocess.Image, side int) []piece {
	if p == Dense {
		return []piece{{of: im, w: im.W, h: im.H}, {of: im, w: im.W, h: im.H, flip: true}}
	}
	var corners, mirrored []Corner
	switch p {
	case Centre:
		x, y := preprocess.CentreCrop(im.W, im.H, side)
		// The mirror image of the central crop, not the central crop of the mirror
		// image, which may lie one pixel beside it.
		corners, mirrored = []Corner{{x, y}}, []Corner{{im.W - x - side, y}}
	case MultiCrop:
		corners = Grid(im.W, im.H, side)
	case TenCrop:
		corners = FiveCrops(im.W, im.H, side)
	}
	if mirrored == nil {
		mirrored = corners
	}
	var pieces []piece
	for i, list := range [][]Corner{corners, mirrored} {
		for _, c := range list {
			pieces = append(pieces, piece{of: im, x: c.X, y: c.Y, w: side, h: side, flip: i == 1})
		}
	}
	return pieces
}
