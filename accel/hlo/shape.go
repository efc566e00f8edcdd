package hlo

import (
	"fmt"
	"slices"
	"strings"
)

// Broadcast repeats a: its dimension i becomes dimension at[i] of the result, which ascend.
func (f *Func) Broadcast(a Value, dims []int, at ...int) Value {
	t := a.with(dims...)
	ok := len(at) == len(a.Dims)
	for i, d := range at {
		ok = ok && i < len(a.Dims) && d >= 0 && d < len(dims) && (a.Dims[i] == dims[d] || a.Dims[i] == 1) && (i == 0 || at[i-1] < d)
	}
	if !ok {
		return f.fail(t, "%s broadcast to %s by dimensions %s", a, t, list(at))
	}
	return f.emit(t, "stablehlo.broadcast_in_dim %s, dims = [%s] : %s", a.name, list(at), signature(t, a))
}

// Channels repeats a vector of one value a channel over the activation x, (…,C).
func (f *Func) Channels(v, x Value) Value { return f.Broadcast(v, x.Dims, len(x.Dims)-1) }

// Reshape keeps the order of the elements.
func (f *Func) Reshape(a Value, dims ...int) Value {
	t := a.with(dims...)
	if t.Len() != a.Len() {
		return f.fail(t, "%s reshaped to %s", a, t)
	}
	if slices.Equal(dims, a.Dims) {
		return a
	}
	return f.emit(t, "stablehlo.reshape %s : %s", a.name, signature(t, a))
}

// Transpose makes dimension at[i] of a dimension i of the result.
func (f *Func) Transpose(a Value, at ...int) Value {
	dims, seen := make([]int, len(at)), map[int]bool{}
	for i, d := range at {
		if d < 0 || d >= len(a.Dims) || seen[d] || len(at) != len(a.Dims) {
			return f.fail(a.Type, "%s transposed by %s", a, list(at))
		}
		dims[i], seen[d] = a.Dims[d], true
	}
	t := a.with(dims...)
	return f.emit(t, "stablehlo.transpose %s, dims = [%s] : %s", a.name, list(at), signature(t, a))
}

// Reverse reverses the order along dimensions.
func (f *Func) Reverse(a Value, along ...int) Value {
	for _, d := range along {
		if d < 0 || d >= len(a.Dims) {
			return f.fail(a.Type, "%s reversed along %s", a, list(along))
		}
	}
	return f.emit(a.Type, "stablehlo.reverse %s, dims = [%s] : %s", a.name, list(along), a)
}

// Slice takes the elements from, from+step, … below to of every dimension. A nil step is 1.
func (f *Func) Slice(a Value, from, to, step []int) Value {
	if step == nil {
		step = slices.Repeat([]int{1}, len(from))
	}
	ok := len(from) == len(a.Dims) && len(to) == len(from) && len(step) == len(from)
	dims, parts := make([]int, len(from)), make([]string, len(from))
	for i := range from {
		if ok = ok && from[i] >= 0 && from[i] < to[i] && to[i] <= a.Dims[i] && step[i] >= 1; ok {
			dims[i] = (to[i] - from[i] + step[i] - 1) / step[i]
			parts[i] = fmt.Sprintf("%d:%d:%d", from[i], to[i], step[i])
		}
	}
	if !ok {
		return f.fail(a.Type, "slice (%s) … (%s) by (%s) of %s", list(from), list(to), list(step), a)
	}
	t := a.with(dims...)
	return f.emit(t, "stablehlo.slice %s [%s] : %s", a.name, strings.Join(parts, ", "), signature(t, a))
}

// Pad puts zeros before, after and between the elements of every dimension of a float32 value.
func (f *Func) Pad(a Value, low, high, interior []int) Value {
	if len(low) != len(a.Dims) || len(high) != len(low) || len(interior) != len(low) || a.Elem != F32 {
		return f.fail(a.Type, "%s padded by (%s), (%s), (%s)", a, list(low), list(high), list(interior))
	}
	dims := make([]int, len(low))
	for i, d := range a.Dims {
		if dims[i] = low[i] + high[i] + d + (d-1)*interior[i]; low[i] < 0 || high[i] < 0 || interior[i] < 0 {
			return f.fail(a.Type, "%s padded by (%s), (%s), (%s)", a, list(low), list(high), list(interior))
		}
	}
	t, zero := a.with(dims...), f.Const(0)
	return f.emit(t, "stablehlo.pad %s, %s, low = [%s], high = [%s], interior = [%s] : %s", a.name, zero.name, list(low), list(high), list(interior), signature(t, a, zero))
}

// Concat puts values one after another along a dimension.
func (f *Func) Concat(along int, values ...Value) Value {
	if len(values) == 0 {
		return f.fail(Type{F32, nil}, "nothing to concatenate")
	}
	dims, names := slices.Clone(values[0].Dims), make([]string, len(values))
	if along < 0 || along >= len(dims) {
		return f.fail(values[0].Type, "%s concatenated along dimension %d", values[0], along)
	}
	dims[along] = 0
	for i, v := range values {
		if v.Elem != values[0].Elem || len(v.Dims) != len(dims) {
			return f.fail(values[0].Type, "%s concatenated with %s", values[0], v)
		}
		for j, d := range v.Dims {
			if j != along && d != dims[j] {
				return f.fail(values[0].Type, "%s concatenated with %s along dimension %d", values[0], v, along)
			}
		}
		dims[along] += v.Dims[along]
		names[i] = v.name
	}
	t := values[0].with(dims...)
	return f.emit(t, "stablehlo.concatenate %s, dim = %d : %s", strings.Join(names, ", "), along, signature(t, values...))
}
