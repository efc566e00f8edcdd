package hlo

import (
	"fmt"
	"math"
	"slices"
)

// neutral returns the start of a reduction of float32 by add or maximum.
func (f *Func) neutral(op string, a Value) (Value, bool) {
	switch {
	case op == "add" && a.Elem == F32:
		return f.Const(0), true
	case op == "maximum" && a.Elem == F32:
		return f.Const(float32(math.Inf(-1))), true
	}
	return f.fail(a.Type, "%s over %s", op, a), false
}

// Reduce sums (add) or takes the maximum of a float32 value over dimensions, which go.
func (f *Func) Reduce(op string, a Value, over ...int) Value {
	start, ok := f.neutral(op, a)
	var dims []int
	for i, d := range a.Dims {
		if !slices.Contains(over, i) {
			dims = append(dims, d)
		}
	}
	t := a.with(dims...)
	if !ok || len(dims)+len(over) != len(a.Dims) {
		return f.fail(t, "%s of %s over dimensions %s", op, a, list(over))
	}
	return f.emit(t, "stablehlo.reduce(%s init: %s) applies stablehlo.%s across dimensions = [%s] : %s", a.name, start.name, op, list(over), signature(t, a, start))
}

// Window is the geometry of [Func.ReduceWindow], dimension by dimension.
type Window struct {
	Size, Stride, Low, High []int // Low and High: the padding, by the operation's neutral element
}

func (w Window) String() string {
	return fmt.Sprintf("windows (%s), strides (%s), padded by (%s) and (%s)", list(w.Size), list(w.Stride), list(w.Low), list(w.High))
}

// ReduceWindow sums (add) or takes the maximum over windows of a float32 value.
func (f *Func) ReduceWindow(op string, a Value, w Window) Value {
	start, ok := f.neutral(op, a)
	n := len(a.Dims)
	if !ok || len(w.Size) != n || len(w.Stride) != n || len(w.Low) != n || len(w.High) != n {
		return f.fail(a.Type, "%s over %s of %s", op, w, a)
	}
	dims := make([]int, n)
	padding := make([][]int, n)
	for i, d := range a.Dims {
		room := d + w.Low[i] + w.High[i] - w.Size[i]
		if room < 0 || w.Stride[i] < 1 || w.Size[i] < 1 {
			return f.fail(a.Type, "%s over %s of %s", op, w, a)
		}
		dims[i] = room/w.Stride[i] + 1
		padding[i] = []int{w.Low[i], w.High[i]}
	}
	t := a.with(dims...)
	return f.emit(t, `"stablehlo.reduce_window"(%s, %s) <{padding = dense<%s> : tensor<%dx2xi64>, window_dimensions = array<i64: %s>, window_strides = array<i64: %s>}> ({
    ^bb0(%%a: tensor<f32>, %%b: tensor<f32>):
      %%c = stablehlo.%s %%a, %%b : tensor<f32>
      stablehlo.return %%c : tensor<f32>
  }) : %s`, a.name, start.name, nested(padding), n, list(w.Size), list(w.Stride), op, signature(t, a, start))
}

// nested writes a matrix as MLIR does.
func nested(rows [][]int) string {
	s := make([]string, len(rows))
	for i, r := range rows {
		s[i] = "[" + list(r) + "]"
	}
	return "[" + list(s) + "]"
}

// MaxPool is the maximum over 2×2 pixels with stride 2 of (N,H,W,C). A last row or column
// without a partner is left out.
func (f *Func) MaxPool(x Value) Value {
	if len(x.Dims) != 4 {
		return f.fail(x.Type, "max-pooling of %s, want (N,H,W,C)", x)
	}
	two, none := []int{1, 2, 2, 1}, []int{0, 0, 0, 0}
	return f.ReduceWindow("maximum", x, Window{two, two, none, none})
}

// MaxPoolGradient is the gradient by x of y = MaxPool(x): the first of equal maxima in row
// order takes it. It is elementwise, so that it is deterministic and fused everywhere;
// select_and_scatter is neither on GPUs.
func (f *Func) MaxPoolGradient(x, y, dy Value) Value {
	if len(x.Dims) != 4 || !y.Same(dy.Type) || len(y.Dims) != 4 || x.Dims[1]/2 != y.Dims[1] || x.Dims[2]/2 != y.Dims[2] {
		return f.fail(x.Type, "gradient of max-pooling by %s, %s and %s", x, y, dy)
	}
	h, w := x.Dims[1]/2*2, x.Dims[2]/2*2
	zero := f.Const(0, dy.Dims...)
	var sum, free Value // free: where no pixel of the window has taken the gradient yet
	for i := range 4 {
		r, c := i/2, i%2
		pixel := f.Slice(x, []int{0, r, c, 0}, []int{x.Dims[0], h, w, x.Dims[3]}, []int{1, 2, 2, 1})
		hit := f.Compare("EQ", pixel, y)
		takes := hit
		if i > 0 {
			takes = f.Binary("and", hit, free)
		}
		part := f.Pad(f.Select(takes, dy, zero), []int{0, r, c, 0}, []int{0, x.Dims[1] - h + 1 - r, x.Dims[2] - w + 1 - c, 0}, []int{0, 1, 1, 0})
		switch i {
		case 0:
			sum, free = part, f.Unary("not", hit)
		case 3:
			sum = f.Add(sum, part)
		default:
			sum, free = f.Add(sum, part), f.Binary("and", free, f.Unary("not", hit))
		}
	}
	return sum
}
