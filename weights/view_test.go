package weights

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/verydeep/vgg/internal/bfloat16"
	"github.com/verydeep/vgg/tensor"
)

// Reading a view gives what reading it element by element gives, for any range, type, order
// and offset.
func TestViewRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dtype := rapid.SampledFrom([]string{"F32", "F16", "BF16", "F64"}).Draw(t, "dtype")
		big := rapid.Bool().Draw(t, "big-endian")
		width := dtypeBits(dtype) / 8
		v := &view{dtype: dtype, big: big, begin: int64(rapid.IntRange(0, 9).Draw(t, "begin"))}
		v.shape = rapid.SliceOfN(rapid.IntRange(1, 6), 0, 4).Draw(t, "shape")
		for range v.shape {
			// Some strides beyond a gap.
			v.strides = append(v.strides, rapid.SampledFrom([]int{0, 1, 2, 3, 5, 7, 30, 100, 3000}).Draw(t, "stride"))
		}
		v.offset = rapid.IntRange(0, 5).Draw(t, "offset")
		elements, n := v.offset+1, 1
		for a, d := range v.shape {
			elements += (d - 1) * v.strides[a]
			n *= d
		}
		elements = max(elements, n)
		v.end = v.begin + int64(elements*width)
		data := make([]byte, v.end)
		want := make([]float32, elements)
		for i := range want {
			want[i] = float32(i % 256)
			at := data[int(v.begin)+i*width:][:width]
			switch dtype {
			case "F32":
				binary.LittleEndian.PutUint32(at, math.Float32bits(want[i]))
			case "F64":
				binary.LittleEndian.PutUint64(at, math.Float64bits(float64(want[i])))
			case "F16":
				binary.LittleEndian.PutUint16(at, toHalf(want[i]))
			case "BF16":
				binary.LittleEndian.PutUint16(at, bfloat16.From(want[i]))
			}
			if big {
				slices.Reverse(at)
			}
		}
		v.r = bytes.NewReader(data)
		if why := v.check(); why != "" {
			t.Fatal(why)
		}
		whole := make([]float32, n)
		for i := range whole {
			at, rest := v.offset, i
			for a := len(v.shape) - 1; a >= 0; a-- {
				at += rest % v.shape[a] * v.strides[a]
				rest /= v.shape[a]
			}
			whole[i] = want[at]
		}
		start := rapid.IntRange(0, n).Draw(t, "start")
		length := rapid.IntRange(0, n-start).Draw(t, "length")
		dst := make([]float32, length)
		if err := v.read(start, dst); err != nil || !slices.Equal(dst, whole[start:start+length]) {
			t.Fatalf("elements from %d: %v, %v; want %v", start, dst, err, whole[start:start+length])
		}
		if v.contiguous() {
			for i, f := range whole {
				if f != want[v.offset+i] {
					t.Fatal("said to be contiguous, but isn't")
				}
			}
		}
	})
}

// counting counts what is read.
type counting struct {
	io.ReaderAt
	calls, bytes int
}

func (c *counting) ReadAt(b []byte, at int64) (int, error) {
	c.calls++
	c.bytes += len(b)
	return c.ReaderAt.ReadAt(b, at)
}

// A transposed matrix, whole or in pieces of rows, is read about once, not once for each
// element.
func TestViewReadsLittle(t *testing.T) {
	const rows, columns = 500, 4000
	c := &counting{ReaderAt: bytes.NewReader(make([]byte, 4*rows*columns))}
	v := &view{r: c, end: 4 * rows * columns, dtype: "F32", shape: []int{columns, rows}, strides: []int{1, columns}}
	if err := v.read(0, make([]float32, rows*columns)); err != nil {
		t.Fatal(err)
	}
	if c.bytes > 4*rows*columns*11/10 || c.calls > rows+100 {
		t.Errorf("%d bytes in %d reads of a matrix of %d", c.bytes, c.calls, 4*rows*columns)
	}
	c.calls, c.bytes = 0, 0
	const piece = 100
	for start := 0; start < rows*columns; start += piece * rows {
		if err := v.read(start, make([]float32, piece*rows)); err != nil {
			t.Fatal(err)
		}
	}
	if c.bytes > 4*rows*columns*11/10 || c.calls > rows*columns/piece+100 {
		t.Errorf("by pieces, %d bytes in %d reads of a matrix of %d", c.bytes, c.calls, 4*rows*columns)
	}
}

func TestViewCheck(t *testing.T) {
	for _, c := range []struct {
		shape, strides []int
		offset         int
		want           string
	}{
		{[]int{10}, []int{1}, 0, ""},
		{[]int{9}, []int{1}, 1, ""},
		{[]int{10}, []int{1}, 1, "past its storage"},
		{[]int{2}, []int{10}, 0, "past its storage"},
		{[]int{5, 2}, []int{1, 5}, 0, ""},
		{[]int{2}, []int{math.MaxInt}, 0, "past its storage"},
		{[]int{3}, []int{math.MaxInt/2 + 1}, 0, "past its storage"},
		{[]int{2, 2}, []int{math.MaxInt, math.MaxInt}, 0, "past its storage"},
		{[]int{1}, []int{math.MaxInt}, 9, ""},
		{nil, nil, 10, "past its storage"},
		{nil, nil, -1, "negative offset"},
		{[]int{1}, []int{1}, math.MaxInt, "past its storage"},
		{[]int{2}, []int{-1}, 5, "negative stride"},
		{[]int{11}, []int{0}, 0, "repeats"},
		{[]int{1 << 40, 1 << 40}, []int{0, 0}, 0, "negative or too large"},
		{[]int{1 << 40}, []int{0}, 0, "repeats"},
		{[]int{-1}, []int{1}, 0, "negative or too large"},
		{[]int{0, 1 << 60}, []int{1 << 60, 1}, 1 << 40, ""},
		{[]int{2}, nil, 0, "different lengths"},
		{make([]int, 65), make([]int, 65), 0, "more axes"},
	} {
		v := &view{end: 40, dtype: "F32", shape: c.shape, strides: c.strides, offset: c.offset}
		if got := v.check(); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("shape %v, strides %v, offset %d: %q, want %q", c.shape, c.strides, c.offset, got, c.want)
		}
		if n, err := tensor.Size(c.shape...); c.want == "" && (err != nil || n > 10) {
			t.Errorf("%d elements of 10 taken", n)
		}
	}
}
