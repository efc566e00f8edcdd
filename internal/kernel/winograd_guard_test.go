package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestWinogradStaysInBounds: transforms touch nothing beyond operands of exactly the length
// that they need.
func TestWinogradStaysInBounds(t *testing.T) {
	for _, s := range setsUnderTest() {
		for _, tiles := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s/tiles%d", s.Name(), tiles), func(t *testing.T) {
				eachSide(t, func(t *testing.T, mem memory) {
					for _, f := range forms {
						winogradInBounds(s, f, tiles, mem)
						mem.release()
					}
				})
			})
		}
	}
}

func winogradInBounds(s *ISA, f Form, tiles int, mem memory) {
	rng := rand.New(rand.NewPCG(5, 5))
	m, n := f.M, f.side()
	row, stride := (tiles*m+f.R+2)*Block, (tiles+1)*Block
	// floats of rows rows of length floats, row apart
	span := func(rows, row, length int) []float32 {
		return mem.floats(randoms(rng, (rows-1)*row+length))
	}
	positions := func() []float32 { return span(n*n, stride, tiles*Block) }
	taps := func() []float32 { return span(f.R*f.R, stride, tiles*Block) }
	image := func(rows, columns int) []float32 { return span(rows, row, columns*Block) }

	for _, t := range f.tiles() {
		s.winoInput(t, tiles, image(t.rows+f.R-1, tiles*t.cols+f.R-1), row, positions(), stride)
		s.winoOutput(t, false, tiles, positions(), stride, image(t.rows, tiles*t.cols), row, mem.floats(randoms(rng, Block)), 0)
		s.winoOutput(t, true, tiles, positions(), stride, image(t.rows/2, tiles*t.cols/2), row, mem.floats(randoms(rng, Block)), 0)
		mem.release()
	}
	for _, past := range []bool{false, true} {
		s.winoWeights(f, past, tiles, taps(), stride, positions(), stride)
	}
	if !f.trains() {
		return
	}
	for _, t := range f.tiles() {
		s.winoGrad(t, tiles, image(t.rows, tiles*t.cols), row, positions(), stride)
	}
	s.winoWeightsGrad(f, tiles, positions(), stride, taps(), stride)
}
