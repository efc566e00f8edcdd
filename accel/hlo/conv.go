package hlo

// Dot contracts dimension ca of the matrix a with dimension cb of the matrix b. What is left
// of a comes first. The result is float32.
func (f *Func) Dot(a, b Value, ca, cb int) Value {
	if len(a.Dims) != 2 || len(b.Dims) != 2 || ca&^1 != 0 || cb&^1 != 0 || a.Dims[ca] != b.Dims[cb] || a.Elem != b.Elem || !a.Elem.float() {
		return f.fail(Type{F32, []int{1, 1}}, "product of %s and %s over dimensions %d and %d", a, b, ca, cb)
	}
	t := Type{F32, []int{a.Dims[1-ca], b.Dims[1-cb]}}
	return f.emit(t, "stablehlo.dot_general %s, %s, contracting_dims = [%d] x [%d], precision = [%s, %s] : %s", a.name, b.name, ca, cb, f.precision, f.precision, signature(t, a, b))
}

// convolution writes a convolution of stride 1 with p zeros on all sides. layout is
// StableHLO's, as [b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]. The result has the operands'
// element type, since GPUs have no convolution from bfloat16 to float32.
func (f *Func) convolution(x, w Value, layout string, p int, dims ...int) Value {
	t := x.with(dims...)
	return f.emit(t, "stablehlo.convolution(%s, %s) dim_numbers = %s, window = {stride = [1, 1], pad = [[%d, %d], [%d, %d]]} {batch_group_count = 1 : i64, feature_group_count = 1 : i64, precision_config = [#stablehlo<precision %s>, #stablehlo<precision %s>]} : %s",
		x.name, w.name, layout, p, p, p, p, f.precision, f.precision, signature(t, x, w))
}

// checkConv fails unless x is (N,H,W,C) and w a filter (R,R,C,K) whose dimension c is x's
// channels and which fits into x with a border of p.
func (f *Func) checkConv(what string, x, w Value, c, p int) bool {
	ok := len(x.Dims) == 4 && len(w.Dims) == 4 && x.Elem == w.Elem && x.Elem.float()
	if ok = ok && w.Dims[0] == w.Dims[1] && x.Dims[3] == w.Dims[c] && p >= 0; ok {
		r := w.Dims[0]
		ok = x.Dims[1]+2*p >= r && x.Dims[2]+2*p >= r
	}
	if !ok {
		f.fail(x.Type, "%s of %s and %s with a border of %d", what, x, w, p)
	}
	return ok
}

// Conv convolves x, (N,H,W,C), with filters w, (R,R,C,K), within a border of p zeros.
func (f *Func) Conv(x, w Value, p int) Value {
	if !f.checkConv("convolution", x, w, 2, p) {
		return x
	}
	r := w.Dims[0]
	return f.convolution(x, w, "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]", p, x.Dims[0], x.Dims[1]+2*p-r+1, x.Dims[2]+2*p-r+1, w.Dims[3])
}

// ConvData is the gradient by x of y = Conv(x, w, p): the convolution of dy with the filters
// turned and their channels exchanged. The filters are turned by reverse: XLA's CPU compiler
// takes a loop 40 times slower for the window's attribute.
func (f *Func) ConvData(dy, w Value, p int) Value {
	if len(w.Dims) != 4 || p > w.Dims[0]-1 {
		return f.fail(dy.Type, "gradient of a convolution by %s with a border of %d", w, p)
	}
	r := w.Dims[0]
	q := r - 1 - p
	if !f.checkConv("gradient of a convolution", dy, w, 3, q) {
		return dy
	}
	return f.convolution(dy, f.Reverse(w, 0, 1), "[b, 0, 1, f]x[0, 1, o, i]->[b, 0, 1, f]", q, dy.Dims[0], dy.Dims[1]+2*q-r+1, dy.Dims[2]+2*q-r+1, w.Dims[2])
}

// ConvFilter is the gradient by w, of r×r taps, of y = Conv(x, w, p): channels of x take the
// place of images, images that of channels, and dy that of filters.
func (f *Func) ConvFilter(x, dy Value, r, p int) Value {
	t := Type{x.Elem, []int{r, r, 1, 1}}
	if len(x.Dims) != 4 || len(dy.Dims) != 4 || x.Elem != dy.Elem || !x.Elem.float() || x.Dims[0] != dy.Dims[0] ||
		dy.Dims[1] != x.Dims[1]+2*p-r+1 || dy.Dims[2] != x.Dims[2]+2*p-r+1 {
		return f.fail(t, "gradient by %d×%d filters of the convolution of %s to %s with a border of %d", r, r, x, dy, p)
	}
	return f.convolution(x, dy, "[f, 0, 1, b]x[i, 0, 1, o]->[0, 1, b, f]", p, r, r, x.Dims[3], dy.Dims[3])
}
