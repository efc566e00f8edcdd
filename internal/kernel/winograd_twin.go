package kernel

import "sync"

// The twins of the Winograd transforms, written as matrix products (Lavin & Gray 2016);
// docs/kernels.md derives the matrices. n = m+r−1 throughout.

// winoMatrices are the transforms of F(m×m,r×r) for the points 0, ±1, ±2 (and ±½ for
// n = 8) and ∞.
type winoMatrices struct {
	bt [][]float32 // n×n: input
	g  [][]float32 // n×r: weights
	at [][]float32 // m×n: output
}

var wino4Matrices = winoMatrices{
	bt: [][]float32{
		{4, 0, -5, 0, 1, 0},
		{0, -4, -4, 1, 1, 0},
		{0, 4, -4, -1, 1, 0},
		{0, -2, -1, 2, 1, 0},
		{0, 2, -1, -2, 1, 0},
		{0, 4, 0, -5, 0, 1},
	},
	g: [][]float32{
		{1. / 4, 0, 0},
		{-1. / 6, -1. / 6, -1. / 6},
		{-1. / 6, 1. / 6, -1. / 6},
		{1. / 24, 1. / 12, 1. / 6},
		{1. / 24, -1. / 12, 1. / 6},
		{0, 0, 1},
	},
	at: [][]float32{
		{1, 1, 1, 1, 1, 0},
		{0, 1, -1, 2, -2, 0},
		{0, 1, 1, 4, 4, 0},
		{0, 1, -1, 8, -8, 1},
	},
}

var wino6Matrices = winoMatrices{
	bt: [][]float32{
		{1, 0, -21. / 4, 0, 21. / 4, 0, -1, 0},
		{0, 1, 1, -17. / 4, -17. / 4, 1, 1, 0},
		{0, -1, 1, 17. / 4, -17. / 4, -1, 1, 0},
		{0, 1. / 2, 1. / 4, -5. / 2, -5. / 4, 2, 1, 0},
		{0, -1. / 2, 1. / 4, 5. / 2, -5. / 4, -2, 1, 0},
		{0, 2, 4, -5. / 2, -5, 1. / 2, 1, 0},
		{0, -2, 4, 5. / 2, -5, -1. / 2, 1, 0},
		{0, -1, 0, 21. / 4, 0, -21. / 4, 0, 1},
	},
	g: [][]float32{
		{1, 0, 0},
		{-2. / 9, -2. / 9, -2. / 9},
		{-2. / 9, 2. / 9, -2. / 9},
		{1. / 90, 1. / 45, 2. / 45},
		{1. / 90, -1. / 45, 2. / 45},
		{1. / 45, 1. / 90, 1. / 180},
		{1. / 45, -1. / 90, 1. / 180},
		{0, 0, 1},
	},
	at: [][]float32{
		{1, 1, 1, 1, 1, 32, 32, 0},
		{0, 1, -1, 2, -2, 16, -16, 0},
		{0, 1, 1, 4, 4, 8, 8, 0},
		{0, 1, -1, 8, -8, 4, -4, 0},
		{0, 1, 1, 16, 16, 2, 2, 0},
		{0, 1, -1, 32, -32, 1, -1, 1},
	},
}

// F(4×4,5×5) has the points of F(6×6,3×3), and so the same input transform: it has two taps
// more and two outputs fewer.
var wino4x5Matrices = winoMatrices{
	bt: wino6Matrices.bt,
	g: [][]float32{
		{1, 0, 0, 0, 0},
		{-2. / 9, -2. / 9, -2. / 9, -2. / 9, -2. / 9},
		{-2. / 9, 2. / 9, -2. / 9, 2. / 9, -2. / 9},
		{1. / 90, 1. / 45, 2. / 45, 4. / 45, 8. / 45},
		{1. / 90, -1. / 45, 2. / 45, -4. / 45, 8. / 45},
		{1. / 45, 1. / 90, 1. / 180, 1. / 360, 1. / 720},
		{1. / 45, -1. / 90, 1. / 180, -1. / 360, 1. / 720},
		{0, 0, 0, 0, 1},
	},
	at: [][]float32{
		{1, 1, 1, 1, 1, 32, 32, 0},
		{0, 1, -1, 2, -2, 16, -16, 0},
		{0, 1, 1, 4, 4, 8, 8, 0},
		{0, 1, -1, 8, -8, 4, -4, 1},
	},
}

