package hlo

import "slices"

// Gather returns the values of all replicas, in order: (replicas, dims of a).
func (f *Func) Gather(a Value, replicas int) Value {
	if replicas < 1 {
		return f.fail(a.Type, "values of %d replicas", replicas)
	}
	ranks := make([]int, replicas)
	for i := range ranks {
		ranks[i] = i
	}
	flat := f.Reshape(a, slices.Insert(slices.Clone(a.Dims), 0, 1)...)
	t := a.with(slices.Insert(slices.Clone(a.Dims), 0, replicas)...)
	return f.emit(t, `"stablehlo.all_gather"(%s) <{all_gather_dim = 0 : i64, replica_groups = dense<[[%s]]> : tensor<1x%dxi64>}> : %s`,
		flat.name, list(ranks), replicas, signature(t, flat))
}

// At returns element i of the first dimension, without that dimension.
func (f *Func) At(a Value, i int) Value {
	if len(a.Dims) == 0 {
		return f.fail(a.Type, "element %d of %s", i, a)
	}
	from, to := make([]int, len(a.Dims)), slices.Clone(a.Dims)
	from[0], to[0] = i, i+1
	return f.Reshape(f.Slice(a, from, to, nil), a.Dims[1:]...)
}
