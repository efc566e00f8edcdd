package weights

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// The files under testdata/npz were written by numpy.savez (tools/oracle/npz.py).

func TestNPZFiles(t *testing.T) {
	for _, name := range []string{"stored", "deflated"} {
		t.Run(name, func(t *testing.T) {
			f, err := Open(t.Context(), vggtest.Fixture(t, "testdata/npz/"+name+".npz"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			golden, err := Open(t.Context(), vggtest.Fixture(t, "testdata/npz/"+name+".safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			defer golden.Close()
			if f.Format() != NPZ {
				t.Errorf("format %s", f.Format())
			}
			sameAsGolden(t, f, golden)
			x, err := f.Read("scalar")
			if err != nil || len(x.Shape) != 0 || x.Data[0] != 0.9 {
				t.Errorf("scalar %v, %v", x, err)
			}
			got := make(map[string]string)
			for _, e := range f.Tensors() {
				got[e.Name] = fmt.Sprint(e.DType, e.Shape)
				if _, err := golden.Lookup(e.Name); err == nil || e.Name == "scalar" {
					continue
				}
				if _, err := f.Read(e.Name); err == nil || !strings.Contains(err.Error(), "dtype "+e.DType+", want F32") {
					t.Errorf("%s: read with %v, want an error that names the dtype", e.Name, err)
				}
			}
			for n, want := range map[string]string{"step": "I64[]", "labels": "<U3[2]", "mask": "BOOL[2]", "bytes": "U8[3]",
				"object": "|O[1]", "record": "[('x', '<f4'), ('y', '<i4')][2]", "half": "F16[4 5]", "fc6_W": "F64[30 40]"} {
				if got[n] != want {
					t.Errorf("%s is %s, want %s", n, got[n], want)
				}
			}
		})
	}
}

// A large compressed array can be read in pieces, in any order. In order, it is
// decompressed once.
func TestNPZDeflatedPieces(t *testing.T) {
	f, err := Open(t.Context(), vggtest.Fixture(t, "testdata/npz/deflated.npz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole, err := f.Read("conv1_1_W")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 7, 64, 216} {
		for start := 0; start < 216; start += n {
			part := make([]float32, min(n, 216-start))
			if err := f.ReadRange("conv1_1_W", start, part); err != nil || !slices.Equal(part, whole.Data[start:start+len(part)]) {
				t.Fatalf("%d from %d: %v", n, start, err)
			}
		}
		back := make([]float32, n)
		if err := f.ReadRange("conv1_1_W", 216-n, back); err != nil || !slices.Equal(back, whole.Data[216-n:]) {
			t.Fatalf("the last %d: %v", n, err)
		}
	}
}

func TestNPYHeaderVersions(t *testing.T) {
	for name, want := range map[string]string{
		"version2.npy": "{<f4 false [3 3 3 8] 128}",
		"version3.npy": "{[('é', '<f4')] false [2] 128}",
	} {
		b, err := os.ReadFile(vggtest.Fixture(t, "testdata/npz/"+name))
		if err != nil {
			t.Fatal(err)
		}
		h, err := readNPYHeader(bytes.NewReader(b), uint64(len(b)))
		if err != nil || fmt.Sprint(h) != want {
			t.Errorf("%s: %v, %v; want %s", name, h, err, want)
		}
	}
}

// Goroutines may read a compressed array at once.
func TestNPZDeflatedTogether(t *testing.T) {
	f, err := Open(t.Context(), vggtest.Fixture(t, "testdata/npz/deflated.npz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole, err := f.Read("conv1_1_W")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			part := make([]float32, 9)
			for start := g; start+9 <= 216; start += 5 {
				if err := f.ReadRange("conv1_1_W", start, part); err != nil || !slices.Equal(part, whole.Data[start:start+9]) {
					t.Errorf("9 from %d: %v", start, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
