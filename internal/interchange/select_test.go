package interchange

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/weights"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// fileOf opens a file with tensors of these names. Each is a single 1, or has the values.
func fileOf(t *testing.T, names []string, values map[string][]float32) *weights.File {
	t.Helper()
	var sources []weights.Source
	for _, name := range names {
		v := values[name]
		if v == nil {
			v = []float32{1}
		}
		sources = append(sources, weights.Source{Name: name, Shape: []int{len(v)}, Data: func(yield func([]float32) bool) { yield(v) }})
	}
	path := filepath.Join(t.TempDir(), "file.safetensors")
	if err := weights.WriteSafetensors(path, nil, sources); err != nil {
		t.Fatal(err)
	}
	f, err := weights.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestSelect(t *testing.T) {
	for _, c := range []struct {
		name, prefix string
		in, ignore   []string
		want         []string // names in the view, in order
		left         string   // lines of what is left out
		stripped     string
	}{
		{name: "plain", in: []string{"conv1_1.weight", "conv1_1.bias"}, want: []string{"conv1_1.bias", "conv1_1.weight"}},
		{name: "wrappers", in: []string{"model.net.0.weight", "model.net.2.weight"}, want: []string{"0.weight", "2.weight"}, stripped: "model.net."},
		{name: "not shared", in: []string{"model.0.weight", "net.2.weight"}, want: []string{"model.0.weight", "net.2.weight"}},
		{name: "a layer's name", in: []string{"vgg.weight", "vgg.bias"}, want: []string{"vgg.bias", "vgg.weight"}},
		{name: "leftovers", in: []string{"features.0.weight", "n_averaged", "criterion.w", "total_ops", "a.total_params", "features.1.num_batches_tracked", "optimizer.0.step", "train_acc.total", "b.exp_avg"},
			want: []string{"features.0.weight"}, left: "PyTorch's counter of batches in batch normalisation"},
		{name: "prefix", prefix: "backbone.", in: []string{"backbone.features.0.weight", "head.weight"}, want: []string{"features.0.weight"},
			left: `head.weight: not below the prefix "backbone."`, stripped: "backbone."},
		{name: "ignore", ignore: []string{"aux*", "?.b"}, in: []string{"aux.1.w", "aux2", "w.b", "wx.b"}, want: []string{"wx.b"}, left: "aux.1.w, aux2: matches --ignore aux*\nw.b: matches --ignore ?.b"},
		{name: "many", ignore: []string{"x*"}, in: []string{"x1", "x2", "x3", "x4", "y"}, want: []string{"y"}, left: "x1, x2, x3 and 1 more: matches --ignore x*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			slices.Sort(c.in)
			s, err := Select(fileOf(t, c.in, nil), c.prefix, c.ignore)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, e := range s.File.Tensors() {
				names = append(names, e.Name)
			}
			slices.Sort(names)
			if !slices.Equal(names, c.want) {
				t.Errorf("%q, want %q", names, c.want)
			}
			if left := strings.Join(s.Ignored, "\n"); !strings.Contains(left, c.left) || c.left == "" && left != "" {
				t.Errorf("left out %q, want %q", left, c.left)
			}
			if s.Prefix != c.stripped {
				t.Errorf("prefix %q, want %q", s.Prefix, c.stripped)
			}
		})
	}
	f := fileOf(t, []string{"a.x.w", "b.w"}, nil)
	if _, err := Select(f, "c.", nil); err == nil || err.Error() != `no tensor below the prefix "c.": the names begin with a., b.` {
		t.Error(err)
	}
	if _, err := Select(f, "", []string{"c*"}); err == nil || err.Error() != "no tensor matches --ignore c*" {
		t.Error(err)
	}
}

