package weights

import (
	"cmp"
	"io"
	"math"
	"slices"

	"github.com/verydeep/vgg/tensor"
)

// view is a tensor whose elements are in any order in a storage, the bytes [begin, end) of
// r. Element (i₀, i₁, …) of the tensor is element offset + Σ iₐ·strides[a] of the storage.
type view struct {
	r          io.ReaderAt
	begin, end int64
	dtype      string
	big        bool // big-endian
	offset     int
	shape      []int
	strides    []int // in elements, none negative
	compressed bool  // reading backwards in r takes as long as reading r again
}

// check returns what is wrong with the view, "" if it is inside its storage. A view with
// more elements than its storage, such as an expanded tensor, is wrong too: to read it
// would take more memory than the file.
func (v *view) check() string {
	n, err := tensor.Size(v.shape...)
	switch {
	case len(v.shape) > maxAxes:
		return "more axes than 64"
	case len(v.shape) != len(v.strides):
		return "shape and strides of different lengths"
	case err != nil:
		return "shape negative or too large"
	case v.offset < 0:
		return "negative offset"
	}
	elements := (v.end - v.begin) / int64(dtypeBits(v.dtype)/8)
	last := int64(v.offset)
	for a, s := range v.strides {
		if s < 0 {
			return "negative stride"
		}
		if n == 0 || v.shape[a] == 1 || s == 0 {
			continue
		}
		if int64(v.shape[a]-1) > (math.MaxInt64-last)/int64(s) {
			return "ends past its storage"
		}
		last += int64(v.shape[a]-1) * int64(s)
	}
	switch {
	case n == 0:
		return ""
	case last >= elements:
		return "ends past its storage"
	case int64(n) > elements:
		return "repeats elements of its storage"
	}
	return ""
}

// contiguous reports whether the view's elements follow each other in row-major order.
func (v *view) contiguous() bool {
	want := 1
	for a := len(v.shape) - 1; a >= 0; a-- {
		if v.shape[a] == 0 {
			return true
		}
		if v.shape[a] != 1 {
			if v.strides[a] != want {
				return false
			}
			want *= v.shape[a]
		}
	}
	return true
}

// entry returns a checked view as an entry of a file. inFile says that r is the file. The
// entry has a read function unless it is a range of the file's bytes.
func (v *view) entry(name string, inFile bool) entry {
	e := entry{Entry: Entry{Name: name, DType: v.dtype, Shape: v.shape}}
	if inFile && !v.big && v.contiguous() {
		width := int64(dtypeBits(v.dtype) / 8)
		n, _ := tensor.Size(v.shape...)
		if n > 0 {
			e.begin = v.begin + int64(v.offset)*width
		}
		e.end = e.begin + int64(n)*width
		return e
	}
	e.read = v.read
	e.whole = v.compressed && !v.contiguous()
	return e
}

// read is entry.read. It keeps a window of the storage in memory, never all of it.
func (v *view) read(start int, dst []float32) error {
	if len(dst) == 0 {
		return nil
	}
	w := &window{view: v, width: dtypeBits(v.dtype) / 8}
	return v.rows(w, 0, v.offset, start, start+len(dst), dst)
}

// rows reads elements [start, end) of a sub-tensor: that of the axes from axis on, whose
// first element is element offset of the storage. It reads the whole rows as one box, and
// the partial rows at either end by themselves.
func (v *view) rows(w *window, axis, offset, start, end int, dst []float32) error {
	if axis == len(v.shape) {
		return v.box(w, offset, nil, nil, dst)
	}
	row, _ := tensor.Size(v.shape[axis+1:]...)
	stride := v.strides[axis]
	if start/row == end/row { // in one row
		return v.rows(w, axis+1, offset+start/row*stride, start%row, end%row, dst)
	}
	if start%row != 0 {
		n := row - start%row
		if err := v.rows(w, axis+1, offset+start/row*stride, start%row, row, dst[:n]); err != nil {
			return err
		}
		start, dst = start+n, dst[n:]
	}
	if n := end/row - start/row; n > 0 {
		lengths := slices.Concat([]int{n}, v.shape[axis+1:])
		if err := v.box(w, offset+start/row*stride, lengths, v.strides[axis:], dst[:n*row]); err != nil {
			return err
		}
		start, dst = start+n*row, dst[n*row:]
	}
	if start < end {
		return v.rows(w, axis+1, offset+start/row*stride, 0, end-start, dst)
	}
	return nil
}

