package vgg

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// TestExportAndOpen: an exported file opens as the same network, with its classes,
// preprocessing and provenance. In f32 every bit is the same.
func TestExportAndOpen(t *testing.T) {
	for _, c := range []struct{ config, file, names string }{
		{"A", "a.safetensors", ""},
		{"B-LRN", "a.safetensors", "torchvision"},
		{"D-BN", "a.safetensors", "torchvision"},
		{"E", "a.pth", ""},
		{"C-BN", "a.pth", "native"},
		{"A-LRN", "a.npz", ""},
		{"D-BN", "a.npz", ""},
		{"B", "a.npz", "torchvision"},
		{"32bn 1×32 LRN(3,1,0.5,0.5) M 64bn M FC20 FC7 FC", "a.pth", ""},
		{"32bn 1×32 LRN(3,1,0.5,0.5) M 64bn M FC20bn FC7 FC", "a.safetensors", "native"},
		{"32bn 32 M 64bn 64 FC", "a.npz", ""},
		{"A", "a.onnx", ""},
		{"D-BN", "a.onnx", ""},
	} {
		t.Run(c.config+" "+c.file+" "+c.names, func(t *testing.T) {
			for _, classes := range []int{3, 0} {
				m := exported(t, c.config, classes)
				path := filepath.Join(t.TempDir(), c.file)
				if err := m.Export(t.Context(), path, ExportOptions{Names: c.names}); err != nil {
					t.Fatal(err)
				}
				got, err := Open(t.Context(), path, OpenOptions{})
				if err != nil {
					t.Fatal(err)
				}
				o := got.Net.Options()
				want := m.Net.Options()
				if strings.HasSuffix(c.file, ".onnx") { // its metadata has less
					want.Dropout, want.LRN, want.BNEps = o.Dropout, o.LRN, 1e-3
					if !strings.HasSuffix(c.config, "BN") {
						want.BNEps = 0
					}
					if classes == 0 {
						want.Input = o.Input
					}
				}
				if want.FC = 12; o.FC == 0 { // not asked for
					want.FC = 0
				}
				if o != want {
					t.Errorf("opened as %+v, want %+v", o, want)
				}
				if got.Preprocess != m.Preprocess || !slices.Equal(got.Classes, m.Classes) {
					t.Errorf("%+v %v, want %+v %v", got.Preprocess, got.Classes, m.Preprocess, m.Classes)
				}
				x := oracleImage(2, 48, 48)
				if a, b := vggtest.Forward(t, m.Net, x), vggtest.Forward(t, got.Net, x); vggtest.SameBits(a.Data, b.Data) != nil {
					t.Errorf("other scores: %v, want %v", b.Data[:3], a.Data[:3])
				}
			}
		})
	}
}

// exported is a model with random values. Where the configuration has five poolings, its
// first fully connected layer has a filter of 3×3 pixels.
func exported(t *testing.T, config string, classes int) *Model {
	t.Helper()
	o := network.Options{Config: config, Classes: classes, Width: 1. / 16, FC: 12, Input: 32, Dropout: 0.25, LRN: nn.Caffe, BNEps: 1e-3}
	if strings.Contains(config, " ") {
		o.Width, o.Input = 0.25, 12
	}
	n, err := network.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range n.Params() {
		v := tensor.New(p.Shape...)
		for j := range v.Data {
			v.Data[j] = float32(math.Sin(float64(i+1) * float64(j+1)))
			if p.Running {
				v.Data[j] = 1.5 + v.Data[j]
			}
		}
		if err := p.Set(v.Data); err != nil {
			t.Fatal(err)
		}
	}
	m := tinyModel(t, "A")
	m.Net = n
	if classes == 0 {
		m.Classes = nil
		m.Preprocess.Fit, m.Preprocess.Orient = preprocess.Squash, preprocess.Upright
	}
	return m
}

