package eval

import (
	"context"
	"fmt"
	"image"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
)

// piece is one input of the network: a region of a rescaled image or of its mirror image.
type piece struct {
	of     *preprocess.Image
	x, y   int // upper left corner, in the mirror image where flip is set
	w, h   int
	flip   bool
	target *sum // its posterior is added to this sum
}

// fill writes the piece as an input of the network, (3,h,w).
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

// prepared is an image decoded and rescaled for the network, or the error that makes it
// unreadable.
type prepared struct {
	index int
	views []viewPieces
	err   error
	large bool  // a pass of one of its pieces takes too much memory: put off, not read
	kept  int64 // bytes of its rescaled images
}

// viewPieces holds the pieces of a view, all of one size.
type viewPieces struct {
	view   int // index into the pass's views
	pieces []piece
}

// preparer reads and rescales images within a bound of memory.
type preparer struct {
	design design
	data   *dataset.Dataset
	views  []View
	limits limits
	files  *resources.Room
	room   *semaphore.Weighted // limits.decode bytes
	grey16 sync.Once
	heap   *heapGuard
	// region, where set, returns the part of an image, as it is stored, that is shown; empty: all.
	region func(image int) image.Rectangle
}

func newPreparer(d design, data *dataset.Dataset, views []View, l limits) *preparer {
	return &preparer{design: d, data: data, views: views, limits: l, files: resources.NewRoom(l.decode, l.total), room: semaphore.NewWeighted(l.decode), heap: newHeapGuard(l)}
}

// prepare reads image i, rescales it once for each scale, and cuts the pieces of the
// wanted views. Its images keep their part of the preparer's room until
// [preparer.release]. An image of which a pass takes more than pass bytes is not read but
// marked large.
func (p *preparer) prepare(ctx context.Context, i int, wanted []int, pass int64) prepared {
	out := prepared{index: i}
	raw, closeFile, err := p.data.ReadIn(ctx, i, p.files)
	if err != nil {
		out.err = err
		return out
	}
	defer closeFile()
	sizes, err := p.sizes(i, raw, wanted)
	switch {
	case err != nil:
		out.err = err
		return out
	case sizes.pass > pass:
		out.large = true
		return out
	}
	if err := p.room.Acquire(ctx, sizes.most); err != nil {
		out.err = err
		return out
	}
	out.kept = sizes.kept
	if err := p.show(ctx, &out, i, raw, wanted, sizes.most); err != nil {
		out.err, out.views, out.kept = err, nil, 0
	}
	p.room.Release(sizes.most - out.kept)
	return out
}

// sizes returns the memory that image i takes, or the error that makes it unreadable.
func (p *preparer) sizes(i int, raw []byte, wanted []int) (sizes, error) {
	h, err := preprocess.ReadHeader(raw)
	if err != nil {
		return sizes{}, err
	}
	if err := h.Check(p.limits.maxPixels); err != nil {
		return sizes{}, err
	}
	if h.Grey16 && p.limits.onRemark != nil {
		p.grey16.Do(func() { p.limits.onRemark(preprocess.Grey16Remark) })
	}
	shown, err := p.shown(i, raw, h.W, h.H)
	if err != nil {
		return sizes{}, err
	}
	return p.check(h, shown, wanted)
}

// show decodes image i, which takes so many bytes of memory, and cuts its pieces.
func (p *preparer) show(ctx context.Context, out *prepared, i int, raw []byte, wanted []int, bytes int64) error {
	defer p.heap.makeRoom(bytes)()
	im, err := preprocess.DecodeContext(ctx, raw, preprocess.DecodeOptions{MaxPixels: p.limits.maxPixels})
	if err != nil {
		return err
	}
	if im, err = p.cut(i, im); err != nil {
		return err
	}
	im = preprocess.Turn(im, p.design.preprocess.Orient.Orientation(raw))
	return p.cutPieces(out, im, wanted)
}

// shown returns the size of what is shown of image i, of w×h pixels as it is stored: of the
// whole image or its region, turned if the network wants it.
func (p *preparer) shown(i int, raw []byte, w, h int) (image.Point, error) {
	r, err := p.part(i, w, h)
	w, h = preprocess.TurnSize(r.Dx(), r.Dy(), p.design.preprocess.Orient.Orientation(raw))
	return image.Pt(w, h), err
}

// part returns the region that is shown of an image of w×h pixels, as it is stored.
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

// cut cuts an image to the region that is shown of it.
func (p *preparer) cut(i int, im *preprocess.Image) (*preprocess.Image, error) {
	r, err := p.part(i, im.W, im.H)
	if err != nil || r.Dx() == im.W && r.Dy() == im.H {
		return im, err
	}
	return preprocess.Crop(im, r.Min.X, r.Min.Y, r.Max.X, r.Max.Y)
}

// release returns the room of a prepared image.
func (p *preparer) release(im prepared) { p.room.Release(im.kept) }

// sizes is the memory that an image takes, in bytes: while it is prepared, afterwards, and
// in a pass of the largest of its pieces.
type sizes struct{ most, kept, pass int64 }

