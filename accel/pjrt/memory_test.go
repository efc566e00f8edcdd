package pjrt_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/internal/vggtest/xla"
)

// TestOutOfMemory runs a program whose output is larger than any device's memory.
func TestOutOfMemory(t *testing.T) {
	c := xla.Client(t, 1)
	const n = 1 << 46 // of 4 bytes: 256 TiB
	e := compile(t, c, pjrt.Program{
		Name:    "huge",
		Code:    fmt.Appendf(nil, "func.func public @main(%%x: tensor<f32>) -> tensor<%dxf32> {\n%%y = stablehlo.broadcast_in_dim %%x, dims = [] : (tensor<f32>) -> tensor<%[1]dxf32>\nreturn %%y : tensor<%[1]dxf32>\n}", n),
		Inputs:  []pjrt.Shape{pjrt.NewShape(pjrt.F32)},
		Outputs: []pjrt.Shape{pjrt.NewShape(pjrt.F32, n)},
	}, pjrt.CompileOptions{})
	m, err := e.Memory()
	if err != nil || m.Total() < 4*n {
		t.Errorf("%+v, %v: want at least %d bytes", m, err, int64(4*n))
	}
	x := upload(t, c.Devices[0], []float32{1})
	out, err := e.Run(x)
	if !errors.Is(err, pjrt.ResourceExhausted) {
		t.Errorf("%v, want out of memory", err)
	}
	free(t, out...)
	// The device goes on.
	small := compile(t, c, scaleAdd(false), pjrt.CompileOptions{})
	if err := once(small, 2, 3); err != nil {
		t.Error(err)
	}
}