// boxAxis is an axis of a box: its length, and its strides in the storage and in dst.
type boxAxis struct{ n, src, dst int }

// gap is the largest gap between elements, in bytes, that is read rather than skipped.
const gap = 4 << 10

// box reads a box of these lengths into dst, row-major. Its first element is element
// offset of the storage. It reads the storage in the storage's order.
func (v *view) box(w *window, offset int, lengths, strides []int, dst []float32) error {
	var axes []boxAxis
	step := 1
	for a := len(lengths) - 1; a >= 0; a-- {
		if lengths[a] != 1 {
			axes = append(axes, boxAxis{lengths[a], strides[a], step})
		}
		step *= lengths[a]
	}
	if axes == nil {
		axes = []boxAxis{{1, 1, 1}}
	}
	slices.SortStableFunc(axes, func(a, b boxAxis) int { return cmp.Compare(b.src, a.src) })

	// The bytes of elements that are close enough to be read at once.
	ahead := w.width
	for _, a := range slices.Backward(axes) {
		if a.src*w.width-ahead > gap || ahead > chunk {
			break
		}
		ahead += (a.n - 1) * a.src * w.width
	}

	outer, inner := axes[:len(axes)-1], axes[len(axes)-1]
	index := make([]int, len(outer))
	for to := 0; ; {
		if err := w.run(offset, inner, ahead, dst[to:]); err != nil {
			return err
		}
		a := len(outer) - 1
		for ; a >= 0; a-- {
			if index[a]++; index[a] < outer[a].n {
				offset, to = offset+outer[a].src, to+outer[a].dst
				break
			}
			index[a] = 0
			offset, to = offset-(outer[a].n-1)*outer[a].src, to-(outer[a].n-1)*outer[a].dst
		}
		if a < 0 {
			return nil
		}
	}
}

// window is the part of a view's storage that was read last, in little-endian order.
type window struct {
	*view
	width  int // of an element in bytes
	buf    []byte
	at     int64 // of buf's first byte in the file
	floats [1024]float32
}

// run reads the elements along an axis, from element offset of the storage on, into dst
// with the axis's stride.
func (w *window) run(offset int, axis boxAxis, ahead int, dst []float32) error {
	most := len(w.floats)
	if axis.src > 1 {
		most = 1
		if (axis.src-1)*w.width <= gap {
			most = min(len(w.floats), chunk/w.width/axis.src)
		}
	}
	for done := 0; done < axis.n; {
		n := min(axis.n-done, most)
		b, err := w.bytes(offset+done*axis.src, (n-1)*axis.src+1, ahead)
		if err != nil {
			return err
		}
		if axis.src == 1 {
			convert(w.floats[:n], b, w.dtype)
		} else {
			for i := range n {
				convert(w.floats[i:i+1], b[i*axis.src*w.width:], w.dtype)
			}
		}
		for i, f := range w.floats[:n] {
			dst[(done+i)*axis.dst] = f
		}
		done += n
	}
	return nil
}

// bytes returns n elements of the storage. If they aren't in the window, it reads up to
// ahead bytes from there on.
func (w *window) bytes(offset, n, ahead int) ([]byte, error) {
	at, n := w.begin+int64(offset)*int64(w.width), n*w.width
	if at < w.at || at+int64(n) > w.at+int64(len(w.buf)) {
		size := int(min(int64(max(n, min(ahead, chunk))), w.end-at))
		w.buf = slices.Grow(w.buf[:0], size)[:size]
		w.at = at
		if err := readFull(w.r, w.buf, at); err != nil {
			w.buf = w.buf[:0]
			return nil, err
		}
		if w.big {
			for i := 0; i+w.width <= size; i += w.width {
				slices.Reverse(w.buf[i : i+w.width])
			}
		}
	}
	return w.buf[at-w.at:][:n], nil
}
