package vgg

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// foreignCase is what tools/oracle/foreign.py expects of a file or a folder in
// testdata/foreign.
type foreignCase struct {
	Classes     []string
	Posteriors  []float64 // of photo.png
	Preprocess  string    // to be given; images are then rescaled to Scale pixels
	Scale       int       // 240 if it is 0
	Structure   string    // to be given
	Source      string    // of the preprocessing that came with the weights
	ClassesFrom string    `json:"classes_from"`
	NamesAs     string    `json:"names_as"`
	Ignored     []string  // parts of the lines of Description.Ignored
	Prefix      string
	Error       string   // in the error of opening it without the options below
	WithPrefix  string   `json:"with_prefix"`
	WithIgnore  []string `json:"with_ignore"`

	Input, Activation []float32 // of a headless network
}

// foreignCases reads the expectations. A case is a file or a folder, and perhaps # and a
// word for other options.
func foreignCases(t *testing.T) map[string]foreignCase {
	t.Helper()
	data, err := os.ReadFile(vggtest.Fixture(t, "testdata/foreign/expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases map[string]foreignCase
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// foreignPhoto is the photograph that the expectations are of.
func foreignPhoto(t *testing.T) *preprocess.Image {
	t.Helper()
	data, err := os.ReadFile(vggtest.Fixture(t, "testdata/foreign/photo.png"))
	if err != nil {
		t.Fatal(err)
	}
	im, err := preprocess.Decode(data, preprocess.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// nearTool checks numbers against those of the framework.
func nearTool[T, U float32 | float64](t *testing.T, what string, got []T, want []U) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= 1e-4) {
			t.Fatalf("%s: value %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// TestForeign opens what people have in hand: the classes, their order and the posteriors
// are those of the framework that wrote the file, by a path and from an fs.FS.
func TestForeign(t *testing.T) {
	photo := foreignPhoto(t)
	for name, c := range foreignCases(t) {
		if c.Posteriors == nil || c.Error != "" && c.WithPrefix == "" && c.WithIgnore == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			file, _, _ := strings.Cut(name, "#")
			var d *Description
			o := OpenOptions{Preprocess: c.Preprocess, Config: c.Structure, Prefix: c.WithPrefix, Ignore: c.WithIgnore, Described: func(of *Description) { d = of }}
			m, err := Open(context.Background(), vggtest.Fixture(t, "testdata/foreign/"+file), o)
			if err != nil {
				t.Fatal(err)
			}
			scale := m.Preprocess.Resize
			if c.Preprocess != "" {
				scale = cmp.Or(c.Scale, 240)
			}
			p, err := m.Posteriors(photo, scale)
			if err != nil {
				t.Fatal(err)
			}
			nearTool(t, "posteriors", p, c.Posteriors)
			if !slices.Equal(m.Classes, c.Classes) {
				t.Errorf("classes %q, want %q", m.Classes, c.Classes)
			}
			if got := m.Provenance["preprocessing"]; !strings.HasPrefix(got, c.Source) || c.Source == "" && got != "" {
				t.Errorf("preprocessing from %q, want %q", got, c.Source)
			}
			if got := m.Provenance["classes"]; c.ClassesFrom != "" && got != c.ClassesFrom {
				t.Errorf("classes from %q, want %q", got, c.ClassesFrom)
			}
			if c.NamesAs != "" && d.Names != c.NamesAs {
				t.Errorf("names as %q has them, want %q", d.Names, c.NamesAs)
			}
			ignored := strings.Join(d.Ignored, "\n")
			for _, want := range c.Ignored {
				if !strings.Contains(ignored, want) {
					t.Errorf("left out %q, want %q among it", ignored, want)
				}
			}
			if c.Prefix != "" && d.Prefix != c.Prefix {
				t.Errorf("prefix %q, want %q", d.Prefix, c.Prefix)
			}

			again, err := OpenFS(context.Background(), os.DirFS(vggtest.Fixture(t, "testdata/foreign")), file, o)
			if err != nil {
				t.Fatal(err)
			}
			if q, err := again.Posteriors(photo, scale); err != nil || !slices.Equal(q, p) {
				t.Errorf("from an fs.FS: %v, %v; want %v", q, err, p)
			}
			// It is the same network once it is saved.
			saved := filepath.Join(t.TempDir(), "saved.safetensors")
			if err := m.Save(context.Background(), saved); err != nil {
				t.Fatal(err)
			}
			if again, err = Open(context.Background(), saved, OpenOptions{}); err != nil {
				t.Fatal(err)
			}
			if q, err := again.Posteriors(photo, scale); err != nil || !slices.Equal(q, p) || !slices.Equal(again.Classes, m.Classes) {
				t.Errorf("saved: %v, %v, classes %q", q, err, again.Classes)
			}
		})
	}
}

// TestForeignErrors opens what contradicts itself. The names that the user gives settle it.
func TestForeignErrors(t *testing.T) {
	for name, c := range foreignCases(t) {
		if c.Error == "" || strings.Contains(name, "#") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			path := vggtest.Fixture(t, "testdata/foreign/"+name)
			_, err := Open(context.Background(), path, OpenOptions{Preprocess: c.Preprocess})
			if err == nil || !strings.Contains(err.Error(), c.Error) {
				t.Fatalf("error %v, want %q in it", err, c.Error)
			}
			if c.WithPrefix != "" {
				return
			}
			if !strings.Contains(err.Error(), "--labels") {
				t.Errorf("error %v, want --labels in it", err)
			}
			m, err := Open(context.Background(), path, OpenOptions{Preprocess: c.Preprocess, Classes: []string{"x", "y", "z"}})
			if err != nil || m.Classes[2] != "z" {
				t.Errorf("with classes given: %v", err)
			}
			if _, err := Open(context.Background(), path, OpenOptions{Preprocess: c.Preprocess, Headless: true}); err != nil {
				t.Errorf("headless: %v", err)
			}
		})
	}
}

// TestCutOff opens features that end in the middle of configuration D.
func TestCutOff(t *testing.T) {
	cases := foreignCases(t)
	x := tensor.New(1, 3, 16, 16)
	copy(x.Data, cases["cut_relu1_2.safetensors"].Input)
	for file, row := range map[string]string{
		"cut_relu1_2.safetensors": "1 1", "cut_relu2_1.safetensors": "1 1 M 2", "cut_relu3_3.safetensors": "1 1 M 2 2 M 4 4 4",
		"cut_relu4_3.safetensors": "1 1 M 2 2 M 4 4 4 M 8 8 8", "slices.pth": "1 1 M 2 2 M 4 4 4 M 8 8 8",
	} {
		t.Run(file, func(t *testing.T) {
			m, err := Open(context.Background(), vggtest.Fixture(t, "testdata/foreign/"+file), OpenOptions{Preprocess: "torchvision"})
			if err != nil {
				t.Fatal(err)
			}
			if o := m.Net.Options(); o.Config != row || !o.Headless() {
				t.Errorf("%+v, want headless %s", o, row)
			}
			if m.Provenance["end"] == "" {
				t.Error("no word that a pooling may follow")
			}
			y, err := m.Net.Forward(x)
			if err != nil {
				t.Fatal(err)
			}
			nearTool(t, "activation", y.Data, cases[file].Activation)
		})
	}
	// All of D's features end with its last pooling.
	d := identified(t, vggtest.Fixture(t, "testdata/foreign/cut_relu5_3.safetensors"), OpenOptions{Preprocess: "torchvision"})
	if d.Options.Config != "D" || d.Provenance["end"] != "" {
		t.Errorf("all convolutions: %s, %v", d.Options.Config, d.Provenance)
	}
}

// identified describes a file or a folder.
func identified(t *testing.T, path string, o OpenOptions) *Description {
	t.Helper()
	f, err := weights.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := Identify(t.Context(), f, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