// check returns an error if an image, of which a part is shown, doesn't fit into the memory
// at some wanted view.
func (p *preparer) check(header preprocess.Header, shown image.Point, wanted []int) (sizes, error) {
	var s sizes
	w, h := header.W, header.H
	s.most = header.DecodeBytes
	// Multiply no further unless the image can be decoded. It may be cut or turned, a copy.
	if s.most <= p.limits.decode {
		s.most += 3 * int64(w) * int64(h)
	}
	if s.most > p.limits.decode {
		return s, fmt.Errorf("eval: %d×%d pixels take %s to decode, want at most %s, a part of the %s of memory allowed", w, h, mebibytes(s.most), mebibytes(p.limits.decode), mebibytes(p.limits.total))
	}
	w, h = shown.X, shown.Y
	seen := map[int]bool{}
	for _, v := range wanted {
		view := p.views[v]
		rw, rh := p.design.preprocess.Fit.Size(w, h, view.Scale)
		if view.Protocol == Centre {
			if !p.wholeAt(view.Scale, wanted) {
				side := int64(p.design.input)
				s.kept += 3 * side * side
			}
			continue
		}
		area := int64(rw) * int64(rh)
		if rw > 1<<24 || rh > 1<<24 || 12*area > p.limits.total {
			return s, p.tooLarge(w, h, rw, rh, 12*float64(rw)*float64(rh))
		}
		if view.Protocol == Dense {
			need, err := p.design.passBytes(1, rh, rw)
			if err != nil {
				return s, err
			}
			if need > p.limits.pass {
				return s, p.tooLarge(w, h, rw, rh, float64(need))
			}
			s.pass = max(s.pass, need)
		}
		if !seen[view.Scale] {
			seen[view.Scale] = true
			s.kept += 3 * area
		}
	}
	// Rescaling holds, between its passes, rows of the new width and the old height.
	s.most += 2 * s.kept
	if s.most > p.limits.decode {
		return s, fmt.Errorf("eval: %d×%d pixels rescaled to smallest sides %s take %s, want at most %s, a part of the %s of memory allowed", w, h, journal.List(p.scales(wanted)), mebibytes(s.most), mebibytes(p.limits.decode), mebibytes(p.limits.total))
	}
	return s, nil
}

// tooLarge is the error for an image that takes too much memory at one scale.
func (p *preparer) tooLarge(w, h, rw, rh int, need float64) error {
	return fmt.Errorf("eval: %d×%d pixels rescaled to %d×%d take %.0f MiB, want at most %s, a part of the %s of memory allowed", w, h, rw, rh, need/(1<<20), mebibytes(p.limits.pass), mebibytes(p.limits.total))
}

// scales lists the scales of the wanted views for errors.
func (p *preparer) scales(wanted []int) []int {
	var qs []int
	for _, v := range wanted {
		if q := p.views[v].Scale; len(qs) == 0 || qs[len(qs)-1] != q {
			qs = append(qs, q)
		}
	}
	return qs
}

// wholeAt reports whether a wanted view needs the whole image rescaled to q.
func (p *preparer) wholeAt(q int, wanted []int) bool {
	for _, v := range wanted {
		if p.views[v].Scale == q && p.views[v].Protocol != Centre {
			return true
		}
	}
	return false
}

// cutPieces rescales a decoded image and cuts the pieces of the wanted views.
func (p *preparer) cutPieces(out *prepared, im *preprocess.Image, wanted []int) error {
	whole := map[int]*preprocess.Image{} // by scale
	side, spec := p.design.input, p.design.preprocess
	for _, v := range wanted {
		view := p.views[v]
		var pieces []piece
		if view.Protocol == Centre && whole[view.Scale] == nil && !p.wholeAt(view.Scale, wanted) {
			crop, err := spec.CentreWindow(im.W, im.H, view.Scale, side).Cut(im, spec.Filter)
			if err != nil {
				return err
			}
			pieces = []piece{{of: crop, w: side, h: side}, {of: crop, w: side, h: side, flip: true}}
		} else {
			if whole[view.Scale] == nil {
				w, h := spec.Fit.Size(im.W, im.H, view.Scale)
				var err error
				if whole[view.Scale], err = preprocess.Resize(im, w, h, spec.Filter); err != nil {
					return err
				}
			}
			pieces = piecesOf(view.Protocol, whole[view.Scale], side, spec.Centre)
		}
		if !view.Flip && !view.Protocol.Mirrors() {
			pieces = pieces[:len(pieces)/2]
		}
		out.views = append(out.views, viewPieces{v, pieces})
	}
	return nil
}

// piecesOf lists the pieces that a protocol shows of a rescaled image: first those of the
// image, then as many of its mirror image.
func piecesOf(p Protocol, im *preprocess.Image, side int, centre preprocess.Centre) []piece {
	if p == Dense {
		return []piece{{of: im, w: im.W, h: im.H}, {of: im, w: im.W, h: im.H, flip: true}}
	}
	var corners, mirrored []Corner
	switch p {
	case Centre:
		x, y := centre.Crop(im.W, im.H, side)
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
