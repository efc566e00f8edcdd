package hlo

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the programs in testdata")

// programs are written and compared with those under testdata, which XLA's compiler took.
var programs = map[string]func() (string, error){
	"conv": func() (string, error) {
		f := New(Highest)
		x, w, b := f.Arg(F32, 2, 5, 6, 3), f.Arg(F32, 3, 3, 3, 4), f.Arg(F32, 4)
		y := f.Conv(x, w, 1)
		return f.Program(1, f.MaxPool(f.Rectify(f.Add(y, f.Channels(b, y)))))
	},
	"gradients": func() (string, error) {
		f := New(High)
		x, w, dy := f.Arg(F32, 2, 5, 6, 3), f.Donated(0, F32, 3, 3, 3, 4), f.Arg(F32, 2, 5, 6, 4)
		return f.Program(1, f.ConvFilter(x, dy, 3, 1), f.ConvData(dy, w, 1))
	},
	"pooling": func() (string, error) {
		f := New(Highest)
		x, dy := f.Arg(F32, 1, 5, 4, 2), f.Arg(F32, 1, 2, 2, 2)
		return f.Program(1, f.MaxPoolGradient(x, f.MaxPool(x), dy))
	},
	"replicas": func() (string, error) {
		f := New(Highest)
		all := f.Gather(f.Arg(F32, 2, 3), 4)
		return f.Program(4, f.Add(f.Add(f.At(all, 0), f.At(all, 1)), f.Add(f.At(all, 2), f.At(all, 3))))
	},
	"mask": func() (string, error) {
		f := New(Default)
		key, x := f.Arg(U32), f.Arg(BF16, 2, 3)
		wide := f.Broadcast(f.Convert(key, U64), []int{2, 3})
		h := f.Binary("shift_right_logical", f.Binary("xor", wide, f.Iota(U64, 1, 2, 3)), f.Int(U64, 40, 2, 3))
		keep := f.Compare("GE", f.Convert(h, F32), f.Const(0.5, 2, 3))
		return f.Program(1, f.Select(keep, f.Convert(x, F32), f.Const(0, 2, 3)))
	},
}

func TestPrograms(t *testing.T) {
	for name, write := range programs {
		t.Run(name, func(t *testing.T) {
			got, err := write()
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
			}
		})
	}
}

