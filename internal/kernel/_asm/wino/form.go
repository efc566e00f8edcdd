// Package wino is the arithmetic of the Winograd transforms F(4×4,3×3), F(6×6,3×3),
// F(4×4,5×5) and F(2×2,7×7), as the generators of all processors write it.
// docs/kernels.md derives it.
package wino

import "fmt"

// Form is F(m×m,r×r).
type Form struct{ M, R int }

// Forms are all forms that have kernels.
var Forms = []Form{{4, 3}, {6, 3}, {4, 5}, {2, 7}}

// Trained are the forms that have kernels of training.
var Trained = []Form{{4, 3}, {6, 3}}

// Side is the side of an input tile, and of the grid of products.
func (f Form) Side() int { return f.M + f.R - 1 }

// Suffix distinguishes the form's functions by name.
func (f Form) Suffix() string {
	if f.R == 3 {
		return fmt.Sprint(f.M)
	}
	return fmt.Sprintf("%dx%d", f.M, f.R)
}

// Tile is a tile of a form: m×m outputs, or, for 3×3 filters in the last row and column of
// tiles, fewer outputs at fewer of the form's points.
type Tile struct {
	Form
	Rows, Cols int // outputs
}

// Narrow reports whether the tile has fewer outputs than the form.
func (t Tile) Narrow() bool { return t.Rows < t.M || t.Cols < t.M }

// Suffix distinguishes the tile's functions by name.
func (t Tile) Suffix() string {
	if t.Narrow() {
		return fmt.Sprintf("%dr%dc%d", t.M, t.Rows, t.Cols)
	}
	return t.Form.Suffix()
}

// Outputs describes the tile.
func (t Tile) Outputs() string {
	if t.Narrow() {
		return fmt.Sprintf("%d×%d outputs at points of F(%d×%[3]d,3×3)", t.Rows, t.Cols, t.M)
	}
	return fmt.Sprintf("%d×%[1]d outputs and %d×%[2]d filters", t.M, t.R)
}

// Tiles lists the whole tile and the narrow ones.
func (f Form) Tiles() []Tile {
	all := []Tile{}
	for rows := f.M; rows > 0; rows -= 2 {
		for cols := f.M; cols > 0; cols -= 2 {
			if t := (Tile{f, rows, cols}); f.R == 3 || !t.Narrow() {
				all = append(all, t)
			}
		}
	}
	return all
}

// Points lists the indices, on the form's grid, of the points of a tile of m outputs: 0, ±1
// and ∞ for two outputs, ±2 too for four.
func (f Form) Points(m int) []int {
	var at []int
	for i := 0; i < m+f.R-2; i++ {
		at = append(at, i)
	}
	return append(at, f.Side()-1)
}
