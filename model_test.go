package vgg

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/png"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// tinyModel is a network of three classes at a sixteenth of its width, on crops of 32×32,
// with random values, also of the statistics of batch normalisation.
func tinyModel(t testing.TB, config string) *Model {
	t.Helper()
	n, err := network.New(network.Options{Config: config, Classes: 3, Width: 1.0 / 16, FC: 12, Input: 32, Dropout: 0.5, LRN: nn.Caffe})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range n.Params() {
		v := make([]float32, p.Len())
		std := math.Sqrt(2 / float64(p.Len()/p.Shape[0])) // that of He et al.; about 1 for a bias
		for i := range v {
			v[i] = float32(std * rng.NormFloat64())
			if p.Running || strings.HasSuffix(p.Name, ".bn.weight") {
				v[i] = 0.5 + rng.Float32()
			}
		}
		if err := p.Set(v); err != nil {
			t.Fatal(err)
		}
	}
	return &Model{
		Net: n, Classes: []string{"cat", "dog", "größer als <ein> \"Pferd\""},
		Preprocess: preprocess.Spec{Name: "own", Scale: 1.0 / 255, Mean: [3]float32{0.4, 0.5, 0.1}, Std: [3]float32{0.2, 0.25, 0.3}, Filter: preprocess.Bicubic, Crop: 32, Resize: 36},
		Provenance: map[string]string{"trained_on": "noise", "recipe": "batch: 4\n"},
	}
}

// noise is an image of w × h pixels.
func noise(w, h int, seed uint64) *preprocess.Image {
	rng := rand.New(rand.NewPCG(seed, 3))
	im := preprocess.NewImage(w, h)
	for i := range im.Pix {
		im.Pix[i] = uint8(rng.UintN(256))
	}
	return im
}