func TestSelectNormalize(t *testing.T) {
	mean, std := []float32{0.5, 0.4, 0.3}, []float32{0.2, 0.3, 0.4}
	for _, names := range [][2]string{{"mean", "std"}, {"normalize.mean", "normalize.std"}, {"0.mean", "0.std"}, {"pixel_mean", "pixel_std"}, {"net.imagenet_mean", "net.imagenet_std"}} {
		s, err := Select(fileOf(t, []string{names[0], names[1], "features.0.weight"}, map[string][]float32{names[0]: mean, names[1]: std}), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.Normalize; n == nil || !slices.Equal(n.Mean[:], mean) || !slices.Equal(n.Std[:], std) || len(s.File.Tensors()) != 1 {
			t.Errorf("%s: %+v beside %v", names, n, s.File.Tensors())
		}
	}
	both := map[string][]float32{"a.mean": mean, "a.std": std, "b.mean": mean, "b.std": std}
	f := fileOf(t, []string{"a.mean", "a.std", "b.mean", "b.std"}, both)
	if _, err := Select(f, "", nil); err == nil || !strings.HasPrefix(err.Error(), "two normalisations of the input, a.mean, a.std and b.mean, b.std") {
		t.Error(err)
	}
	if s, err := Select(f, "", []string{"b.*"}); err != nil || s.Normalize == nil {
		t.Error(err)
	}
	// A lone mean is no normalisation, nor are buffers of other lengths.
	s, err := Select(fileOf(t, []string{"a.mean", "b.mean", "b.std"}, map[string][]float32{"a.mean": mean, "b.mean": {1, 2}, "b.std": {1, 2}}), "", nil)
	if err != nil || s.Normalize != nil || len(s.File.Tensors()) != 3 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestNormalizeSpec(t *testing.T) {
	for _, c := range []struct {
		mean, std [3]float32
		scale     float32 // 0: an error
	}{
		{[3]float32{0.485, 0.456, 0.406}, [3]float32{0.229, 0.224, 0.225}, 1.0 / 255},
		{[3]float32{0.5, 0.5, 0.5}, [3]float32{1, 1, 1}, 1.0 / 255},
		{[3]float32{123.68, 116.78, 103.94}, [3]float32{58.4, 57.1, 57.4}, 1},
		{[3]float32{123.68, 116.78, 103.94}, [3]float32{1, 1, 1}, 1},
		{[3]float32{}, [3]float32{255, 255, 255}, 1},
		{[3]float32{}, [3]float32{1, 1, 1}, 0},                                // of any range
		{[3]float32{103.53, 116.28, 123.68}, [3]float32{57.4, 57.1, 58.4}, 0}, // BGR
		{[3]float32{-0.03, -0.088, -0.188}, [3]float32{0.458, 0.448, 0.45}, 0},
		{[3]float32{0.5, 0.5, 0.5}, [3]float32{0, 1, 1}, 0},
		{[3]float32{127.5, 127.5, 127.5}, [3]float32{127.5, 127.5, 127.5}, 1},
	} {
		s, err := (&Normalize{Source: "n", Mean: c.mean, Std: c.std}).Spec()
		if c.scale == 0 {
			if err == nil || !strings.Contains(err.Error(), "--preprocess") {
				t.Errorf("%v, %v: %+v, error %v", c.mean, c.std, s, err)
			}
			continue
		}
		if err != nil || s.Scale != c.scale || s.Mean != c.mean || s.Std != c.std {
			t.Errorf("%v, %v: %+v, %v", c.mean, c.std, s, err)
		}
	}
}

// TestSharedStart: a number that is the beginning of another is another number.
func TestSharedStart(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"fc.1", "fc.10", 3}, {"fc.10", "fc.1", 3}, {"fc.12", "fc.13", 3}, {"fc.1", "fc.1", 4},
		{"1", "10", 0}, {"conv1", "conv1_bn", 5}, {"conv1", "conv12_bn", 4}, {"block1.0", "block1.1", 7}, {"conv1", "bn1", 0},
	} {
		if got := sharedStart(c.a, c.b); got != c.want {
			t.Errorf("%s, %s: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
