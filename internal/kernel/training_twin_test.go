package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// masksIn puts masks into mem.
func masksIn(mem memory, masks []uint16) []uint16 {
	f := mem.floats(make([]float32, (len(masks)+1)/2))
	m := unsafe.Slice((*uint16)(unsafe.Pointer(&f[0])), len(masks))
	copy(m, masks)
	return m
}

// anyMasks returns random masks, which a kernel must overwrite.
func anyMasks(rng *rand.Rand, n int) []uint16 {
	m := make([]uint16, n)
	for i := range m {
		m[i] = uint16(rng.Uint32())
	}
	return m
}

// hitsAgainstTwin pools, and un-pools a gradient to where the maxima came from.
func hitsAgainstTwin(t *testing.T, s *ISA, mem memory) {
	rng := rand.New(rand.NewPCG(41, 42))
	for n := 1; n <= 5; n++ {
		for _, lo := range []float32{0, -inf} {
			for range 20 {
				x0, x1 := mem.floats(tied(rng, 2*n*Block)), mem.floats(tied(rng, 2*n*Block))
				y, want := mem.floats(make([]float32, n*Block)), make([]float32, n*Block)
				hits := masksIn(mem, anyMasks(rng, 4*n))
				wantHits := slices.Clone(hits)
				s.maxPoolHitsRow(n, x0, x1, y, hits, lo)
				maxPoolHitsTwin(n, x0, x1, want, wantHits, lo)
				checkBits(t, fmt.Sprintf("maxPoolHits, n %d", n), y, want)
				if !slices.Equal(hits, wantHits) {
					t.Fatalf("maxPoolHits, n %d: masks %04x, want %04x", n, hits, wantHits)
				}

				dy := mem.floats(randoms(rng, n*Block))
				dx0, dx1 := mem.floats(filled(2*n*Block, nan)), mem.floats(filled(2*n*Block, nan))
				want0, want1 := make([]float32, 2*n*Block), make([]float32, 2*n*Block)
				s.unpoolRow(n, hits, dy, dx0, dx1)
				unpoolTwin(n, hits, dy, want0, want1)
				checkBits(t, fmt.Sprintf("unpool, n %d, first row", n), dx0, want0)
				checkBits(t, fmt.Sprintf("unpool, n %d, second row", n), dx1, want1)
				mem.release()
			}
		}
	}
}

// addAgainstTwin: adding pixels to a sum in the same order gives the same bits.
func addAgainstTwin(t *testing.T, s *ISA, mem memory) {
	rng := rand.New(rand.NewPCG(43, 44))
	for n := 1; n <= 5; n++ {
		x, sum := mem.floats(randoms(rng, n*Block)), mem.floats(randoms(rng, Block))
		want := plain{}.floats(sum)
		s.addRow(n, x, sum)
		addPixelsTwin(n, x, want)
		checkBits(t, fmt.Sprintf("addPixels, n %d", n), sum, want)
		mem.release()
	}
}

func rgbGradAgainstTwin(t *testing.T, s *ISA, mem memory) {
	rng := rand.New(rand.NewPCG(45, 46))
	for nb := 1; nb <= 2; nb++ {
		for _, h := range []int{1, 2, 5} {
			for _, w := range []int{1, 2, 3, 16} {
				for _, gap := range []int{0, 1} {
					xRow, dyRow := (w+2)*Block+gap, w*Block+3*gap
					dyPlane := h*dyRow + 5*gap
					x := mem.floats(integers(rng, (h-1)*xRow+(w+1)*Block+rgbChannels))
					dy := mem.floats(integers(rng, (nb-1)*dyPlane+(h-1)*dyRow+w*Block))
					dw := mem.floats(integers(rng, 8*Panel+nb*Block))
					want := plain{}.floats(dw)
					s.rgbGrad(nb, h, w, x, xRow, dy, dyRow, dyPlane, dw)
					rgbWgradTwin(nb*Block, h, w, x, xRow, dy, dyRow, dyPlane, want)
					checkBits(t, fmt.Sprintf("rgbGrad 9x%d, %dx%d pixels, gap %d", nb*Block, h, w, gap), dw, want)
					mem.release()
				}
			}
		}
	}
}

// outputsAgainstTwin uses whole numbers: the transform is exact on them, and maxima are
// often equal.
func outputsAgainstTwin(t *testing.T, s *ISA, mem memory) {
	for _, f := range forms {
		for _, tile := range f.tiles() {
			if f.trains() {
				tileOutputsAgainstTwin(t, s, mem, tile)
			}
		}
	}
}

func tileOutputsAgainstTwin(t *testing.T, s *ISA, mem memory, f tile) {
	rng := rand.New(rand.NewPCG(47, 48))
	n := f.side()
	for tiles := 1; tiles <= 4; tiles++ {
		for _, gap := range []int{0, 1} {
			for _, lo := range []float32{0, -inf} {
				stride := tiles*Block + gap
				p := mem.floats(integers(rng, (n*n-1)*stride+tiles*Block))
				for i := range p {
					p[i] = float32(math.Round(float64(p[i]) / 3))
				}
				bias := mem.floats(integers(rng, Block))
				width, height := f.cols/2*tiles, f.rows/2
				row, hitsRow := width*Block+gap, 4*width+gap
				y, hits := mem.floats(filled((height-1)*row+width*Block, nan)), masksIn(mem, anyMasks(rng, (height-1)*hitsRow+4*width))
				wantY, wantHits := plain{}.floats(y), slices.Clone(hits)
				s.winoOutputHits(f, tiles, p, stride, y, row, hits, hitsRow, bias, lo)
				winoOutputHitsTwin(f, tiles, p, stride, wantY, row, wantHits, hitsRow, bias, lo)
				name := fmt.Sprintf("%v, %d tiles, gap %d, lo %g", f, tiles, gap, lo)
				checkBits(t, "winoOutputHits, "+name, y, wantY)
				if !slices.Equal(hits, wantHits) {
					t.Fatalf("winoOutputHits, %s: masks %04x, want %04x", name, hits, wantHits)
				}

				row, xRow := f.cols*tiles*Block+gap, f.cols*tiles*Block+3*gap
				x := mem.floats(tied(rng, (f.rows-1)*xRow+f.cols*tiles*Block))
				dx := mem.floats(filled((f.rows-1)*row+f.cols*tiles*Block, nan))
				want := plain{}.floats(dx)
				s.winoOutputMask(f, tiles, p, stride, dx, row, x, xRow)
				winoOutputMaskTwin(f, tiles, p, stride, want, row, x, xRow)
				checkBits(t, "winoOutputMask, "+name, dx, want)
				mem.release()
			}
		}
	}
}
