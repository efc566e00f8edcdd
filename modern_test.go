package vgg

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// TestModern: what the newest PyTorch exports to ONNX, and timm's VGGs in every form, give the
// posteriors of ONNX Runtime and PyTorch, or an error that says what to do.
func TestModern(t *testing.T) {
	folder := vggtest.Fixture(t, "testdata/modern")
	var cases map[string]struct {
		Error      string
		Posteriors []float64
		Normalize  bool // the file tells the preprocessing
	}
	if err := json.Unmarshal(readFile(t, filepath.Join(folder, "expected.json")), &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 13 {
		t.Errorf("%d cases, want at least 13", len(cases))
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := OpenOptions{Preprocess: "unit"}
			if c.Normalize || c.Error != "" {
				o.Preprocess = ""
			}
			m, err := Open(t.Context(), filepath.Join(folder, name), o)
			if c.Error != "" {
				if err == nil || !strings.Contains(err.Error(), c.Error) {
					t.Errorf("%v, want %q", err, c.Error)
				}
				return
			}
			if row := asked.FindStringSubmatch(errorText(err)); row != nil {
				o.Config = row[1]
				m, err = Open(t.Context(), filepath.Join(folder, name), o)
			}
			if err != nil {
				t.Fatal(err)
			}
			x := moduleImage(224)
			if c.Normalize {
				for i := range x.Data {
					ch := i / 224 / 224 % 3
					x.Data[i] = (x.Data[i] - m.Preprocess.Mean[ch]) / m.Preprocess.Std[ch]
				}
			}
			y, err := m.Net.Forward(x)
			if err != nil {
				t.Fatal(err)
			}
			m.Net.Options().Posterior().Of(y.Data, y.Data)
			nearTool(t, m.Net.Options().Config, y.Data, c.Posteriors)
		})
	}
}

// errorText returns the text of an error, "" of none.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
