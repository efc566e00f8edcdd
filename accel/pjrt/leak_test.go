//go:build (linux || darwin || freebsd) && (amd64 || arm64)

package pjrt

import (
	"os"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/verydeep/vgg/accel/plugins"
	"github.com/verydeep/vgg/internal/vggtest"
)

// counted replaces functions of the plugin's table by ones that count their calls with a handle.
func counted(p *Plugin, functions ...function) (*Plugin, map[function]*atomic.Int64) {
	watched := *p
	watched.functions = append([]uintptr(nil), p.functions...)
	counts := map[function]*atomic.Int64{}
	for _, f := range functions {
		n, original := new(atomic.Int64), p.functions[f]
		counts[f] = n
		watched.functions[f] = purego.NewCallback(func(arguments *handleArgs) uintptr {
			if arguments.handle != 0 {
				n.Add(1)
			}
			return invoke(original, unsafe.Pointer(arguments))
		})
	}
	return &watched, counts
}

// TestNoLeaks runs 10,000 cycles of upload, run and download, of which one in ten fails, and
// compares how many handles the plugin made with how many it was given back.
func TestNoLeaks(t *testing.T) {
	path := os.Getenv(plugins.Variable)
	if path == "" {
		vggtest.Skip(t, "a PJRT plugin in "+plugins.Variable)
	}
	const calls = 10000
	p, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	p, counts := counted(p, errorDestroy, eventAwait, eventDestroy, bufferDestroy, executableDestroy, loadedDestroy, clientDestroy)
	c, err := p.NewClient(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := NewShape(F32, 1000)
	e, err := c.Compile(Program{
		Name:   "double",
		Code:   []byte("func.func public @main(%x: tensor<1000xf32> {tf.aliasing_output = 0 : i32}) -> (tensor<1000xf32>, tensor<1000xf32>) {\n%y = stablehlo.add %x, %x : tensor<1000xf32>\n%z = stablehlo.negate %y : tensor<1000xf32>\nreturn %y, %z : tensor<1000xf32>, tensor<1000xf32>\n}"),
		Inputs: []Shape{s}, Outputs: []Shape{s, s},
	}, CompileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]float32, 1000)
	for i := range data {
		data[i] = float32(i)
	}
	errs := 0
	for i := range calls {
		x, err := Upload(c.Devices[0], data, 1000)
		if err != nil {
			t.Fatal(err)
		}
		out, err := e.Run(x)
		if err != nil {
			t.Fatal(err)
		}
		if err := DownloadInto(out[0], data); err != nil {
			t.Fatal(err)
		}
		for k := range data { // back to where it was
			data[k] /= 2
		}
		if i%10 == 0 {
			if _, err := e.Run(x); err == nil { // it was donated
				t.Fatal("a donated buffer was taken")
			}
			errs++
		}
		if err := Free(append(out, x)...); err != nil {
			t.Fatal(err)
		}
		if n := c.Live(); n != 1 {
			t.Fatalf("call %d: %d buffers and programs, want the program only", i, n)
		}
	}
	if data[999] != 999 {
		t.Errorf("after all, %v", data[999])
	}
	if err := e.Free(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for f, want := range map[function]int64{
		errorDestroy: calls / 10, eventAwait: 3 * calls, eventDestroy: 3 * calls, bufferDestroy: 3 * calls, executableDestroy: 1, loadedDestroy: 1, clientDestroy: 1,
	} {
		if got := counts[f].Load(); got != want {
			t.Errorf("%v was called %d times, want %d", f, got, want)
		}
	}
	if errs != calls/10 {
		t.Errorf("%d errors", errs)
	}
}

// TestStructSizes has the plugin's opinion of callers that are older and newer than itself.
func TestStructSizes(t *testing.T) {
	path := os.Getenv(plugins.Variable)
	if path == "" {
		vggtest.Skip(t, "a PJRT plugin in "+plugins.Variable)
	}
	p, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	a := pad(clientCreateArgs{})
	a.arguments.size = 24
	h := invoke(p.functions[clientCreate], unsafe.Pointer(a))
	if h == 0 {
		t.Fatal("a struct of 24 bytes was taken")
	}
	if err := p.take(clientCreate, h); !IsCode(err, InvalidArgument) {
		t.Errorf("a struct of 24 bytes: %v", err)
	}
	c, err := p.NewClient(nil) // with room for what comes
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