// F(2×2,7×7) has the same points: another two taps more and two outputs fewer.
var wino2x7Matrices = winoMatrices{
	bt: wino6Matrices.bt,
	g: [][]float32{
		{1, 0, 0, 0, 0, 0, 0},
		{-2. / 9, -2. / 9, -2. / 9, -2. / 9, -2. / 9, -2. / 9, -2. / 9},
		{-2. / 9, 2. / 9, -2. / 9, 2. / 9, -2. / 9, 2. / 9, -2. / 9},
		{1. / 90, 1. / 45, 2. / 45, 4. / 45, 8. / 45, 16. / 45, 32. / 45},
		{1. / 90, -1. / 45, 2. / 45, -4. / 45, 8. / 45, -16. / 45, 32. / 45},
		{1. / 45, 1. / 90, 1. / 180, 1. / 360, 1. / 720, 1. / 1440, 1. / 2880},
		{1. / 45, -1. / 90, 1. / 180, -1. / 360, 1. / 720, -1. / 1440, 1. / 2880},
		{0, 0, 0, 0, 0, 0, 1},
	},
	at: [][]float32{
		{1, 1, 1, 1, 1, 32, 32, 0},
		{0, 1, -1, 2, -2, 16, -16, 1},
	},
}

func matricesOf(f Form) *winoMatrices {
	return [...]*winoMatrices{&wino4Matrices, &wino6Matrices, &wino4x5Matrices, &wino2x7Matrices}[f.index()]
}

// narrowMatrices returns bt and at of the narrow tile of m outputs. They are those of
// F(m×m,3×3), but each row of bt is multiplied by the ratio of that form's row of g to the
// row of g of f, so that the narrow tile uses the transformed weights of f.
func narrowMatrices(f Form, m int) (bt, at [][]float32) {
	switch {
	case m == 2:
		zero, one := float32(1), float32(-9./4)
		if f.M == 4 {
			zero, one = 4, -3
		}
		return [][]float32{
				{zero, 0, -zero, 0},
				{0, one, one, 0},
				{0, -one, one, 0},
				{0, -1, 0, 1},
			}, [][]float32{
				{1, 1, 1, 0},
				{0, 1, -1, 1},
			}
	default: // 4 of 6
		for i, row := range wino4Matrices.bt {
			scale := [...]float32{1. / 4, 3. / 4, 3. / 4, 15. / 4, 15. / 4, 1}[i]
			bt = append(bt, nil)
			for _, v := range row {
				bt[i] = append(bt[i], scale*v)
			}
		}
		return bt, wino4Matrices.at
	}
}

// tileSide is the matrices of one direction of a tile, and the indices of its points on the
// form's grid.
type tileSide struct {
	bt, at [][]float32
	a      [][]float32 // at transposed: of the adjoint
	points []int
}

// tileSides has the sides of tiles of M outputs, M − 2 and so on, of every form.
var tileSides = sync.OnceValue(func() *[len(forms)][3]tileSide {
	var sides [len(forms)][3]tileSide
	for i, f := range forms {
		for m := f.M; m > 0 && (m == f.M || f.R == 3); m -= 2 {
			s := &sides[i][(f.M-m)/2]
			s.bt, s.at = matricesOf(f).bt, matricesOf(f).at
			if m < f.M {
				s.bt, s.at = narrowMatrices(f, m)
			}
			s.a = transposed(s.at)
			for p := range f.side() {
				if f.least(p) <= m {
					s.points = append(s.points, p)
				}
			}
		}
	}
	return &sides
})

// filterAdjoints has the transposed weight transform of every form.
var filterAdjoints = sync.OnceValue(func() *[len(forms)][][]float32 {
	var gt [len(forms)][][]float32
	for _, f := range forms {
		gt[f.index()] = transposed(matricesOf(f).g)
	}
	return &gt
})

// sides returns the sides of the tile's rows and columns.
func (t tile) sides() (down, along tileSide) {
	i, rows, cols := t.index()
	all := tileSides()
	return all[i][rows], all[i][cols]
}

// sandwich computes L·d·Rᵀ.
func sandwich(l [][]float32, d [8][8]float32, r [][]float32) (out [8][8]float32) {
	var t [8][8]float32
	for i, row := range l {
		for j := range r[0] {
			for k, v := range row {
				t[i][j] += v * d[k][j]
			}
		}
	}
	for i := range l {
		for j, row := range r {
			for k, v := range row {
				out[i][j] += t[i][k] * v
			}
		}
	}
	return out
}

