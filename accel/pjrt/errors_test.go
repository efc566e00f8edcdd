package pjrt_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/xla"
)

// wantError checks an error's text.
func wantError(t *testing.T, what string, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %q", what, err, text)
	}
}

func TestNotAPlugin(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "plugin.so")
	if err := os.WriteFile(text, []byte("not a library\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                          "no file given",
		filepath.Join(dir, "no.so"): "no such file",
		dir:                         "is no file",
		text:                        "can't be loaded as a PJRT plugin",
	} {
		_, err := pjrt.Open(path)
		wantError(t, path, err, want)
	}
}

func TestLibraryThatIsNoPlugin(t *testing.T) {
	found, _ := filepath.Glob("/usr/lib/*/libm.so.6")
	if len(found) == 0 {
		vggtest.Skip(t, "glibc's libm.so.6")
	}
	_, err := pjrt.Open(found[0])
	wantError(t, found[0], err, "GetPjrtApi")
}

func TestPluginErrors(t *testing.T) {
	p := xla.Plugin(t)
	c := xla.Client(t, 1)
	bad := scaleAdd(false)
	bad.Code = []byte("module { nonsense }")
	mismatched := scaleAdd(false)
	mismatched.Code = []byte(strings.Replace(string(mismatched.Code), "multiply %x, %b : tensor<2x3xf32>", "multiply %x, %w : tensor<2x3xf32>", 1))
	for _, test := range []struct {
		what, function string
		code           pjrt.Code
		text           string
		do             func() error
	}{
		{"text that isn't MLIR", "PJRT_Client_Compile", pjrt.Unknown, "nonsense", func() error { _, err := c.Compile(bad, pjrt.CompileOptions{}); return err }},
		{"types that don't fit", "PJRT_Client_Compile", pjrt.Unknown, "%w", func() error { _, err := c.Compile(mismatched, pjrt.CompileOptions{}); return err }},
		{"an unknown flag", "PJRT_Client_Compile", pjrt.InvalidArgument, "xla_no_such_flag", func() error {
			_, err := c.Compile(scaleAdd(false), pjrt.CompileOptions{Flags: map[string]any{"xla_no_such_flag": true}})
			return err
		}},
		{"an unknown option", "PJRT_Client_Create", pjrt.InvalidArgument, "no_such_option", func() error { _, err := p.NewClient(pjrt.Settings{"no_such_option": 1}); return err }},
	} {
		err := test.do()
		var e *pjrt.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v, want a plugin's error", test.what, err)
			continue
		}
		if !errors.Is(err, test.code) || e.Function != test.function || !strings.Contains(e.Message, test.text) {
			t.Errorf("%s: code %d of %s: %s; want code %d of %s with %q", test.what, e.Code, e.Function, e.Message, test.code, test.function, test.text)
		}
	}
}