func save(t testing.TB, m *Model) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.safetensors")
	if err := m.Save(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSaveAndOpen(t *testing.T) {
	for _, config := range []string{"A", "A-LRN", "C-BN", "B-shallow", "E-LRN"} {
		m := tinyModel(t, config)
		path := save(t, m)
		got, err := Open(t.Context(), path, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got.Net.Options() != m.Net.Options() || !slices.Equal(got.Classes, m.Classes) || got.Preprocess != m.Preprocess || !maps.Equal(got.Provenance, m.Provenance) {
			t.Errorf("%s: opened as %+v %+v, want %+v %+v", config, got.Net.Options(), got, m.Net.Options(), m)
		}
		params := got.Net.Params()
		for i, p := range m.Net.Params() {
			a, b := make([]float32, p.Len()), make([]float32, p.Len())
			if err := p.Get(a); err != nil {
				t.Fatal(err)
			}
			if err := params[i].Get(b); err != nil {
				t.Fatal(err)
			}
			if params[i].Name != p.Name || vggtest.SameBits(a, b) != nil {
				t.Errorf("%s: %s was changed by saving and opening", config, p.Name)
			}
		}
		im := noise(50, 40, 1)
		want, err := m.Classify(im, 3)
		if err != nil {
			t.Fatal(err)
		}
		if have, err := got.Classify(im, 3); err != nil || !slices.Equal(have, want) {
			t.Errorf("%s: predictions %v, %v, want %v", config, have, err, want)
		}
		if again, first := readFile(t, save(t, got)), readFile(t, path); string(again) != string(first) {
			t.Errorf("%s: saved again, the file differs", config)
		}
	}
}

// TestParameterNames has the names and shapes that other programs rely on.
func TestParameterNames(t *testing.T) {
	f, err := weights.Open(t.Context(), save(t, tinyModel(t, "A-BN")))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, shape := range map[string][]int{
		"conv1_1.weight": {4, 3, 3, 3}, "conv1_1.bias": {4}, "conv5_2.weight": {32, 32, 3, 3},
		"conv1_1.bn.weight": {4}, "conv1_1.bn.bias": {4}, "conv1_1.bn.running_mean": {4}, "conv1_1.bn.running_var": {4},
		"fc6.weight": {12, 32}, "fc6.bias": {12}, "fc7.weight": {12, 12}, "fc8.weight": {3, 12}, "fc8.bias": {3},
	} {
		if e, err := f.Lookup(name); err != nil || !slices.Equal(e.Shape, shape) {
			t.Errorf("%s: shape %v, %v, want %v", name, e.Shape, err, shape)
		}
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestClassify(t *testing.T) {
	m := tinyModel(t, "A")
	im := noise(64, 48, 1)
	all, err := m.Classify(im, 3)
	if err != nil {
		t.Fatal(err)
	}
	var sum float32
	for i, p := range all {
		sum += p.Probability
		if p.Class != m.Classes[p.Index] || i > 0 && p.Probability > all[i-1].Probability {
			t.Errorf("predictions %v: wrong names or order", all)
		}
	}
	if len(all) != 3 || math.Abs(float64(sum)-1) > 1e-6 {
		t.Errorf("%d predictions that sum to %v, want 3 that sum to 1", len(all), sum)
	}
	for k, want := range map[int]int{1: 1, 2: 2, 99: 3} {
		if top, err := m.Classify(im, k); err != nil || !slices.Equal(top, all[:want]) {
			t.Errorf("top %d: %v, %v, want %v", k, top, err, all[:want])
		}
	}
}

// TestExtremeImages: any image that has a pixel is rescaled to a crop.
func TestExtremeImages(t *testing.T) {
	m := tinyModel(t, "A")
	for _, size := range [][2]int{{1, 1}, {1, 20000}, {20000, 1}, {31, 33}, {36, 36}} {
		if top, err := m.Classify(noise(size[0], size[1], 1), 1); err != nil || len(top) != 1 {
			t.Errorf("%d×%d: %v, %v", size[0], size[1], top, err)
		}
	}
	for _, im := range []*preprocess.Image{{}, {W: 40, H: 40, Pix: make([]uint8, 5)}} {
		if top, err := m.Classify(im, 1); err == nil {
			t.Errorf("an image of %d×%d with %d bytes is %v", im.W, im.H, len(im.Pix), top)
		}
	}
	if _, err := m.Posteriors(noise(40, 40, 1), 31); err == nil || !strings.Contains(err.Error(), "scale 31") || !strings.Contains(err.Error(), "32") {
		t.Errorf("scale 31: %v", err)
	}
}

func TestClassifyFile(t *testing.T) {
	m := tinyModel(t, "A")
	dir := t.TempDir()
	im := noise(40, 44, 5)
	photo := image.NewRGBA(image.Rect(0, 0, im.W, im.H))
	for i := range im.W * im.H {
		photo.Set(i%im.W, i/im.W, color.RGBA{im.Pix[3*i], im.Pix[3*i+1], im.Pix[3*i+2], 255})
	}
	path := filepath.Join(dir, "photo.png")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(f, photo); err != nil {
		t.Fatal(err)
	}
	f.Close()
	want, err := m.Classify(im, 3)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.ClassifyFile(path, 3); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want what the image itself is classified as, %v", got, err, want)
	}
	text := filepath.Join(dir, "text.jpg")
	if err := os.WriteFile(text, []byte("a shopping list\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut.png")
	if err := os.WriteFile(cut, readFile(t, path)[:500], 0o666); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{text, cut, dir, filepath.Join(dir, "none.jpg")} {
		if top, err := m.ClassifyFile(p, 1); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: %v, %v, want an error that names the file", p, top, err)
		}
	}
}

// TestConcurrentUse: eight goroutines with one model get the results of one, for images of
// any sizes in any order.
func TestConcurrentUse(t *testing.T) {
	m := tinyModel(t, "A-BN")
	const images, goroutines = 6, 8
	var crops [images][]Prediction
	var maps [images]*tensor.Tensor
	input := func(i int) *tensor.Tensor { return vggtest.Ramp(tensor.New(1+i%2, 3, 32+16*(i%3), 32+7*i)) }
	for i := range images {
		var err error
		if crops[i], err = m.Classify(noise(40+9*i, 60-3*i, uint64(i)), 3); err != nil {
			t.Fatal(err)
		}
		maps[i] = vggtest.Forward(t, m.Net, input(i))
	}
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for j := range images {
				i := (g + j) % images
				top, err := m.Classify(noise(40+9*i, 60-3*i, uint64(i)), 3)
				if err != nil || !slices.Equal(top, crops[i]) {
					t.Errorf("image %d: %v, %v, want %v", i, top, err, crops[i])
				}
				if y, err := m.Net.Forward(input(i)); err != nil || vggtest.SameBits(y.Data, maps[i].Data) != nil {
					t.Errorf("map %d: other values than alone (%v)", i, err)
				}
			}
		})
	}
	wg.Wait()
}

