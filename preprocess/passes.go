package preprocess

import "encoding/binary"

// passHorizontal rescales every row of src, w pixels each, into dst, two rows
// at a time: one multiplication serves the same channel of both.
func (r *Resizer) passHorizontal(dst, src []uint8, w int) {
	outW := len(r.horizontal.first)
	height := len(src) / (3 * w)
	lo, hi := r.horizontal.reach()
	r.pairs = grow(r.pairs, w)
	for y := 0; y < height; y += 2 {
		other := min(y+1, height-1)
		packRows(r.pairs[lo:hi], src[3*(w*y+lo):3*(w*y+hi)], src[3*(w*other+lo):3*(w*other+hi)])
		a := dst[3*outW*y : 3*outW*(y+1)]
		b := dst[3*outW*other : 3*outW*(other+1)]
		switch {
		case r.horizontal.positive && r.horizontal.width == 3: // as of photographs at training's scales
			r.rowPair3(a, b)
		case r.horizontal.positive:
			r.rowPairPositive(a, b)
		default:
			r.rowPair(a, b)
		}
	}
}

// packRows puts pixel x of row a into the low halves of pairs[x], and that of row
// b into the high halves.
func packRows(pairs [][3]int64, a, b []uint8) {
	for x := range pairs {
		p, q := (*[3]uint8)(a[3*x:]), (*[3]uint8)(b[3*x:])
		to := &pairs[x]
		to[0] = int64(p[0]) | int64(q[0])<<32
		to[1] = int64(p[1]) | int64(q[1])<<32
		to[2] = int64(p[2]) | int64(q[2])<<32
	}
}

// rowPair rescales two rows, packed in r.pairs, into a and b.
func (r *Resizer) rowPair(a, b []uint8) {
	t := &r.horizontal
	for i, first := range t.first {
		n := t.count[i]
		k := t.coefficients[i*t.width:][:n]
		pixels := r.pairs[first:][:n]
		var red, green, blue int64 = halves, halves, halves
		for j := range pixels {
			p, c := &pixels[j], k[j]
			red += p[0] * c
			green += p[1] * c
			blue += p[2] * c
		}
		p, q := a[3*i:3*i+3:3*i+3], b[3*i:3*i+3:3*i+3]
		p[0], q[0] = split(red)
		p[1], q[1] = split(green)
		p[2], q[2] = split(blue)
	}
}

// rowPair3 is rowPairPositive for outputs of three inputs.
func (r *Resizer) rowPair3(a, b []uint8) {
	first := r.horizontal.first
	coefficients := r.horizontal.coefficients[:3*len(first)]
	a, b = a[:3*len(first)], b[:3*len(first)]
	for i, at := range first {
		pixels := (*[3][3]int64)(r.pairs[at:])
		k := (*[3]int64)(coefficients[3*i:])
		red := halves + pixels[0][0]*k[0] + pixels[1][0]*k[1] + pixels[2][0]*k[2]
		green := halves + pixels[0][1]*k[0] + pixels[1][1]*k[1] + pixels[2][1]*k[2]
		blue := halves + pixels[0][2]*k[0] + pixels[1][2]*k[1] + pixels[2][2]*k[2]
		p, q := (*[3]uint8)(a[3*i:]), (*[3]uint8)(b[3*i:])
		p[0], q[0] = uint8(red>>precision), uint8(red>>(32+precision))
		p[1], q[1] = uint8(green>>precision), uint8(green>>(32+precision))
		p[2], q[2] = uint8(blue>>precision), uint8(blue>>(32+precision))
	}
}

// rowPairPositive is rowPair for coefficients of which none is negative: no sum
// needs clipping, and none borrows.
func (r *Resizer) rowPairPositive(a, b []uint8) {
	t := &r.horizontal
	for i, first := range t.first {
		k := t.coefficients[i*t.width:][:t.count[i]]
		pixels := r.pairs[first:][:len(k)]
		var red, green, blue int64 = halves, halves, halves
		for j := range pixels {
			p, c := &pixels[j], k[j]
			red += p[0] * c
			green += p[1] * c
			blue += p[2] * c
		}
		p, q := a[3*i:3*i+3:3*i+3], b[3*i:3*i+3:3*i+3]
		p[0], q[0] = uint8(red>>precision), uint8(red>>(32+precision))
		p[1], q[1] = uint8(green>>precision), uint8(green>>(32+precision))
		p[2], q[2] = uint8(blue>>precision), uint8(blue>>(32+precision))
	}
}

