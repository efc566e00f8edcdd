package kernel

// The gradient of a fully connected layer's weights is a product of the layer's input x and of
// dy, its factors. A row has those of one image: x as [step][16], then dy as [K/16][16].

// FactorLen is the length of a row, in floats; 0 where the gradient isn't computed as such a
// product, as with few in-channels.
func (g Conv) FactorLen() int {
	if g.patched() {
		return 0
	}
	return g.depth() + blocks(g.K)*Block
}

// FCFactors writes the row of every image of x and dy.
func (w *Work) FCFactors(g Conv, x, dy *Act, rows []float32) {
	w.factorT = factorTask{x: x, dy: dy, xs: steps(&w.offs, g, x), ds: strides(&w.offs2, dy.Blocks(), dy.planeLen()), rows: rows}
	w.Team.Run(x.N, &w.factorT)
}

// factorTask copies an image's pixels to its row.
type factorTask struct {
	x, dy  *Act
	xs, ds []int
	rows   []float32
}

func (t *factorTask) Part(_, n int) {
	row := t.rows[n*(len(t.xs)+len(t.ds))*Block:]
	for _, c := range []struct {
		a    *Act
		offs []int
	}{{t.x, t.xs}, {t.dy, t.ds}} {
		src := c.a.Data[c.a.At(n, 0, 0, 0):]
		for i, off := range c.offs {
			copy(row[i*Block:][:Block], src[off:])
		}
		row = row[len(c.offs)*Block:]
	}
}

// FCGradient sets dw to the gradient of the weights that the rows of images stand for. Group i
// has the rows bounds[i] … bounds[i+1]−1; its gradient is summed in their order, as
// [Work.ConvBackwardWeights] sums a batch. order says how groups are added: a number is the
// next group, −1 adds the last sum to the one before it and drops the last. One sum is left.
//
// A tile of dw goes through all groups in the first-level cache before the next tile, so the
// sums of the groups are never in memory.
func (w *Work) FCGradient(g Conv, rows []float32, bounds, order []int, dw []float32) {
	n, depth, kb := bounds[len(bounds)-1], g.depth(), blocks(g.K)
	sums, most := 0, 0
	for _, i := range order {
		if i < 0 {
			sums--
		} else {
			sums++
		}
		most = max(most, sums)
	}
	w.growLocal(most * Block * Panel)
	chunks := (depth/Block + fcGradSteps - 1) / fcGradSteps
	w.factoredT = factoredTask{isa: Current(), w: w, g: g, rows: rows, bounds: bounds, order: order, kb: kb, chunks: chunks,
		a: grow(&w.shared, n*depth), d: grow(&w.shared2, n*kb*Block), dw: dw}
	w.Team.Run(depth/Block+kb, &w.factoredT)
	w.factoredT.multiply = true
	w.Team.Run(panels(g.K)*chunks, &w.factoredT)
}

// factoredTask first sorts the rows into the operands of the register tiles, a block of
// channels a part, then forms tiles of dw.
type factoredTask struct {
	isa           *ISA
	w             *Work
	g             Conv
	rows          []float32
	bounds, order []int
	kb, chunks    int
	multiply      bool
	a, d          []float32 // x and dy as [group][block][image of the group][16]
	dw            []float32
}

func (t *factoredTask) Part(slot, i int) {
	switch depth := t.g.depth() / Block; {
	case t.multiply:
		t.tiles(t.w.local[slot], i)
	case i < depth:
		t.sort(t.a, i, 0, depth)
	default:
		t.sort(t.d, i-depth, depth, t.kb)
	}
}

// sort copies block i of count blocks, which begin at block first of every row.
func (t *factoredTask) sort(dst []float32, i, first, count int) {
	length := t.g.FactorLen()
	for g := range t.bounds[1:] {
		from, m := t.bounds[g], t.bounds[g+1]-t.bounds[g]
		for n := range m {
			copy(dst[((from*count+i*m)+n)*Block:][:Block], t.rows[(from+n)*length+(first+i)*Block:])
		}
	}
}

// tiles forms the tiles of part i: a panel and up to [fcGradSteps] blocks of in-units.
func (t *factoredTask) tiles(local []float32, i int) {
	const tile = Block * Panel
	p, s0, depth := i/t.chunks, i%t.chunks*fcGradSteps, t.g.depth()
	nb := min(2, t.kb-2*p)
	for s := s0; s < min(s0+fcGradSteps, depth/Block); s++ {
		sums := 0
		for _, g := range t.order {
			if g < 0 {
				sums--
				a, b := local[(sums-1)*tile:][:tile], local[sums*tile:][:tile]
				for k := 0; k < tile; k += Block {
					t.isa.addRow(1, b[k:], a[k:])
				}
				continue
			}
			sum := local[sums*tile:][:tile]
			sums++
			from, m := t.bounds[g], t.bounds[g+1]-t.bounds[g]
			if m == 0 || nb == 1 { // nothing writes it, or not the panel's second half
				clear(sum)
			}
			if m > 0 {
				t.isa.weightGrad(nb, 1, m, t.a[(from*depth/Block+s*m)*Block:], 0, t.d[(from*t.kb+2*p*m)*Block:], 0, m*Block, sum, overwrite)
			}
		}
		copy(t.dw[(p*depth+s*Block)*Panel:][:tile], local)
	}
}
