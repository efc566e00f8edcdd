package vgg

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// TestReparametrised: parameters that PyTorch computes from several tensors (pruning,
// weight_norm, spectral_norm, as hooks and as parametrizations) are computed as PyTorch does.
// Parametrisations of other kinds, weights in 8 bits and frozen code are named, with what to
// save instead.
func TestReparametrised(t *testing.T) {
	folder := vggtest.Fixture(t, "testdata/reparam")
	var cases map[string]struct {
		Error      string
		Posteriors []float64
	}
	if err := json.Unmarshal(readFile(t, filepath.Join(folder, "expected.json")), &cases); err != nil {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(folder); err != nil || len(files) != len(cases)+1 {
		t.Fatalf("%d files, %v, want the %d of expected.json", len(files), err, len(cases))
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := OpenOptions{Preprocess: "unit", Input: 224}
			if !strings.Contains(name, ".module.") {
				o.Config = "1 M 2 M 2 M 3 M 4 M FC5 FC5 FC"
			}
			if name == "spectral_norm.pth" {
				o.Config = "1bn M 2bn M 2bn M 3bn M 4bn M FC5 FC5 FC"
			}
			var d *Description
			o.Described = func(of *Description) { d = of }
			m, err := Open(t.Context(), filepath.Join(folder, name), o)
			if c.Error != "" {
				if err == nil || !strings.Contains(err.Error(), c.Error) {
					t.Errorf("%v, want %q", err, c.Error)
				}
				t.Log(err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if lines := strings.Join(d.Inferred, "\n"); !strings.Contains(lines, "computed as torch.nn.utils does, ") {
				t.Errorf("inferred %q, want what was computed", lines)
			}
			y, err := m.Net.Forward(moduleImage(224))
			if err != nil {
				t.Fatal(err)
			}
			m.Net.Options().Posterior().Of(y.Data, y.Data)
			nearTool(t, name, y.Data, c.Posteriors)
		})
	}
}