// edited is a copy of a tiny model's file with changed metadata and tensors.
func edited(t *testing.T, config string, edit func(meta map[string]string, tensors []weights.Source) []weights.Source) string {
	t.Helper()
	m := tinyModel(t, config)
	f, err := weights.Open(t.Context(), save(t, m))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	meta := f.Metadata()
	path := filepath.Join(t.TempDir(), "edited.safetensors")
	if err := weights.WriteSafetensors(path, meta, edit(meta, interchange.NativeTensors(m.Net))); err != nil {
		t.Fatal(err)
	}
	return path
}

func withMeta(t *testing.T, edit func(meta map[string]string)) string {
	return edited(t, "A", func(meta map[string]string, s []weights.Source) []weights.Source {
		edit(meta)
		return s
	})
}

func withTensors(t *testing.T, edit func([]weights.Source) []weights.Source) string {
	return edited(t, "A", func(_ map[string]string, s []weights.Source) []weights.Source { return edit(s) })
}

// replaced sets a key of the options in the metadata.
func replaced(t *testing.T, old, new string) string {
	return withMeta(t, func(meta map[string]string) {
		if !strings.Contains(meta[metaOptions], old) {
			t.Fatalf("no %s in %s", old, meta[metaOptions])
		}
		meta[metaOptions] = strings.Replace(meta[metaOptions], old, new, 1)
	})
}

