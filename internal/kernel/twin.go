package kernel

// The portable twins: the slow, obvious version of every assembly kernel. They are always
// compiled in, and tests compare each assembly kernel with its twin.

// Flags of a gemm or wgrad tile.
const (
	accumulate = 1 // start from what c (or dw) holds
	addBias    = 2 // add the bias at the end
	applyRelu  = 4 // then take max(0, ·)
	overwrite  = 2 // of a wgrad tile: replace what dw holds
)

// gemmTwin computes a tile of rows × cols outputs, reduced over steps of a number of
// channels, 16 or 3:
//
//	c[j/16·cStride + r·16 + j%16] = Σ_i Σ_k a[offs[i] + r·16 + k] · b[(i·channels + k)·32 + j]
//
// By its offsets one kernel serves every product here: over the taps and channel blocks of
// a convolution, and over the in-units of a fully connected layer.
func gemmTwin(rows, cols, channels, steps int, offs []int, a, b, c []float32, cStride int, bias []float32, flags int) {
	for r := 0; r < rows; r++ {
		var acc [Panel]float32
		if flags&accumulate != 0 {
			for j := 0; j < cols; j++ {
				acc[j] = c[j/Block*cStride+r*Block+j%Block]
			}
		}
		for i := 0; i < steps; i++ {
			ar := a[offs[i]+r*Block:][:channels]
			for k, av := range ar {
				br := b[(i*channels+k)*Panel:][:cols]
				for j, bv := range br {
					acc[j] += av * bv
				}
			}
		}
		for j := 0; j < cols; j++ {
			v := acc[j]
			if flags&addBias != 0 {
				v += bias[j]
			}
			if flags&applyRelu != 0 && v < 0 {
				v = 0
			}
			c[j/Block*cStride+r*Block+j%Block] = v
		}
	}
}

// wgradTwin reduces a tile of the weight gradient over h rows of w pixels:
//
//	dw[r·32 + j] += Σ_y Σ_m x[y·xRow + m·16 + r] · dy[y·dyRow + j/16·dyPlane + m·16 + j%16]
//
// With the accumulate flag, terms are added to dw one by one; with overwrite, they are
// summed from zero and stored; without either, they are summed from zero and the sum is
// added to dw.
func wgradTwin(rows, cols, h, w int, x []float32, xRow int, dy []float32, dyRow, dyPlane int, dw []float32, flags int) {
	for r := 0; r < rows; r++ {
		for j := 0; j < cols; j++ {
			var acc float32
			if flags&accumulate != 0 {
				acc = dw[r*Panel+j]
			}
			for y := 0; y < h; y++ {
				for m := 0; m < w; m++ {
					acc += x[y*xRow+m*Block+r] * dy[y*dyRow+j/Block*dyPlane+m*Block+j%Block]
				}
			}
			if flags&(accumulate|overwrite) == 0 {
				acc += dw[r*Panel+j]
			}
			dw[r*Panel+j] = acc
		}
	}
}

// maxPoolTwin takes the maximum over 2×2 pixels: n output pixels from the two input
// rows x0 and x1. Of two zeros the later one wins, and so does the number after a NaN:
// a NaN reaches y only from the last of the four pixels.
func maxPoolTwin(n int, x0, x1, y []float32) {
	for i := 0; i < n; i++ {
		for l := 0; l < Block; l++ {
			p := 2*i*Block + l
			m := x0[p]
			for _, v := range [3]float32{x0[p+Block], x1[p], x1[p+Block]} {
				if !(m > v) {
					m = v
				}
			}
			y[i*Block+l] = m
		}
	}
}

// maxPoolGradTwin gives dy to the first of the 2×2 pixels, in row order, that equals
// the maximum y, and zero to the others.
func maxPoolGradTwin(n int, x0, x1, y, dy, dx0, dx1 []float32) {
	for i := 0; i < n; i++ {
		for l := 0; l < Block; l++ {
			p := 2*i*Block + l
			m, d := y[i*Block+l], dy[i*Block+l]
			for q, v := range [4]float32{x0[p], x0[p+Block], x1[p], x1[p+Block]} {
				dx := dx0
				if q >= 2 {
					dx = dx1
				}
				dx[p+q%2*Block] = 0
				if v == m {
					dx[p+q%2*Block] = d
					d = 0
				}
			}
		}
	}
}

// reluGradTwin zeroes dy where y is not positive, then adds its sum over the n pixels to
// sum: the gradient of ReLU, then of the bias.
func reluGradTwin(n int, y, dy, sum []float32) {
	var acc [Block]float32
	for i := 0; i < n*Block; i++ {
		if !(y[i] > 0) {
			dy[i] = 0
		}
		acc[i%Block] += dy[i]
	}
	for l, a := range acc {
		sum[l] += a
	}
}

// sumPixelsTwin adds the sum of x over n pixels to sum.
func sumPixelsTwin(n int, x, sum []float32) {
	var acc [Block]float32
	for i := 0; i < n*Block; i++ {
		acc[i%Block] += x[i]
	}
	for l, a := range acc {
		sum[l] += a
	}
}

// addSquaresTwin adds the squares of x over n pixels to sums.
func addSquaresTwin(n int, x, sums []float32) {
	for i, v := range x[:n*Block] {
		sums[i] += float32(v * v)
	}
}

// addDifferencesTwin adds w·(a·p − b·q)² to sums over n pixels; p and q are a factor for each
// pixel, w one for each of the 16 channels.
func addDifferencesTwin(n int, a, b, p, q, w, sums []float32) {
	for i, v := range a[:n*Block] {
		x := i / Block
		d := float32(v*p[x]) - float32(b[i]*q[x])
		sums[i] += float32(float32(d*d) * w[i%Block])
	}
}

// sgdTwin is one step of gradient descent with momentum and weight decay on n blocks
// of 16 weights: v = momentum·v + g + decay·w, then w −= rate·v.
func sgdTwin(n int, w, v, g []float32, rate, momentum, decay float32) {
	for i := range w[:n*Block] {
		v[i] = momentum*v[i] + (g[i] + decay*w[i])
		w[i] -= rate * v[i]
	}
}

// transpose16Twin transposes a 16×16 tile.
func transpose16Twin(dst []float32, dstStride int, src []float32, srcStride int) {
	for i := 0; i < Block; i++ {
		for j := 0; j < Block; j++ {
			dst[j*dstStride+i] = src[i*srcStride+j]
		}
	}
}
