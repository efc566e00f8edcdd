package kernel

// tile is a tile of a form: M×M outputs, or fewer in the last row or column of tiles of a
// trimmed image. The points of such a narrow tile are a part of the form's, so it uses the
// form's transformed weights.
type tile struct {
	Form
	rows, cols int // outputs
}

// index is the tile's index in a table of kernels, [winoFuncs].
func (t tile) index() (form, rows, cols int) {
	return t.Form.index(), (t.M - t.rows) / 2, (t.M - t.cols) / 2
}

// least is the number of outputs of the narrowest tile that has point i of the form: 0, ±1
// and ∞ give two outputs, with ±2 four, with ±½ six. Tiles of larger filters have all
// points.
func (f Form) least(i int) int {
	switch {
	case f.R != 3:
		return f.M
	case i == f.side()-1:
		return 2
	default:
		return max(2, (i+1)/2*2)
	}
}

// last is the number of outputs of the last tile of a row or column of n outputs: the rest,
// rounded up to the next tile.
func (p Winograd) last(n int) int {
	rest := n % p.M
	if rest == 0 || !p.Trim || p.R != 3 {
		return p.M
	}
	return (rest + 1) / 2 * 2
}

// line is the number of points of a row or column of n tiles, the last one of m outputs.
func (p Winograd) line(n, m int) int { return (n-1)*p.side() + m + p.R - 1 }

// products is the number of products that an image of h × w takes for each pair of
// channels.
func (p Winograd) products(g Conv, h, w int) int {
	t := p.tileGrid(g, h, w)
	return p.line(t.h, t.rows) * p.line(t.w, t.cols)
}

// tileGrid is the tiles of an image.
type tileGrid struct {
	Form
	h, w       int // tiles
	rows, cols int // outputs of the last ones
}

func (p Winograd) tileGrid(g Conv, h, w int) tileGrid {
	oh, ow := g.Out(h, w)
	th, tw := p.grid(g, h, w)
	return tileGrid{p.Form, th, tw, p.last(oh), p.last(ow)}
}

// tileBlock is tiles t0 … t1−1 of all images. They are stored in the order low, whole, right,
// corner:
//
//	low     narrow below: of the last row of tiles
//	right   narrow on the right: of the last column
//	corner  narrow on both sides
//
// So the tiles that have a position are adjacent: they are all tiles, or all but the
// corners and the low ones, or but the corners and the right ones, or the whole ones alone.
type tileBlock struct {
	tileGrid
	t0, t1 int
	first  [2][2]int // index of the first tile, by whether tiles are narrow below and on the right
	runs   []segment // all tiles
}

func (b *tileBlock) count() int { return b.t1 - b.t0 }

// block returns a block, whose list of runs takes the memory of runs.
func (g tileGrid) block(t0, t1 int, runs []segment) tileBlock {
	b := tileBlock{tileGrid: g, t0: t0, t1: t1, runs: runs[:0]}
	var n [2][2]int
	for t := t0; t < t1; {
		s := b.run(t)
		n[s.low()][s.right()] += s.count
		t += s.count
		b.runs = append(b.runs, s)
	}
	b.first[0][0] = n[1][0]
	b.first[0][1] = b.first[0][0] + n[0][0]
	b.first[1][1] = b.first[0][1] + n[0][1]
	next := b.first
	for i := range b.runs {
		s := &b.runs[i]
		at := &next[s.low()][s.right()]
		s.off = *at
		*at += s.count
	}
	return b
}

// with returns the range of the tiles that have a position.
func (b *tileBlock) with(pos int) (first, count int) {
	low, right := b.least(pos/b.side()) <= b.rows, b.least(pos%b.side()) <= b.cols
	end := b.count()
	switch {
	case low && right:
		return 0, end
	case low:
		return 0, b.first[0][1]
	case right:
		return b.first[0][0], b.first[1][1] - b.first[0][0]
	default:
		return b.first[0][0], b.first[0][1] - b.first[0][0]
	}
}

// rectangle is rows of adjacent tiles, from tile first of the block on in image order; the
// rows are stride tiles apart.
type rectangle struct{ first, rows, cols, stride int }

// rectangles calls f, in image order, for the tiles that have a position, at most about most
// of them at a time.
func (b *tileBlock) rectangles(pos, most int, f func(r rectangle)) {
	w, height := b.w, b.h // tiles that have it
	if b.least(pos%b.side()) > b.cols {
		w--
	}
	if b.least(pos/b.side()) > b.rows {
		height--
	}
	if w == b.w && height == b.h {
		for t := 0; t < b.count(); t += most {
			f(rectangle{t, 1, min(most, b.count()-t), 0})
		}
		return
	}
	for t := b.t0; t < b.t1 && w > 0; {
		_, ty, tx := pixel(t, b.h, b.w)
		r := rectangle{t - b.t0, 1, min(w-tx, b.t1-t), b.w}
		if whole := (b.t1 - t) / b.w; tx == 0 && whole > 0 {
			r.rows = min(whole, height-ty, max(1, most/w))
			r.cols = w
		}
		if ty < height && r.cols > 0 {
			f(r)
			t += (r.rows - 1) * b.w
		}
		t += b.w - tx // to the next row of tiles
	}
}

// segment is a run of like tiles of one tile row of an image.
type segment struct {
	tile
	n, ty, tx, count int
	off              int // index of the first one in the block
	turn             int // the same where tiles are in image order
}

func (s segment) low() int   { return bit(s.rows < s.M) }
func (s segment) right() int { return bit(s.cols < s.M) }

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// run returns the run that begins with tile t, but for its place in the block.
func (b *tileBlock) run(t int) segment {
	n, ty, tx := pixel(t, b.h, b.w)
	s := segment{tile: tile{b.Form, b.M, b.M}, n: n, ty: ty, tx: tx, count: min(b.w-tx, b.t1-t), turn: t - b.t0}
	if ty == b.h-1 {
		s.rows = b.rows
	}
	switch {
	case b.cols == b.M:
	case tx == b.w-1:
		s.cols = b.cols
	default:
		s.count = min(s.count, b.w-1-tx)
	}
	return s
}