// TestUnfitFiles: a file that doesn't fit is an error that names the file and the value,
// and no memory is allocated for a size that the file only claims.
func TestUnfitFiles(t *testing.T) {
	whole := readFile(t, save(t, tinyModel(t, "A")))
	raw := func(data []byte) string {
		path := filepath.Join(t.TempDir(), "raw.safetensors")
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	huge := slices.Clone(whole)
	binary.LittleEndian.PutUint64(huge, 1<<60)
	extra := weights.FromTensor("conv9_9.weight", tensor.New(2, 2))
	for _, c := range []struct {
		what, path string
		want       []string
	}{
		{"another configuration", replaced(t, `"A"`, `"B"`), []string{"conv1_2.weight: no such tensor"}},
		{"a deeper one's weights", edited(t, "D", func(meta map[string]string, s []weights.Source) []weights.Source {
			meta[metaOptions] = strings.Replace(meta[metaOptions], `"D"`, `"A"`, 1)
			return s
		}), []string{"conv1_2.weight: the network has no such parameter", "more"}},
		{"batch normalisation left out", replaced(t, `"A"`, `"A-BN"`), []string{"conv1_1.bn.weight: no such tensor"}},
		{"another number of classes", withMeta(t, func(meta map[string]string) {
			meta[metaOptions] = strings.Replace(meta[metaOptions], `"classes":3`, `"classes":4`, 1)
			meta[metaClasses] = `["a","b","c","d"]`
		}), []string{"fc8.weight: shape [3 12], want [4 12]", "fc8.bias: shape [3], want [4]"}},
		{"another width", replaced(t, `"width":0.0625`, `"width":0.125`), []string{"conv1_1.weight: shape [4 3 3 3], want [8 3 3 3]"}},
		{"another size of fc6", replaced(t, `"fc":12`, `"fc":13`), []string{"fc6.weight: shape [12 32], want [13 32]"}},
		{"another input side", replaced(t, `"input":32`, `"input":64`), []string{"fc6.weight: shape [12 32], want [12 128]"}},
		{"an absurd size of fc6", replaced(t, `"fc":12`, `"fc":1099511627776`), []string{"1099511627776 units"}},
		{"a large network claimed", replaced(t, `"fc":12`, `"fc":1000000`), []string{"fc7.weight: shape [12 12], want [1000000 1000000]"}},
		{"an absurd width", replaced(t, `"width":0.0625`, `"width":1e9`), []string{"width 1e+09"}},
		{"an unknown configuration", replaced(t, `"A"`, `"Z"`), []string{`configuration "Z"`}},
		{"too few class names", withMeta(t, func(meta map[string]string) { meta[metaClasses] = `["a","b"]` }), []string{"2 class names, want 3"}},
		{"class names that are none", withMeta(t, func(meta map[string]string) { meta[metaClasses] = `[1,2,3]` }), []string{metaClasses}},
		{"no classes", withMeta(t, func(meta map[string]string) { delete(meta, metaClasses) }), []string{metaClasses}},
		{"no preprocessing", withMeta(t, func(meta map[string]string) { delete(meta, metaPreprocess) }), []string{metaPreprocess}},
		{"impossible preprocessing", withMeta(t, func(meta map[string]string) {
			meta[metaPreprocess] = strings.Replace(meta[metaPreprocess], `"crop":32`, `"crop":0`, 1)
		}), []string{"crop 0"}},
		{"no metadata", withMeta(t, func(meta map[string]string) { clear(meta) }), []string{"--input 32", "--head"}},
		{"options that are no JSON", withMeta(t, func(meta map[string]string) { meta[metaOptions] = "{" }), []string{metaOptions}},
		{"a tensor left out", withTensors(t, func(s []weights.Source) []weights.Source { return s[1:] }), []string{"conv1_1.weight: no such tensor"}},
		{"one too many", withTensors(t, func(s []weights.Source) []weights.Source { return append(s, extra) }), []string{"conv9_9.weight: the network has no such parameter"}},
		{"integers", raw(bytes.Replace(whole, []byte(`"dtype":"F32"`), []byte(`"dtype":"I32"`), 1)), []string{"conv1_1.weight: dtype I32"}},
		{"truncated data", raw(whole[:len(whole)-10]), []string{"fc8.bias", "truncated"}},
		{"a truncated header", raw(whole[:100]), []string{"truncated"}},
		{"a header of 2^60 bytes", raw(huge), []string{"1152921504606846976 bytes"}},
		{"an empty file", raw(nil), []string{"empty"}},
		{"text", raw([]byte("these are no weights at all\n")), []string{"text"}},
		{"a directory", t.TempDir(), []string{"a directory"}},
		{"no file", filepath.Join(t.TempDir(), "none.safetensors"), []string{"no such file"}},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := Open(t.Context(), c.path, OpenOptions{})
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: opened", c.what)
			continue
		}
		for _, w := range append(c.want, c.path) {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q in it", c.what, err, w)
			}
		}
		if m != nil {
			t.Errorf("%s: a model besides the error", c.what)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
			t.Errorf("%s: %d MB allocated", c.what, got>>20)
		}
	}
}

// TestWithoutProvenance: a file may lack provenance.
func TestWithoutProvenance(t *testing.T) {
	m, err := Open(t.Context(), withMeta(t, func(meta map[string]string) { delete(meta, metaProvenance) }), OpenOptions{})
	if err != nil || len(m.Provenance) != 0 {
		t.Errorf("%v", err)
	}
}