// TestExportHalf: weights are in 16 bits, all other values in 32.
func TestExportHalf(t *testing.T) {
	m := exported(t, "A-BN", 3)
	for _, file := range []string{"h.safetensors", "h.pth", "h.npz", "h.onnx"} {
		for dtype, bound := range map[string]float64{"f16": 0x1p-11, "bf16": 0x1p-8} {
			if file == "h.npz" && dtype == "bf16" {
				continue // numpy has no such type
			}
			path := filepath.Join(t.TempDir(), file)
			if err := m.Export(t.Context(), path, ExportOptions{DType: dtype}); err != nil {
				t.Fatal(err)
			}
			f, err := weights.Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range f.Tensors() {
				if want := map[bool]string{true: strings.ToUpper(dtype), false: "F32"}[len(e.Shape) > 1]; e.DType != want {
					t.Errorf("%s: %s is %s, want %s", file, e.Name, e.DType, want)
				}
			}
			f.Close()
			got, err := Open(t.Context(), path, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range m.Net.Params() {
				a, b := make([]float32, p.Len()), make([]float32, p.Len())
				if err := p.Get(a); err != nil {
					t.Fatal(err)
				}
				if err := got.Net.Params()[i].Get(b); err != nil {
					t.Fatal(err)
				}
				rounded := false
				for j := range a {
					d := math.Abs(float64(a[j]) - float64(b[j]))
					rounded = rounded || d > 0
					if d > bound*math.Abs(float64(a[j]))+1e-7 {
						t.Fatalf("%s, %s: %s: %g became %g", file, dtype, p.Name, a[j], b[j])
					}
				}
				if rounded != (len(p.Shape) > 1) {
					t.Errorf("%s, %s: %s rounded %v", file, dtype, p.Name, rounded)
				}
			}
		}
	}
}

func TestExportErrors(t *testing.T) {
	m := exported(t, "A", 3)
	bad := exported(t, "A", 3)
	bad.Classes = bad.Classes[:1]
	for _, c := range []struct {
		m    *Model
		file string
		o    ExportOptions
		want string
	}{
		{m, "a.txt", ExportOptions{}, `extension ".txt", want .safetensors, .pth, .keras, .weights.h5, .npz or .onnx`},
		{m, "a.pth", ExportOptions{DType: "f64"}, `dtype "f64", want f32, f16 or bf16`},
		{m, "a.pth", ExportOptions{Names: "timm"}, `names "timm", want native, torchvision or conv1_1`},
		{m, "a.onnx", ExportOptions{Names: "native"}, "ONNX has its own"},
		{m, "a.onnx", ExportOptions{DType: "f8"}, `dtype "f8"`},
		{m, "a.npz", ExportOptions{DType: "bf16"}, "BF16"},
		{m, "a.h5", ExportOptions{Format: weights.Keras}, ".weights.h5"},
		{bad, "a.pth", ExportOptions{}, "1 class names, want 3"},
	} {
		path := filepath.Join(t.TempDir(), c.file)
		if err := c.m.Export(t.Context(), path, c.o); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want the file and %q", c.file, err, c.want)
		}
	}
}

// TestExportKeras: Keras's files open as the same network, and nothing is asked.
func TestExportKeras(t *testing.T) {
	for _, file := range []string{"A a.weights.h5", "D a.weights.h5", "A a.keras", "D-BN a.keras"} {
		config, name, _ := strings.Cut(file, " ")
		m := exported(t, config, 3)
		path := filepath.Join(t.TempDir(), name)
		if err := m.Export(t.Context(), path, ExportOptions{}); err != nil {
			t.Fatal(err)
		}
		got, err := Open(t.Context(), path, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got.Net.Options() != m.Net.Options() || got.Preprocess != m.Preprocess || !slices.Equal(got.Classes, m.Classes) {
			t.Errorf("%s: opened as %+v, %+v, %q, want %+v, %+v, %q", file, got.Net.Options(), got.Preprocess, got.Classes, m.Net.Options(), m.Preprocess, m.Classes)
		}
		x := tensor.New(1, 3, m.Net.Options().Input, m.Net.Options().Input)
		for i := range x.Data {
			x.Data[i] = float32(i%11) - 5
		}
		want, err := m.Net.Forward(x)
		if err != nil {
			t.Fatal(err)
		}
		y, err := got.Net.Forward(x)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(y.Data, want.Data) {
			t.Errorf("%s: scores %v, want %v", config, y.Data, want.Data)
		}
		if err := m.Export(t.Context(), path, ExportOptions{DType: "f16"}); err == nil || !strings.Contains(err.Error(), "f16") {
			t.Errorf("%s in f16: error %v, want one that names the type", config, err)
		}
	}
}

// TestExportProgress: every value counts once, and if the context ends the earlier file
// stays.
func TestExportProgress(t *testing.T) {
	m := exported(t, "A-BN", 3)
	var values int64
	for _, p := range m.Net.Params() {
		values += int64(p.Len())
	}
	for _, file := range []string{"a.safetensors", "a.pth", "a.npz", "a.onnx", "a.weights.h5", "a.keras"} {
		path := filepath.Join(t.TempDir(), file)
		var last int64
		o := ExportOptions{Progress: func(done, total int64) {
			if done <= last || total != values {
				t.Errorf("%s: %d of %d after %d of %d", file, done, total, last, values)
			}
			last = done
		}}
		if err := m.Export(t.Context(), path, o); err != nil {
			t.Fatal(err)
		}
		if last != values {
			t.Errorf("%s: %d values told of, want %d", file, last, values)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("enough")
		o.Progress = func(done, _ int64) {
			if done >= values/2 {
				cancel(stop)
			}
		}
		if err := m.Export(ctx, path, o); !errors.Is(err, stop) {
			t.Errorf("%s: error %v of an export that was stopped, want %v", file, err, stop)
		}
		after, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(after, before) {
			t.Errorf("%s: the earlier file has changed (%v)", file, err)
		}
	}
}
