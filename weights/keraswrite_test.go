package weights

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// kerasSources are the tensors of a chain with more layers than one node of a group.
func kerasSources() []Source {
	var all []Source
	for _, l := range []string{"conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv4_1", "conv4_2", "conv4_3", "conv5_1"} {
		all = append(all, source(l+"/kernel", 3, 3, 2, 2), source(l+"/bias", 2))
		for _, v := range []string{"gamma", "beta", "moving_mean", "moving_variance"} {
			all = append(all, source("bn_"+l+"/"+v, 2))
		}
	}
	return append(all, source("fc6/bias", 5), source("fc6/kernel", 8, 5))
}

func TestWriteKeras(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "w.weights.h5")
	want := kerasSources()
	if err := WriteKeras(path, nil, want); err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n := len(f.Tensors()); n != len(want) {
		t.Errorf("%d tensors, want %d", n, len(want))
	}
	for _, s := range want {
		x, err := f.Read(s.Name)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(x.Shape, s.Shape) || !slices.Equal(x.Data, elements(s)) {
			t.Errorf("%s: %v, or other elements; want %v", s.Name, x.Shape, s.Shape)
		}
	}
	if left, _ := os.ReadDir(folder); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWriteKerasErrors(t *testing.T) {
	folder := t.TempDir()
	for _, c := range []struct {
		file    string
		tensors []Source
		want    string
	}{
		{"w.h5", nil, "want a name that ends in .weights.h5"},
		{"w.weights.h5", []Source{source("conv1_1.weight", 1)}, "conv1_1.weight: want layer/ and one of kernel, bias"},
		{"w.weights.h5", []Source{source("c/kernel", 2)}, "c/kernel: shape [2], want 4 axes"},
		{"w.weights.h5", []Source{source("c/bias", 2)}, "layer c: tensors of different kinds of layer, or no kernel"},
		{"w.weights.h5", []Source{source("c/kernel", 2, 2), source("c/gamma", 2)}, "layer c: tensors of different kinds"},
		{"w.weights.h5", []Source{source("c/kernel", 2, 2), source("c/kernel", 2, 2)}, "c/kernel: name given twice"},
		{"w.weights.h5", []Source{{Name: "c/kernel", Shape: []int{2, 2}, Data: slices.Values([][]float32{{1, 2, 3}})}}, "c/kernel: 3 elements given, want 4"},
	} {
		err := WriteKeras(filepath.Join(folder, c.file), nil, c.tensors)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q in it", err, c.want)
		}
	}
	if left, _ := os.ReadDir(folder); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// h5py reads what is written, where there is one.
func TestH5pyReadsWhatIsWritten(t *testing.T) {
	const script = `
import sys, h5py, numpy as np
with h5py.File(sys.argv[1]) as f:
    v = f["layers/conv2d_10/vars"]
    print(np.ravel(v.attrs["name"])[0].decode(), v["0"].shape, v["0"].dtype, len(f["layers"]))
    print(*("%08x" % x for x in np.asarray(v["0"]).ravel().view("<u4")))`
	python := vggtest.Python(t, "h5py")
	path := filepath.Join(t.TempDir(), "w.weights.h5")
	all := kerasSources()
	if err := WriteKeras(path, nil, all); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(python, "-c", script, path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var want strings.Builder
	want.WriteString("conv5_1 (3, 3, 2, 2) float32 23\n")
	kernel := all[slices.IndexFunc(all, func(s Source) bool { return s.Name == "conv5_1/kernel" })]
	for i, v := range elements(kernel) {
		fmt.Fprintf(&want, "%s%08x", []string{"", " "}[min(i, 1)], math.Float32bits(v))
	}
	if got := strings.TrimSpace(string(out)); got != want.String() {
		t.Errorf("h5py: %s, want %s", got, want.String())
	}
}