// split rounds the two sums in the halves of s to grey levels. If the low one is
// negative, it has borrowed from the high one.
func split(s int64) (lo, hi uint8) {
	low := int32(s)
	return clip(low >> precision), clip(int32((s-int64(low))>>32) >> precision)
}

// clip returns v limited to 0 … 255.
func clip(v int32) uint8 {
	if uint32(v) > 255 {
		return uint8(^(v >> 31))
	}
	return uint8(v)
}

// passVertical rescales the columns of src into dst. The rows of src are stride
// bytes long, and the first is row top of the source. A row of dst is computed
// from n bytes of each row, from byte offset on.
func (r *Resizer) passVertical(dst, src []uint8, stride, offset, n, top int) {
	t := &r.vertical
	for y, first := range t.first {
		k := t.coefficients[y*t.width:][:t.count[y]]
		out := dst[y*n : (y+1)*n]
		in := src[(first-top)*stride+offset:]
		x := 0
		switch {
		case t.positive && len(k) == 3:
			x = columns3(out, in[:n], in[stride:][:n], in[2*stride:][:n], k[0], k[1], k[2])
		case t.positive:
			for ; x+8 <= n; x += 8 {
				columnPositive(out[x:x+8], in[x:], stride, k)
			}
		default:
			for ; x+8 <= n; x += 8 {
				column(out[x:x+8], in[x:], stride, k)
			}
		}
		for ; x < n; x++ {
			sum := int64(half)
			for j, c := range k {
				sum += int64(in[x+j*stride]) * c
			}
			out[x] = clip(int32(sum) >> precision)
		}
	}
}

// columns3 sums eight neighbouring bytes at a time over three rows. Bytes 0 and
// 4, 1 and 5, 2 and 6, 3 and 7 share a word. It returns the number of bytes
// written; fewer than eight are left.
func columns3(out, a, b, c []uint8, k0, k1, k2 int64) int {
	x := 0
	for ; x+8 <= len(out); x += 8 {
		u := binary.LittleEndian.Uint64(a[x:])
		v := binary.LittleEndian.Uint64(b[x:])
		w := binary.LittleEndian.Uint64(c[x:])
		s0 := halves + int64(u&lanes)*k0 + int64(v&lanes)*k1 + int64(w&lanes)*k2
		s1 := halves + int64(u>>8&lanes)*k0 + int64(v>>8&lanes)*k1 + int64(w>>8&lanes)*k2
		s2 := halves + int64(u>>16&lanes)*k0 + int64(v>>16&lanes)*k1 + int64(w>>16&lanes)*k2
		s3 := halves + int64(u>>24&lanes)*k0 + int64(v>>24&lanes)*k1 + int64(w>>24&lanes)*k2
		binary.LittleEndian.PutUint64(out[x:], join8(s0, s1, s2, s3))
	}
	return x
}

// join8 joins the eight sums, all within [0, 255], in the order of the bytes.
func join8(s0, s1, s2, s3 int64) uint64 {
	return uint64(s0)>>precision&lanes | uint64(s1)>>precision&lanes<<8 |
		uint64(s2)>>precision&lanes<<16 | uint64(s3)>>precision&lanes<<24
}

// columnPositive sums eight neighbouring bytes over the rows of src, as
// columns3 does.
func columnPositive(dst, src []uint8, stride int, k []int64) {
	var s0, s1, s2, s3 int64 = halves, halves, halves, halves
	at := 0
	for _, c := range k {
		v := binary.LittleEndian.Uint64(src[at:])
		s0 += int64(v&lanes) * c
		s1 += int64(v>>8&lanes) * c
		s2 += int64(v>>16&lanes) * c
		s3 += int64(v>>24&lanes) * c
		at += stride
	}
	binary.LittleEndian.PutUint64(dst, join8(s0, s1, s2, s3))
}

// column is columnPositive for sums of any sign and size.
func column(dst, src []uint8, stride int, k []int64) {
	var s0, s1, s2, s3 int64 = halves, halves, halves, halves
	at := 0
	for _, c := range k {
		v := binary.LittleEndian.Uint64(src[at:])
		s0 += int64(v&lanes) * c
		s1 += int64(v>>8&lanes) * c
		s2 += int64(v>>16&lanes) * c
		s3 += int64(v>>24&lanes) * c
		at += stride
	}
	d := dst[:8:8]
	d[0], d[4] = split(s0)
	d[1], d[5] = split(s1)
	d[2], d[6] = split(s2)
	d[3], d[7] = split(s3)
}
