package kernel

// The twins of the kernels that only training needs.

// hitsTwin records for channel l which of the 2×2 values is top: it sets bit l in the mask
// of the first value that equals top, and in none where top is at most lo.
func hitsTwin(values [4]float32, top, lo float32, hits []uint16, l int) {
	live := top > lo
	for q, v := range values {
		hits[q] &^= 1 << l
		if live && v == top {
			hits[q] |= 1 << l
			live = false
		}
	}
}

// maxPoolHitsTwin is maxPoolTwin with the masks of every output pixel.
func maxPoolHitsTwin(n int, x0, x1, y []float32, hits []uint16, lo float32) {
	maxPoolTwin(n, x0, x1, y)
	for i := range n {
		for l := range Block {
			p := 2*i*Block + l
			hitsTwin([4]float32{x0[p], x0[p+Block], x1[p], x1[p+Block]}, y[i*Block+l], lo, hits[4*i:], l)
		}
	}
}

// unpoolTwin gives dy to the pixels in whose masks it belongs, and zero to the others.
func unpoolTwin(n int, hits []uint16, dy, dx0, dx1 []float32) {
	for i := range n {
		for q, dx := range [][]float32{dx0, dx0, dx1, dx1} {
			for l := range Block {
				v := float32(0)
				if hits[4*i+q]>>l&1 != 0 {
					v = dy[i*Block+l]
				}
				dx[(2*i+q%2)*Block+l] = v
			}
		}
	}
}

// addPixelsTwin adds n pixels to sum, one after another.
func addPixelsTwin(n int, x, sum []float32) {
	for i, v := range x[:n*Block] {
		sum[i%Block] += v
	}
}

// rgbWgradTwin reduces a row of three taps of the first layer's weight gradient over h
// rows of w pixels and adds it to dw:
//
//	dw[(3s+c)·32 + j] += Σ_y Σ_m x[y·xRow + (m+s)·16 + c] · dy[y·dyRow + j/16·dyPlane + m·16 + j%16]
func rgbWgradTwin(cols, h, w int, x []float32, xRow int, dy []float32, dyRow, dyPlane int, dw []float32) {
	for s := range 3 {
		for c := range rgbChannels {
			for j := range cols {
				var acc float32
				for y := range h {
					for m := range w {
						acc += x[y*xRow+(m+s)*Block+c] * dy[y*dyRow+j/Block*dyPlane+m*Block+j%Block]
					}
				}
				dw[(3*s+c)*Panel+j] += acc
			}
		}
	}
}

// winoOutputHitsTwin transforms products back to tiles of outputs, adds the bias, and takes
// the maximum of every 2×2 outputs and of lo, with the masks of where it came from;
// hitsRow counts masks.
func winoOutputHitsTwin(f tile, tiles int, p []float32, pStride int, y []float32, yRow int, hits []uint16, hitsRow int, bias []float32, lo float32) {
	eachOutput(f, tiles, p, pStride, func(t, l int, o [8][8]float32) {
		for i := range f.rows / 2 {
			for j := range f.cols / 2 {
				b, at := bias[l], t*f.cols/2+j
				v := [4]float32{o[2*i][2*j] + b, o[2*i][2*j+1] + b, o[2*i+1][2*j] + b, o[2*i+1][2*j+1] + b}
				top := max(v[0], v[1], v[2], v[3])
				y[i*yRow+at*Block+l] = max(top, lo)
				hitsTwin(v, top, lo, hits[i*hitsRow+4*at:], l)
			}
		}
	})
}

// winoOutputMaskTwin transforms products back to tiles of outputs where x is positive;
// the others are zero.
func winoOutputMaskTwin(f tile, tiles int, p []float32, pStride int, y []float32, yRow int, x []float32, xRow int) {
	eachOutput(f, tiles, p, pStride, func(t, l int, o [8][8]float32) {
		for i := range f.rows {
			for j := range f.cols {
				at := (t*f.cols+j)*Block + l
				if !(x[i*xRow+at] > 0) {
					o[i][j] = 0
				}
				y[i*yRow+at] = o[i][j]
			}
		}
	})
}

// eachOutput calls f with the output transform of every tile and lane.
func eachOutput(t tile, tiles int, p []float32, pStride int, f func(i, l int, o [8][8]float32)) {
	down, along := t.sides()
	n := t.side()
	for i := range tiles {
		for l := range Block {
			var d [8][8]float32
			for r, pr := range down.points {
				for c, pc := range along.points {
					d[r][c] = p[(pr*n+pc)*pStride+i*Block+l]
				}
			}
			f(i, l, sandwich(down.at, d, along.at))
		}
	}
}