func transposed(l [][]float32) [][]float32 {
	t := make([][]float32, len(l[0]))
	for i := range t {
		for _, row := range l {
			t[i] = append(t[i], row[i])
		}
	}
	return t
}

// winoInputTwin transforms tiles along a row; each begins as many pixels after the last one
// as a tile has columns of outputs: v[(i·n+j)·vStride + t·16 + lane] = (BᵀdB)[i][j].
func winoInputTwin(f tile, tiles int, x []float32, xRow int, v []float32, vStride int) {
	down, along := f.sides()
	n := f.side()
	for t := range tiles {
		for l := range Block {
			var d [8][8]float32
			for i := range down.points {
				for j := range along.points {
					d[i][j] = x[i*xRow+(t*f.cols+j)*Block+l]
				}
			}
			o := sandwich(down.bt, d, along.bt)
			for i, pi := range down.points {
				for j, pj := range along.points {
					v[(pi*n+pj)*vStride+t*Block+l] = o[i][j]
				}
			}
		}
	}
}

// winoOutputTwin transforms products back to tiles of outputs along a row, adds the bias
// and takes the maximum with lo; with pool, it first takes the maximum of every 2×2
// outputs.
func winoOutputTwin(f tile, pool bool, tiles int, p []float32, pStride int, y []float32, yRow int, bias []float32, lo float32) {
	down, along := f.sides()
	n := f.side()
	for t := range tiles {
		for l := range Block {
			var d [8][8]float32
			for i, pi := range down.points {
				for j, pj := range along.points {
					d[i][j] = p[(pi*n+pj)*pStride+t*Block+l]
				}
			}
			o := sandwich(down.at, d, along.at)
			if !pool {
				for i := range f.rows {
					for j := range f.cols {
						y[i*yRow+(t*f.cols+j)*Block+l] = max(o[i][j]+bias[l], lo)
					}
				}
				continue
			}
			for i := range f.rows / 2 {
				for j := range f.cols / 2 {
					top := max(o[2*i][2*j], o[2*i][2*j+1], o[2*i+1][2*j], o[2*i+1][2*j+1])
					y[i*yRow+(t*f.cols/2+j)*Block+l] = max(top+bias[l], lo)
				}
			}
		}
	}
}

// winoWeightsTwin transforms the r×r taps (gStride apart) of count blocks of 16
// weights: u[(i·n+j)·uStride + block·16 + lane] = (GgGᵀ)[i][j].
func winoWeightsTwin(f Form, count int, g []float32, gStride int, u []float32, uStride int) {
	w := matricesOf(f)
	n, r := f.side(), f.R
	for at := range count * Block {
		var d [8][8]float32
		for i := range r {
			for j := range r {
				d[i][j] = g[(r*i+j)*gStride+at]
			}
		}
		o := sandwich(w.g, d, w.g)
		for i := range n {
			for j := range n {
				u[(i*n+j)*uStride+at] = o[i][j]
			}
		}
	}
}

// winoGradTwin is the adjoint of the output transform: v = A·dy·Aᵀ of tiles of outputs.
func winoGradTwin(f tile, tiles int, dy []float32, dyRow int, v []float32, vStride int) {
	down, along := f.sides()
	n := f.side()
	for t := range tiles {
		for l := range Block {
			var d [8][8]float32
			for i := range f.rows {
				for j := range f.cols {
					d[i][j] = dy[i*dyRow+(t*f.cols+j)*Block+l]
				}
			}
			o := sandwich(down.a, d, along.a)
			for i, pi := range down.points {
				for j, pj := range along.points {
					v[(pi*n+pj)*vStride+t*Block+l] = o[i][j]
				}
			}
		}
	}
}

// winoWeightsGradTwin is the adjoint of the weight transform of 3×3 filters:
// dw += Gᵀ·du·G.
func winoWeightsGradTwin(f Form, count int, du []float32, duStride int, dw []float32, dwStride int) {
	n, gt := f.side(), filterAdjoints()[f.index()]
	for at := range count * Block {
		var d [8][8]float32
		for i := range n {
			for j := range n {
				d[i][j] = du[(i*n+j)*duStride+at]
			}
		}
		o := sandwich(gt, d, gt)
		for i := range 3 {
			for j := range 3 {
				dw[(3*i+j)*dwStride+at] += o[i][j]
			}
		}
	}
}
