package tensor

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func arange(shape ...int) *Tensor {
	t := New(shape...)
	for i := range t.Data {
		t.Data[i] = float32(i)
	}
	return t
}

func TestSize(t *testing.T) {
	for _, c := range []struct {
		shape []int
		want  int
		err   string
	}{
		{nil, 1, ""},
		{[]int{0}, 0, ""},
		{[]int{2, 3, 4}, 24, ""},
		{[]int{math.MaxInt, 0}, 0, ""},
		{[]int{0, -1}, 0, "length -1"},
		{[]int{-2, -3}, 0, "length -2"},
		{[]int{1 << 31, 1 << 31}, 0, "too many elements"},
		{[]int{math.MaxInt}, 0, "too many elements"},
		{[]int{math.MaxInt / 4}, math.MaxInt / 4, ""},
	} {
		n, err := Size(c.shape...)
		if n != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("Size(%v) = %d, %v; want %d, %q", c.shape, n, err, c.want, c.err)
		}
	}
}

func TestIndexing(t *testing.T) {
	x := arange(2, 3, 4)
	if x.Len() != 24 || x.Dim(0) != 2 || x.Dim(2) != 4 || x.Dim(-1) != 4 || x.Dim(-3) != 2 {
		t.Fatalf("%v: Len %d, Dims %d %d", x, x.Len(), x.Dim(0), x.Dim(-1))
	}
	if got := x.At(1, 2, 3); got != 23 {
		t.Errorf("At(1,2,3) = %v, want 23", got)
	}
	x.Set(-1, 0, 1, 2)
	if x.Data[6] != -1 {
		t.Errorf("Set(0,1,2) wrote elsewhere: %v", x.Data)
	}
	if s := x.String(); s != "[2 3 4]" {
		t.Errorf("String = %q", s)
	}
	if s := New(); s.Len() != 1 || s.At() != 0 {
		t.Errorf("scalar: %d elements, %v", s.Len(), s.At())
	}
}

func TestIndexIsAView(t *testing.T) {
	x := arange(2, 3)
	v := x.Index(1)
	if !slices.Equal(v.Shape, []int{3}) || !slices.Equal(v.Data, []float32{3, 4, 5}) {
		t.Fatalf("Index(1) = %v %v", v.Shape, v.Data)
	}
	v.Set(9, 0)
	if x.At(1, 0) != 9 {
		t.Error("a write to the view doesn't reach the tensor")
	}
	u := x.Index(0)
	_ = append(u.Data, 42)
	if x.At(1, 0) != 9 {
		t.Error("append to a view overwrites what follows it")
	}
	v.Shape[0] = 7
	if x.Shape[1] != 3 {
		t.Error("the view's shape is the tensor's own")
	}
}

func TestFromSlice(t *testing.T) {
	d := []float32{1, 2, 3, 4, 5, 6}
	x, err := FromSlice(d, 2, 3)
	if err != nil || &x.Data[0] != &d[0] {
		t.Fatalf("FromSlice copied its data, or failed: %v", err)
	}
	for _, shape := range [][]int{{2, 2}, {7}, {-2, -3}, nil} {
		if x, err := FromSlice(d, shape...); err == nil {
			t.Errorf("FromSlice(6 elements, %v) = %v, want an error", shape, x)
		}
	}
}

func TestReshape(t *testing.T) {
	x := arange(2, 3, 4)
	for _, c := range []struct{ in, want []int }{
		{[]int{24}, []int{24}},
		{[]int{4, 6}, []int{4, 6}},
		{[]int{-1}, []int{24}},
		{[]int{2, -1}, []int{2, 12}},
		{[]int{-1, 8}, []int{3, 8}},
		{[]int{1, 24, 1}, []int{1, 24, 1}},
	} {
		y, err := x.Reshape(c.in...)
		if err != nil || !slices.Equal(y.Shape, c.want) || &y.Data[0] != &x.Data[0] {
			t.Errorf("Reshape(%v) = %v, %v; want %v over the same data", c.in, y, err, c.want)
		}
	}
	for _, in := range [][]int{{23}, {-1, -1}, {-1, 5}, {-1, 0}, {-2, -12}, {}, {1 << 62, 1 << 62}} {
		if y, err := x.Reshape(in...); err == nil {
			t.Errorf("Reshape(%v) = %v, want an error", in, y)
		}
	}
}

func TestClone(t *testing.T) {
	x := arange(2, 2)
	y := x.Clone()
	y.Set(7, 0, 0)
	y.Shape[0] = 9
	if x.At(0, 0) != 0 || x.Shape[0] != 2 {
		t.Error("the clone shares with its original")
	}
}

func TestPanics(t *testing.T) {
	x := New(2, 3)
	for name, f := range map[string]func(){
		"New negative":    func() { New(2, -1) },
		"New too large":   func() { New(1<<40, 1<<40) },
		"At few":          func() { x.At(1) },
		"At out of range": func() { x.At(0, 3) },
		"At negative":     func() { x.At(0, -1) },
		"Set":             func() { x.Set(1, 2, 0) },
		"Dim":             func() { x.Dim(2) },
		"Dim negative":    func() { x.Dim(-3) },
		"Index":           func() { x.Index(2) },
		"Index scalar":    func() { New().Index(0) },
		"Index of empty":  func() { New(0, 3).Index(0) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if _, ok := recover().(string); !ok {
					t.Error("no panic with a string")
				}
			}()
			f()
		})
	}
}

// Walking the indices in row-major order walks Data, and indexing axis by axis
// reaches the same element as indexing at once.
func TestRowMajor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shape := rapid.SliceOfN(rapid.IntRange(1, 4), 1, 4).Draw(t, "shape")
		x := arange(shape...)
		idx := make([]int, len(shape))
		for n := range x.Len() {
			if got := x.At(idx...); got != float32(n) {
				t.Fatalf("At(%v) of %v = %v, want %d", idx, x, got, n)
			}
			v := x
			for _, i := range idx {
				v = v.Index(i)
			}
			if got := v.At(); got != float32(n) {
				t.Fatalf("Index by %v of %v = %v, want %d", idx, x, got, n)
			}
			for a := len(idx) - 1; a >= 0; a-- {
				if idx[a]++; idx[a] < shape[a] {
					break
				}
				idx[a] = 0
			}
		}
	})
}

func TestFinite(t *testing.T) {
	for _, x := range []float32{0, -1, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32} {
		if !Finite([]float32{1, x}) {
			t.Errorf("%v is finite", x)
		}
	}
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if Finite([]float32{1, float32(x)}) {
			t.Errorf("%v is not finite", x)
		}
	}
	if !Finite(nil) {
		t.Error("no numbers are finite")
	}
}
