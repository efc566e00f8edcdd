package nn

import (
	"fmt"
	"slices"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/tensor"
)

// MapBlock is the number of channels that [Maps] holds side by side.
const MapBlock = kernel.Block

// Maps are the feature maps of a batch, or their gradient, where a [Probe] has them: N images
// of C channels of H×W pixels, in blocks of [MapBlock] channels. They are valid until the
// function that got them returns.
type Maps struct {
	N, C, H, W int

	act   *kernel.Act
	probe *Probe
}

func (p *Probe) maps(a *kernel.Act) Maps { return Maps{a.N, a.C, a.H, a.W, a, p} }

// Blocks is the number of blocks that the channels are in.
func (m Maps) Blocks() int { return m.act.Blocks() }

// Row returns row y of block b of image n, W pixels of [MapBlock] channels each: channel c of
// pixel x is at x·MapBlock + c − b·MapBlock. Channels past C are zero, and must stay so.
func (m Maps) Row(n, b, y int) []float32 {
	return m.act.Data[m.act.At(n, b, y, 0):][: m.W*MapBlock : m.W*MapBlock]
}

// AddSquares adds the square of each value of row y of block b of image n to sums, as long as
// the row.
func (m Maps) AddSquares(n, b, y int, sums []float32) {
	kernel.Current().AddSquares(m.W, m.Row(n, b, y), sums[:m.W*MapBlock])
}

// AddDifferences adds the weighted squared differences of row y of block b of images i and j to
// sums, as long as the row: w[c]·(p[x]·a − q[x]·b)² of the values a and b in channel c of the
// block at pixel x.
func (m Maps) AddDifferences(i, j, b, y int, p, q, w, sums []float32) {
	kernel.Current().AddDifferences(m.W, m.Row(i, b, y), m.Row(j, b, y), p[:m.W], q[:m.W], w[:MapBlock], sums[:m.W*MapBlock])
}

// Parallel calls f for 0 … n−1 on the threads of the chain.
func (m Maps) Parallel(n int, f func(i int)) { m.probe.work.Team.Run(n, taskFunc(f)) }

// Planar returns a copy as a tensor of shape (N,C,H,W).
func (m Maps) Planar() *tensor.Tensor {
	t := tensor.New(m.N, m.C, m.H, m.W)
	m.act.ToNCHW(t.Data)
	return t
}

// Add adds t, of shape (N,C,H,W), to the maps. It is an error if t has another shape.
func (m Maps) Add(t *tensor.Tensor) error {
	if !slices.Equal(t.Shape, []int{m.N, m.C, m.H, m.W}) {
		return fmt.Errorf("nn: %v added to maps of shape %v", t.Shape, m.act)
	}
	m.Parallel(m.N*m.Blocks(), func(i int) {
		n, b := i/m.Blocks(), i%m.Blocks()
		for y := range m.H {
			row := m.Row(n, b, y)
			for c := range min(MapBlock, m.C-b*MapBlock) {
				for x, v := range t.Data[((n*m.C+b*MapBlock+c)*m.H+y)*m.W:][:m.W] {
					row[x*MapBlock+c] += v
				}
			}
		}
	})
	return nil
}

// gramConv is the geometry by which a product of maps is a convolution of 1×1 pixel.
func (m Maps) gramConv() kernel.Conv { return kernel.Conv{C: m.C, K: m.C, R: 1} }

// image returns the maps of image n.
func (m Maps) image(n int) *kernel.Act {
	one := *m.act
	length := len(one.Data) / one.N
	one.N, one.Data = 1, one.Data[n*length:(n+1)*length]
	return &one
}

// Gram writes the Gram matrix of image n to dst, C×C values: the sums over all pixels of the
// products of two channels (Gatys et al. 2016). It is not divided by the number of pixels.
// It panics if dst has another length.
func (m Maps) Gram(n int, dst []float32) {
	m.checkSquare(dst)
	g, x := m.gramConv(), m.image(n)
	packed := m.probe.product(g.WeightLen())
	clear(packed)
	m.probe.work.ConvBackwardWeights(g, x, x, packed)
	g.UnpackRows(dst, packed, 0)
}

// AddProduct adds the product of a matrix of C×C values, row by row, and the maps x of image
// n: to channel i of every pixel, the sum over j of matrix[i·C+j] times channel j of x. It
// panics if the matrix has another length, or x another shape.
func (m Maps) AddProduct(n int, matrix []float32, x Maps) {
	m.checkSquare(matrix)
	if m.C != x.C || m.H != x.H || m.W != x.W {
		panic(fmt.Sprintf("nn: product of maps of shape %v added to maps of shape %v", x.act, m.act))
	}
	g := m.gramConv()
	packed := m.probe.product(g.WeightLen() + kernel.ActLen(1, m.C, m.H, m.W, 0))
	weights, buf := packed[:g.WeightLen()], packed[g.WeightLen():]
	clear(weights)
	g.PackRows(weights, matrix, 0)
	var y kernel.Act
	y.Shape(1, m.C, m.H, m.W, 0, buf)
	m.probe.work.ConvForward(g, x.image(n), weights, nil, false, &y)
	m.Parallel(m.Blocks()*m.H, func(i int) {
		b, row := i/m.H, i%m.H
		to := m.Row(n, b, row)
		for j, v := range y.Data[y.At(0, b, row, 0):][:len(to)] {
			to[j] += v
		}
	})
}

func (m Maps) checkSquare(matrix []float32) {
	if len(matrix) != m.C*m.C {
		panic(fmt.Sprintf("nn: a matrix of %d values for maps of %d channels, want %d", len(matrix), m.C, m.C*m.C))
	}
}
