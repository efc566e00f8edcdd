package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// description is what tools/oracle/weights.py says that a file holds.
type description struct {
	Metadata map[string]string
	Tensors  []struct {
		Name  string
		DType string
		Shape []int
		Bits  []string // of float32; nil for other than floating-point types
	}
}

// check compares f with what the reference implementation read.
func (d *description) check(t *testing.T, f *File) {
	t.Helper()
	if !maps.Equal(f.Metadata(), d.Metadata) {
		t.Errorf("metadata %q, the reference reads %q", f.Metadata(), d.Metadata)
	}
	if got := len(f.Tensors()); got != len(d.Tensors) {
		t.Errorf("%d tensors, the reference reads %d", got, len(d.Tensors))
	}
	for _, want := range d.Tensors {
		e, err := f.Lookup(want.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		if e.DType != want.DType || !slices.Equal(e.Shape, want.Shape) {
			t.Errorf("%s: %s %v, the reference reads %s %v", want.Name, e.DType, e.Shape, want.DType, want.Shape)
		}
		x, err := f.Read(want.Name)
		if want.Bits == nil {
			if err == nil || !strings.Contains(err.Error(), "dtype "+want.DType+", want") {
				t.Errorf("%s: %s read with %v, want an error that names the dtype", want.Name, want.DType, err)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		for i, v := range x.Data {
			if got := fmt.Sprintf("%08x", math.Float32bits(v)); got != want.Bits[i] {
				t.Errorf("%s: element %d is %s, the reference reads %s", want.Name, i, got, want.Bits[i])
			}
		}
	}
}

func TestReferenceFiles(t *testing.T) {
	for _, name := range []string{"dtypes", "f32", "empty"} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var d description
			if err := json.Unmarshal(text, &d); err != nil {
				t.Fatal(err)
			}
			f, err := Open(t.Context(), filepath.Join("testdata", name+".safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			d.check(t, f)
		})
	}
}

// For F32 tensors, the file is that of the reference implementation, byte for byte.
func TestReferenceBytes(t *testing.T) {
	for _, name := range []string{"f32", "empty"} {
		path := filepath.Join("testdata", name+".safetensors")
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var sources []Source
		for _, e := range f.Tensors() {
			x, err := f.Read(e.Name)
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, FromTensor(e.Name, x))
		}
		var got bytes.Buffer
		if err := EncodeSafetensors(&got, f.Metadata(), sources); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: wrote\n%q, the reference\n%q", name, got.Bytes(), want)
		}
	}
}

func TestReferenceReadsWhatIsWritten(t *testing.T) {
	interpreter := vggtest.Python(t, "numpy", "safetensors")
	path := filepath.Join(t.TempDir(), "w.safetensors")
	meta := map[string]string{"config": `A <&> "é" 犬`, "\u2028\x01\n": "\\ / \b\f\t \U0001f600"}
	err := WriteSafetensors(path, meta, []Source{
		source("z.weight", 5, 3, 3, 3),
		source("", 2),
		source("scalar"),
		source("none", 3, 0),
		source("a \"quoted\"\n犬\u007f", 300, 301),
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(interpreter, "../tools/oracle/weights.py", "read", path).Output()
	if err != nil {
		if ee, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("%v: %s", err, ee.Stderr)
		}
		t.Fatal(err)
	}
	var d description
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d.check(t, f)
}