// TestSaveUnfit: a model that couldn't be opened again is not saved, and the earlier file
// stays.
func TestSaveUnfit(t *testing.T) {
	m := tinyModel(t, "A")
	path := save(t, m)
	before := readFile(t, path)
	for what, change := range map[string]func(*Model){
		"2 class names": func(m *Model) { m.Classes = m.Classes[:2] },
		"scale 0":       func(m *Model) { m.Preprocess.Scale = 0 },
	} {
		bad := *m
		change(&bad)
		if err := bad.Save(t.Context(), path); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v, want an error that names the file and %q", err, what)
		}
	}
	if string(readFile(t, path)) != string(before) {
		t.Error("the earlier file was changed")
	}
	none := filepath.Join(t.TempDir(), "none", "m.safetensors")
	if err := m.Save(t.Context(), none); err == nil || !strings.Contains(err.Error(), none) {
		t.Errorf("%v, want an error that names the file", err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("%v beside the file (%v), want nothing", left, err)
	}
}

// TestDenseIsTheClassifier: on an image of exactly the crop's size the class score map
// is the classifier's output, alone or in a batch, bit for bit.
func TestDenseIsTheClassifier(t *testing.T) {
	for _, config := range []string{"A", "D-BN", "B-shallow"} {
		m := tinyModel(t, config)
		const images = 3
		batch := tensor.New(images, 3, 32, 32)
		for i := range images {
			m.Preprocess.Tensor(batch.Index(i).Data, noise(32, 32, uint64(i)), [3]float32{})
		}
		maps := vggtest.Forward(t, m.Net, batch)
		if !slices.Equal(maps.Shape, []int{images, 3, 1, 1}) {
			t.Fatalf("%s: map of %v", config, maps.Shape)
		}
		for i := range images {
			p := make([]float32, 3)
			metrics.Softmax(p, maps.Index(i).Data)
			want, err := m.Posteriors(noise(32, 32, uint64(i)), 32)
			if err != nil {
				t.Fatal(err)
			}
			if vggtest.SameBits(p, want) != nil {
				t.Errorf("%s: image %d: %v by the map, %v by the classifier", config, i, p, want)
			}
		}
	}
}

// TestHeadless: the features of a headless network are those of the whole one.
func TestHeadless(t *testing.T) {
	for _, config := range []string{"A", "D-BN", "8 M 8bn 8 FC"} {
		o := network.Options{Config: config, Classes: 0, Width: 1.0 / 16, FC: 0, Input: 32, LRN: nn.Caffe}
		n, err := network.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Init(network.He, 3); err != nil {
			t.Fatal(err)
		}
		a, err := architecture.Parse(config)
		if err != nil {
			t.Fatal(err)
		}
		least := 1 << a.Poolings()
		y := vggtest.Forward(t, n, vggtest.Ramp(tensor.New(1, 3, 2*least, 3*least)))
		c := n.Params()[len(n.Params())-1].Shape[0]
		if !slices.Equal(y.Shape, []int{1, c, 2, 3}) {
			t.Errorf("%s: output %v, want [1 %d 2 3]", config, y.Shape, c)
		}
		if _, err := n.Forward(tensor.New(1, 3, least-1, 99)); err == nil {
			t.Errorf("%s: an image of side %d went through, want an error", config, least-1)
		}
		for _, p := range n.Params() {
			if strings.HasPrefix(p.Name, "fc") {
				t.Errorf("%s: %s in a headless network", config, p.Name)
			}
		}
		m := &Model{Net: n, Preprocess: tinyModel(t, "A").Preprocess}
		if _, err := m.Classify(noise(40, 40, 1), 1); err == nil || !strings.Contains(err.Error(), "features") {
			t.Errorf("%s: classified by the features alone: %v", config, err)
		}
		again, err := Open(t.Context(), save(t, m), OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if z := vggtest.Forward(t, again.Net, vggtest.Ramp(tensor.New(1, 3, 2*least, 3*least))); vggtest.SameBits(y.Data, z.Data) != nil {
			t.Errorf("%s: saved and opened, the features differ", config)
		}
	}
}
