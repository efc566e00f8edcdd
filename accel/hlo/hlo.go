// Package hlo writes StableHLO programs as text, the language of XLA's plugins.
//
// A [Func] is the program's only function. Its methods append an operation and return the
// result as a [Value], whose element type and shape are inferred. Shapes that don't fit are
// found here, as the plugin's verifier names only lines of the text and may end the process:
// the first such error is kept, later calls do nothing of use, and [Func.Program] returns it.
//
// Activations are (N,H,W,C), filters (R,S,C,K). The operations are those of the StableHLO
// specification, https://openxla.org/stablehlo/spec.
package hlo

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Elem is an element type.
type Elem string

// Element types.
const (
	F32  Elem = "f32"
	BF16 Elem = "bf16"
	I32  Elem = "i32"
	U32  Elem = "ui32"
	U64  Elem = "ui64"
	Bool Elem = "i1"
)

// float tells whether e is a floating-point type.
func (e Elem) float() bool { return e == F32 || e == BF16 }

// Type is an element type and a shape. A scalar has no dimensions.
type Type struct {
	Elem Elem
	Dims []int
}

// String is the type in MLIR's syntax: tensor<2x3xf32>.
func (t Type) String() string {
	var b strings.Builder
	b.WriteString("tensor<")
	for _, d := range t.Dims {
		fmt.Fprintf(&b, "%dx", d)
	}
	return b.String() + string(t.Elem) + ">"
}

// Len is the number of elements.
func (t Type) Len() int {
	n := 1
	for _, d := range t.Dims {
		n *= d
	}
	return n
}

// Same reports whether both types are the same.
func (t Type) Same(u Type) bool { return t.Elem == u.Elem && slices.Equal(t.Dims, u.Dims) }

// with returns the type of the same elements in another shape.
func (t Type) with(dims ...int) Type { return Type{t.Elem, dims} }

// Value is a result of an operation, or an argument.
type Value struct {
	Type
	name string
}

// Precision is that of the products of float32 numbers in convolutions and [Func.Dot].
type Precision string

const (
	// Highest is float32.
	Highest Precision = "HIGHEST"
	// High lets a GPU use TF32, with 10 bits of fraction, and a TPU three products of bfloat16.
	High Precision = "HIGH"
	// Default lets a TPU use bfloat16.
	Default Precision = "DEFAULT"
)

// Func is a program in the making. Only one goroutine may use it.
type Func struct {
	precision Precision
	args      []Type
	argText   []string
	body      strings.Builder
	values    int
	constants map[string]Value
	err       error
}

// New returns an empty function. The precision is that of its products.
func New(p Precision) *Func { return &Func{precision: p, constants: map[string]Value{}} }

// Err returns the first error of the calls so far.
func (f *Func) Err() error { return f.err }

// fail keeps the first error, and returns a value by which the caller can go on.
func (f *Func) fail(t Type, format string, args ...any) Value {
	if f.err == nil {
		f.err = fmt.Errorf("hlo: "+format, args...)
	}
	return Value{t, "%wrong"}
}

// Arg adds an argument.
func (f *Func) Arg(elem Elem, dims ...int) Value { return f.arg(elem, dims, "") }

// Donated adds an argument whose memory becomes that of the given result. The caller's buffer
// is used up by the execution.
func (f *Func) Donated(result int, elem Elem, dims ...int) Value {
	return f.arg(elem, dims, fmt.Sprintf(" {tf.aliasing_output = %d : i32}", result))
}

func (f *Func) arg(elem Elem, dims []int, attribute string) Value {
	v := Value{Type{elem, dims}, fmt.Sprintf("%%arg%d", len(f.args))}
	for _, d := range dims {
		if d < 1 {
			return f.fail(v.Type, "an argument of shape (%s)", list(dims))
		}
	}
	f.args = append(f.args, v.Type)
	f.argText = append(f.argText, v.name+": "+v.String()+attribute)
	return v
}

// Args lists the types of the arguments.
func (f *Func) Args() []Type { return f.args }

// Program returns the text of the module whose function returns the results, for so many
// replicas, at least one. It is an error if a call before had one.
func (f *Func) Program(replicas int, results ...Value) (string, error) {
	if f.err != nil {
		return "", f.err
	}
	if replicas < 1 || len(results) == 0 {
		return "", errors.New("hlo: a program without replicas or results")
	}
	names := make([]string, len(results))
	for i, v := range results {
		names[i] = v.name
	}
	types := joinTypes(results)
	return fmt.Sprintf("module @vgg attributes {mhlo.num_replicas = %d : i32, mhlo.num_partitions = 1 : i32} {\n"+
		"func.func public @main(%s) -> (%s) {\n%s  return %s : %s\n}\n}\n",
		replicas, strings.Join(f.argText, ", "), types, f.body.String(), strings.Join(names, ", "), types), nil
}

// emit writes an operation with one result of type t.
func (f *Func) emit(t Type, format string, args ...any) Value {
	v := Value{t, fmt.Sprintf("%%%d", f.values)}
	f.values++
	fmt.Fprintf(&f.body, "  %s = %s\n", v.name, fmt.Sprintf(format, args...))
	return v
}

// signature is the type of an operation.
func signature(result Type, operands ...Value) string {
	return "(" + joinTypes(operands) + ") -> " + result.String()
}

func joinTypes(values []Value) string {
	types := make([]string, len(values))
	for i, v := range values {
		types[i] = v.String()
	}
	return strings.Join(types, ", ")
}

func list[T any](values []T) string {
	s := make([]string, len(values))
	for i, v := range values {
		s[i] = fmt.Sprint(v)
	}
	return strings.Join(s, ", ")
}

// constant writes a constant once.
func (f *Func) constant(text string, t Type) Value {
	key := text + t.String()
	v, ok := f.constants[key]
	if !ok {
		v = f.emit(t, "stablehlo.constant dense<%s> : %s", text, t)
		f.constants[key] = v
	}
	return v
}

// Const is a float32 constant of a shape, all elements of one value.
func (f *Func) Const(x float32, dims ...int) Value {
	return f.constant(fmt.Sprintf("0x%08X", math.Float32bits(x)), Type{F32, dims}) // exact, infinities too
}

// Int is an integer constant of a shape, all elements of one value.
func (f *Func) Int(elem Elem, x uint64, dims ...int) Value {
	if elem.float() || elem == Bool {
		return f.fail(Type{elem, dims}, "an integer constant of %s", elem)
	}
	return f.constant(fmt.Sprint(x), Type{elem, dims})
}