// TestRefused has what XLA would read past the end for, or abort.
func TestRefused(t *testing.T) {
	c := xla.Client(t, 2)
	d := c.Devices[0]
	e := compile(t, c, scaleAdd(false), pjrt.CompileOptions{})
	x, w := upload(t, d, make([]float32, 6), 2, 3), upload(t, d, []float32{1})
	freed, err := pjrt.Upload(d, make([]float32, 6), 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := pjrt.Free(freed, freed); err != nil { // twice is once
		t.Fatal(err)
	}
	run := func(arguments ...*pjrt.Buffer) func() error {
		return func() error { _, err := e.Run(arguments...); return err }
	}
	put := func(n int, dims ...int) func() error {
		return func() error { _, err := pjrt.Upload(d, make([]float32, n), dims...); return err }
	}
	signed := func(change func(*pjrt.Program)) func() error {
		return func() error {
			pr := scaleAdd(false)
			change(&pr)
			_, err := c.Compile(pr, pjrt.CompileOptions{})
			return err
		}
	}
	for _, test := range []struct {
		what, text string
		do         func() error
	}{
		{"too few arguments", "2 arguments for replica 0, want 3", run(x, w)},
		{"too many arguments", "4 arguments", run(x, w, x, x)},
		{"another shape", "argument 0 is tensor<3x2xf32>, want tensor<2x3xf32>", run(upload(t, d, make([]float32, 6), 3, 2), w, x)},
		{"another type", "argument 1 is tensor<i32>, want tensor<f32>", run(x, upload(t, d, []int32{1}), x)},
		{"nothing", "no argument 2", run(x, w, nil)},
		{"a freed buffer", "after it was freed", run(x, w, freed)},
		{"a buffer elsewhere", "argument 0 is on device 1", run(upload(t, c.Devices[1], make([]float32, 6), 2, 3), w, x)},
		{"two replicas", "arguments of 2 replicas, want 1", func() error {
			_, err := e.Start([][]*pjrt.Buffer{{x, w, x}, {x, w, x}})
			return err
		}},
		{"an argument to keep that isn't one", "no argument 3 to keep", func() error { _, err := e.Start([][]*pjrt.Buffer{{x, w, x}}, 3); return err }},
		{"fewer values than the shape", "5 values for tensor<2x3xf32>", put(5, 2, 3)},
		{"a dimension of 0", "dimensions of at least 1", put(0, 0, 3)},
		{"a negative dimension", "dimensions of at least 1", put(6, -2, -3)},
		{"more than can be counted", "too large", put(6, 1<<40, 1<<40)},
		{"a slice of another type", "tensor<2x3xf32> to a slice of i32", func() error { _, err := pjrt.Download[int32](x); return err }},
		{"a slice of another length", "to a slice of 5", func() error { return pjrt.DownloadInto(x, make([]float32, 5)) }},
		{"bytes of another number", "to 23 bytes, want 24", func() error { return pjrt.DownloadBytes(x, make([]byte, 23)) }},
		{"a program without code", "no code", signed(func(pr *pjrt.Program) { pr.Code = nil })},
		{"a signature with a type that isn't one", "unknown type", signed(func(pr *pjrt.Program) { pr.Inputs[0].Type = 0 })},
		{"a signature with more outputs", "1 outputs, its signature has 2", signed(func(pr *pjrt.Program) { pr.Outputs = append(pr.Outputs, pr.Outputs[0]) })},
		{"a signature with another output", "output 0 is tensor<2x3xf32>, its signature has tensor<2x4xf32>", signed(func(pr *pjrt.Program) { pr.Outputs = []pjrt.Shape{pjrt.NewShape(pjrt.F32, 2, 4)} })},
		{"more replicas than devices", "has 2 devices", func() error { _, err := c.Compile(scaleAdd(false), pjrt.CompileOptions{Replicas: 3}); return err }},
		{"negative replicas", "-1 replicas", func() error { _, err := c.Compile(scaleAdd(false), pjrt.CompileOptions{Replicas: -1}); return err }},
		{"an option of a type that isn't one", "type float64", func() error { _, err := c.Plugin.NewClient(pjrt.Settings{"a": 1.5}); return err }},
		{"a flag of a type that isn't one", "type []int", func() error {
			_, err := c.Compile(scaleAdd(false), pjrt.CompileOptions{Flags: map[string]any{"a": []int{1}}})
			return err
		}},
		{"nothing to load", "no data", func() error { _, err := c.Load(nil, scaleAdd(false)); return err }},
	} {
		wantError(t, test.what, test.do(), test.text)
	}
	if out, err := e.Run(x, w, x); err != nil { // it works still
		t.Error(err)
	} else {
		free(t, out...)
	}
}

func TestClosed(t *testing.T) {
	p := xla.Plugin(t)
	c, err := p.NewClient(nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Compile(scaleAdd(false), pjrt.CompileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d := c.Devices[0]
	b, err := pjrt.Upload(d, []float32{1})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, "closed in use", c.Close(), "2 buffers and programs of it aren't freed")
	if err := errors.Join(b.Free(), e.Free(), e.Free(), c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = pjrt.Upload(d, []float32{1})
	wantError(t, "upload", err, "is closed")
	_, err = c.Compile(scaleAdd(false), pjrt.CompileOptions{})
	wantError(t, "compile", err, "is closed")
	_, err = e.Run(b, b, b)
	wantError(t, "run", err, "after it was freed")
	_, err = e.Memory()
	wantError(t, "memory", err, "after it was freed")
	_, err = d.Memory()
	wantError(t, "memory of the device", err, "is closed")
}
