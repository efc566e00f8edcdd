package preprocess

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func readImage(t testing.TB, name string, o DecodeOptions) *Image {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	im, err := Decode(data, o)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return im
}

// difference returns the largest and the mean difference of two images in grey
// levels.
func difference(t testing.TB, got, want *Image) (most int, mean float64) {
	t.Helper()
	if got.W != want.W || got.H != want.H {
		t.Fatalf("got %d×%d pixels, want %d×%d", got.W, got.H, want.W, want.H)
	}
	sum := 0
	for i := range want.Pix {
		d := int(got.Pix[i]) - int(want.Pix[i])
		d = max(d, -d)
		most = max(most, d)
		sum += d
	}
	return most, float64(sum) / float64(len(want.Pix))
}

func TestResizeEqualsPIL(t *testing.T) {
	var cases []struct {
		Source, Want string
		W, H         int
		Filter       Filter
	}
	readJSON(t, "resize.json", &cases)
	if len(cases) < 40 {
		t.Fatalf("%d cases, want at least 40", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Want, func(t *testing.T) {
			source := readImage(t, "resize/"+c.Source, DecodeOptions{})
			want := readImage(t, "resize/"+c.Want, DecodeOptions{})
			got, err := Resize(source, c.W, c.H, c.Filter)
			if err != nil {
				t.Fatal(err)
			}
			if most, mean := difference(t, got, want); most > 0 {
				t.Errorf("differs from PIL by up to %d grey levels, %.4f on average, want the same bits", most, mean)
			}
		})
	}
}

// Squashed images are torchvision's Resize((s, s)) and CenterCrop of the share that timm calls
// crop_pct, to the bit.
func TestSquashEqualsTorchvision(t *testing.T) {
	var cases []struct {
		Source, Want string
		Share        float64
		Resize, Crop int
		Filter       Filter
	}
	readJSON(t, "squash.json", &cases)
	if len(cases) < 14 {
		t.Fatalf("%d cases, want at least 14", len(cases))
	}
	for _, c := range cases {
		if q := int(float64(c.Crop) / c.Share); q != c.Resize {
			t.Errorf("%s: a share of %v is %d pixels, want %d", c.Want, c.Share, q, c.Resize)
		}
		source := readImage(t, "resize/"+c.Source, DecodeOptions{})
		want := readImage(t, "squash/"+c.Want, DecodeOptions{})
		got, err := Spec{Fit: Squash}.CentreWindow(source.W, source.H, c.Resize, c.Crop).Cut(source, c.Filter)
		if err != nil {
			t.Fatal(err)
		}
		if most, mean := difference(t, got, want); most > 0 {
			t.Errorf("%s: differs by up to %d grey levels, %.4f on average, want the same bits", c.Want, most, mean)
		}
	}
}

func TestDecodeEqualsPIL(t *testing.T) {
	var cases []struct {
		File, Want string
		Orient     bool
	}
	readJSON(t, "decode.json", &cases)
	if len(cases) < 40 {
		t.Fatalf("%d cases, want at least 40", len(cases))
	}
	for _, c := range cases {
		t.Run(c.File, func(t *testing.T) {
			var o DecodeOptions
			if c.Orient {
				o.Orient = Upright
			}
			want := readImage(t, "decode/"+c.Want, DecodeOptions{})
			got := readImage(t, "decode/"+c.File, o)
			most, mean := difference(t, got, want)
			mostAllowed, meanAllowed := 0, 0.0
			if filepath.Ext(c.File) == ".jpg" {
				mostAllowed, meanAllowed = 3, 0.3 // another inverse DCT
			}
			if most > mostAllowed || mean > meanAllowed {
				t.Errorf("differs from PIL by up to %d grey levels, %.4f on average, want at most %d and %.1f", most, mean, mostAllowed, meanAllowed)
			}
		})
	}
}

func TestSpecTensorEqualsNumpy(t *testing.T) {
	var golden struct {
		W, H   int
		Pixels []int
		Cases  []struct {
			Preset string
			Shift  [3]float32
			Want   []float64
		}
	}
	readJSON(t, "spec.json", &golden)
	im := NewImage(golden.W, golden.H)
	for i, v := range golden.Pixels {
		im.Pix[i] = uint8(v)
	}
	seen := map[string]int{}
	for _, c := range golden.Cases {
		seen[c.Preset]++
		s, err := Preset(c.Preset)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float32, 3*im.W*im.H)
		s.Tensor(got, im, c.Shift)
		for i, want := range c.Want {
			// Two float32 roundings of numbers up to 255 (2.2 on torchvision's scale, times 1/0.225).
			if bound := 4e-5 * math.Max(float64(s.Scale), 0.1); math.Abs(float64(got[i])-want) > bound {
				t.Errorf("%s, shift %v: y[%d] = %v, want %v", c.Preset, c.Shift, i, got[i], want)
				break
			}
		}
	}
	for _, s := range presets() {
		if seen[s.Name] != 2 {
			t.Errorf("preset %s: %d golden tensors, want 2", s.Name, seen[s.Name])
		}
	}
}

func TestStatsEqualNumpy(t *testing.T) {
	var golden struct {
		Files           []string
		Pixels          int64
		Mean            [3]float64
		Eigenvalues     [3]float64
		Eigenvectors    [3][3]float64
		Alpha           [3]float64
		Shift           [3]float64
		ShiftEigenvalue [3]float64 `json:"shift_eigenvalue"`
	}
	readJSON(t, "stats.json", &golden)
	var a StatsAccumulator
	for _, f := range golden.Files {
		a.Add(readImage(t, f, DecodeOptions{}))
	}
	s, err := a.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.Pixels != golden.Pixels {
		t.Errorf("%d pixels, want %d", s.Pixels, golden.Pixels)
	}
	shift, shiftEigenvalue := s.Shift(golden.Alpha), s.ShiftEigenvalue(golden.Alpha)
	for i := range 3 {
		near(t, "mean", s.Mean[i], golden.Mean[i], 1e-12)
		near(t, "eigenvalue", s.Eigenvalues[i], golden.Eigenvalues[i], 1e-10)
		for c := range 3 {
			near(t, "eigenvector", s.Eigenvectors[i][c], golden.Eigenvectors[i][c], 1e-9)
		}
		near(t, "shift", float64(shift[i]), golden.Shift[i], 1e-6)
		near(t, "eigenvalue shift", float64(shiftEigenvalue[i]), golden.ShiftEigenvalue[i], 1e-6)
	}
}

func near(t *testing.T, what string, got, want, relative float64) {
	t.Helper()
	if !(math.Abs(got-want) <= relative*math.Max(math.Abs(want), 1)) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
