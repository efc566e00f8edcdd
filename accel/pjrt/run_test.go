package pjrt_test

import (
	"slices"
	"testing"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/internal/vggtest/xla"
)

// scaleAdd is x·w + y of two rows of three numbers; y's memory becomes the result's if donated.
func scaleAdd(donate bool) pjrt.Program {
	alias := ""
	if donate {
		alias = " {tf.aliasing_output = 0 : i32}"
	}
	s := pjrt.NewShape(pjrt.F32, 2, 3)
	return pjrt.Program{
		Name: "scale-add",
		Code: []byte(`module @scale_add {
  func.func public @main(%x: tensor<2x3xf32>, %w: tensor<f32>, %y: tensor<2x3xf32>` + alias + `) -> tensor<2x3xf32> {
    %b = stablehlo.broadcast_in_dim %w, dims = [] : (tensor<f32>) -> tensor<2x3xf32>
    %p = stablehlo.multiply %x, %b : tensor<2x3xf32>
    %s = stablehlo.add %p, %y : tensor<2x3xf32>
    return %s : tensor<2x3xf32>
  }
}`),
		Inputs:  []pjrt.Shape{s, pjrt.NewShape(pjrt.F32), s},
		Outputs: []pjrt.Shape{s},
	}
}

func TestRun(t *testing.T) {
	c := xla.Client(t, 1)
	e := compile(t, c, scaleAdd(false), pjrt.CompileOptions{})
	x := upload(t, c.Devices[0], []float32{1, 2, 3, 4, 5, 6}, 2, 3)
	w := upload(t, c.Devices[0], []float32{10})
	y := upload(t, c.Devices[0], []float32{1, 1, 1, 2, 2, 2}, 2, 3)
	out, err := e.Run(x, w, y)
	if err != nil {
		t.Fatal(err)
	}
	free(t, out...)
	got, err := pjrt.Download[float32](out[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := []float32{11, 21, 31, 42, 52, 62}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// compile compiles a program for the test.
func compile(t testing.TB, c *pjrt.Client, pr pjrt.Program, o pjrt.CompileOptions) *pjrt.Executable {
	t.Helper()
	e, err := c.Compile(pr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Free(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// upload copies data to a device for the test.
func upload[T pjrt.Element](t testing.TB, d *pjrt.Device, data []T, dims ...int) *pjrt.Buffer {
	t.Helper()
	b, err := pjrt.Upload(d, data, dims...)
	if err != nil {
		t.Fatal(err)
	}
	free(t, b)
	return b
}

// free frees buffers at the test's end.
func free(t testing.TB, buffers ...*pjrt.Buffer) {
	t.Cleanup(func() {
		if err := pjrt.Free(buffers...); err != nil {
			t.Error(err)
		}
	})
}