func TestWrongShapesAreErrors(t *testing.T) {
	for _, test := range []struct {
		write func(f *Func) Value
		want  string
	}{
		{func(f *Func) Value { return f.Add(f.Arg(F32, 2), f.Arg(F32, 3)) }, "hlo: add of tensor<2xf32> and tensor<3xf32>"},
		{func(f *Func) Value { return f.Add(f.Arg(F32, 2), f.Arg(I32, 2)) }, "hlo: add of tensor<2xf32> and tensor<2xi32>"},
		{func(f *Func) Value { return f.Binary("plus", f.Arg(F32), f.Arg(F32)) }, `hlo: no operation "plus" of two operands`},
		{func(f *Func) Value { return f.Conv(f.Arg(F32, 1, 4, 4, 3), f.Arg(F32, 3, 3, 2, 4), 1) }, "hlo: convolution of tensor<1x4x4x3xf32> and tensor<3x3x2x4xf32> with a border of 1"},
		{func(f *Func) Value { return f.Conv(f.Arg(F32, 1, 2, 9, 3), f.Arg(F32, 7, 7, 3, 4), 0) }, "hlo: convolution of tensor<1x2x9x3xf32> and tensor<7x7x3x4xf32> with a border of 0"},
		{func(f *Func) Value { return f.ConvFilter(f.Arg(F32, 1, 4, 4, 3), f.Arg(F32, 1, 4, 3, 2), 3, 1) }, "hlo: gradient by 3×3 filters of the convolution of tensor<1x4x4x3xf32> to tensor<1x4x3x2xf32> with a border of 1"},
		{func(f *Func) Value { return f.ConvData(f.Arg(F32, 1, 4, 4, 3), f.Arg(F32, 3, 3, 3, 4), 1) }, "hlo: gradient of a convolution of tensor<1x4x4x3xf32> and tensor<3x3x3x4xf32> with a border of 1"},
		{func(f *Func) Value { return f.Dot(f.Arg(F32, 2, 3), f.Arg(F32, 2, 3), 1, 0) }, "hlo: product of tensor<2x3xf32> and tensor<2x3xf32> over dimensions 1 and 0"},
		{func(f *Func) Value { return f.Reshape(f.Arg(F32, 2, 3), 5) }, "hlo: tensor<2x3xf32> reshaped to tensor<5xf32>"},
		{func(f *Func) Value { return f.Broadcast(f.Arg(F32, 2), []int{2, 3}, 1) }, "hlo: tensor<2xf32> broadcast to tensor<2x3xf32> by dimensions 1"},
		{func(f *Func) Value { return f.Transpose(f.Arg(F32, 2, 3), 1, 1) }, "hlo: tensor<2x3xf32> transposed by 1, 1"},
		{func(f *Func) Value { return f.Slice(f.Arg(F32, 4), []int{1}, []int{5}, nil) }, "hlo: slice (1) … (5) by (1) of tensor<4xf32>"},
		{func(f *Func) Value { return f.Slice(f.Arg(F32, 4), nil, nil, nil) }, "hlo: slice () … () by () of tensor<4xf32>"},
		{func(f *Func) Value { return f.Slice(f.Arg(F32, 4, 4), []int{1}, []int{2}, nil) }, "hlo: slice (1) … (2) by (1) of tensor<4x4xf32>"},
		{func(f *Func) Value { return f.Slice(f.Arg(F32, 4), []int{1}, []int{2}, []int{0}) }, "hlo: slice (1) … (2) by (0) of tensor<4xf32>"},
		{func(f *Func) Value { return f.Concat(0, f.Arg(F32, 4, 2), f.Arg(F32, 4, 3)) }, "hlo: tensor<4x2xf32> concatenated with tensor<4x3xf32> along dimension 0"},
		{func(f *Func) Value { return f.Reduce("add", f.Arg(I32, 4), 0) }, "hlo: add over tensor<4xi32>"},
		{func(f *Func) Value { return f.Reduce("add", f.Arg(F32, 4), 1) }, "hlo: add of tensor<4xf32> over dimensions 1"},
		{func(f *Func) Value { return f.MaxPool(f.Arg(F32, 1, 1, 4, 2)) }, "hlo: maximum over windows (1, 2, 2, 1), strides (1, 2, 2, 1), padded by (0, 0, 0, 0) and (0, 0, 0, 0) of tensor<1x1x4x2xf32>"},
		{func(f *Func) Value { return f.Select(f.Arg(F32, 2), f.Arg(F32, 2), f.Arg(F32, 2)) }, "hlo: select of tensor<2xf32> and tensor<2xf32> by tensor<2xf32>"},
		{func(f *Func) Value { return f.Arg(F32, 2, 0) }, "hlo: an argument of shape (2, 0)"},
		{func(f *Func) Value { return f.Int(F32, 1) }, "hlo: an integer constant of f32"},
		{func(f *Func) Value { return f.Unary("sqrt", f.Arg(I32, 1)) }, "hlo: sqrt of tensor<1xi32>"},
		{func(f *Func) Value { return f.Add(f.Reshape(f.Arg(F32, 2, 3), 5), f.Arg(F32, 4)) }, "hlo: tensor<2x3xf32> reshaped to tensor<5xf32>"}, // the first error stays
	} {
		f := New(Highest)
		v := test.write(f)
		if _, err := f.Program(1, v); err == nil || !strings.HasPrefix(err.Error(), test.want) || err.Error() != f.Err().Error() {
			t.Errorf("error %v, want %s", err, test.want)
		}
	}
}

func TestTypes(t *testing.T) {
	f := New(Highest)
	x := f.Arg(F32, 2, 7, 9, 3)
	for _, test := range []struct {
		got  Value
		want string
	}{
		{f.Conv(x, f.Arg(F32, 7, 7, 3, 5), 0), "tensor<2x1x3x5xf32>"},
		{f.MaxPool(x), "tensor<2x3x4x3xf32>"},
		{f.Reduce("maximum", x, 1, 2), "tensor<2x3xf32>"},
		{f.Pad(f.Arg(F32, 3), []int{1}, []int{2}, []int{1}), "tensor<8xf32>"},
		{f.Slice(x, []int{0, 1, 0, 0}, []int{2, 7, 9, 3}, []int{1, 2, 2, 1}), "tensor<2x3x5x3xf32>"},
		{f.Transpose(x, 0, 3, 1, 2), "tensor<2x3x7x9xf32>"},
		{f.Concat(3, x, x), "tensor<2x7x9x6xf32>"},
		{f.Gather(f.Arg(F32), 4), "tensor<4xf32>"},
		{f.Dot(f.Arg(BF16, 3, 4), f.Arg(BF16, 3, 5), 0, 0), "tensor<4x5xf32>"},
		{f.Compare("GT", x, x), "tensor<2x7x9x3xi1>"},
	} {
		if test.got.String() != test.want {
			t.Errorf("type %s, want %s", test.got, test.want)
		}
	}
	if err := f.Err(); err != nil {
		t.Error(err)
	}
}
