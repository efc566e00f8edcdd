package hlo

import "slices"

// binary are the elementwise operations of two operands.
var binary = []string{"add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "and", "or", "xor", "shift_left", "shift_right_logical"}

// unary are the elementwise operations of one operand whose result has its type.
var unary = []string{"negate", "abs", "exponential", "exponential_minus_one", "log", "log_plus_one", "logistic", "not", "rsqrt", "sqrt", "tanh"}

// Binary is an elementwise operation of two operands of one type: add, subtract, multiply,
// divide, maximum, minimum, power, and, or, xor, shift_left, shift_right_logical.
func (f *Func) Binary(op string, a, b Value) Value {
	switch {
	case !slices.Contains(binary, op):
		return f.fail(a.Type, "no operation %q of two operands", op)
	case !a.Same(b.Type):
		return f.fail(a.Type, "%s of %s and %s", op, a, b)
	}
	return f.emit(a.Type, "stablehlo.%s %s, %s : %s", op, a.name, b.name, a)
}

// Add is a + b.
func (f *Func) Add(a, b Value) Value { return f.Binary("add", a, b) }

// Sub is a − b.
func (f *Func) Sub(a, b Value) Value { return f.Binary("subtract", a, b) }

// Mul is a·b.
func (f *Func) Mul(a, b Value) Value { return f.Binary("multiply", a, b) }

// Div is a/b.
func (f *Func) Div(a, b Value) Value { return f.Binary("divide", a, b) }

// Max is the greater one; NaN if either is.
func (f *Func) Max(a, b Value) Value { return f.Binary("maximum", a, b) }

// Scale is a·x, of float32.
func (f *Func) Scale(a Value, x float32) Value { return f.Mul(a, f.Const(x, a.Dims...)) }

// Unary is an elementwise operation of one operand: negate, abs, exponential,
// exponential_minus_one, log, log_plus_one, logistic, not, rsqrt, sqrt, tanh.
func (f *Func) Unary(op string, a Value) Value {
	if !slices.Contains(unary, op) {
		return f.fail(a.Type, "no operation %q of one operand", op)
	}
	if (op == "not") != (a.Elem == Bool) || op != "not" && !a.Elem.float() {
		return f.fail(a.Type, "%s of %s", op, a)
	}
	return f.emit(a.Type, "stablehlo.%s %s : %s", op, a.name, a)
}

// Erf is the error function, of the dialect CHLO, which all of XLA's plugins read.
func (f *Func) Erf(a Value) Value {
	if !a.Elem.float() {
		return f.fail(a.Type, "erf of %s", a)
	}
	return f.emit(a.Type, "chlo.erf %s : %s -> %s", a.name, a, a)
}

// Compare is a Bool for each element: EQ, NE, GE, GT, LE or LT.
func (f *Func) Compare(direction string, a, b Value) Value {
	t := Type{Bool, a.Dims}
	kind := map[Elem]string{F32: "FLOAT", BF16: "FLOAT", I32: "SIGNED", U32: "UNSIGNED", U64: "UNSIGNED", Bool: "UNSIGNED"}[a.Elem]
	if !a.Same(b.Type) || !slices.Contains([]string{"EQ", "NE", "GE", "GT", "LE", "LT"}, direction) {
		return f.fail(t, "%s compared with %s by %q", a, b, direction)
	}
	return f.emit(t, "stablehlo.compare %s, %s, %s, %s : %s", direction, a.name, b.name, kind, signature(t, a, b))
}

// Finite is a Bool for each element: whether it is neither infinite nor NaN.
func (f *Func) Finite(a Value) Value {
	t := Type{Bool, a.Dims}
	if !a.Elem.float() {
		return f.fail(t, "is_finite of %s", a)
	}
	return f.emit(t, "stablehlo.is_finite %s : %s", a.name, signature(t, a))
}

// Select is a where p, else b. p has the shape of a and b, or none.
func (f *Func) Select(p, a, b Value) Value {
	if !a.Same(b.Type) || p.Elem != Bool || len(p.Dims) > 0 && !slices.Equal(p.Dims, a.Dims) {
		return f.fail(a.Type, "select of %s and %s by %s", a, b, p)
	}
	return f.emit(a.Type, "stablehlo.select %s, %s, %s : %s, %s", p.name, a.name, b.name, p, a)
}

// Rectify is max(0, a), of float32.
func (f *Func) Rectify(a Value) Value { return f.Max(a, f.Const(0, a.Dims...)) }

// Convert changes the element type.
func (f *Func) Convert(a Value, elem Elem) Value {
	if a.Elem == elem {
		return a
	}
	t := Type{elem, a.Dims}
	return f.emit(t, "stablehlo.convert %s : %s", a.name, signature(t, a))
}

// Iota counts from 0 along a dimension.
func (f *Func) Iota(elem Elem, along int, dims ...int) Value {
	t := Type{elem, dims}
	if along < 0 || along >= len(dims) {
		return f.fail(t, "iota along dimension %d of %s", along, t)
	}
	return f.emit(t, "stablehlo.iota dim = %d : %s", along, t)
}
