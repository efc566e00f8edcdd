package vgg

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

func TestParseClasses(t *testing.T) {
	want := []string{"cat", "dog", "a b"}
	for _, text := range []string{
		"cat\ndog\na b\n",
		"\ufeffcat\r\ndog\r\na b",
		"0 cat\n1 dog\n2 a b",
		"0: cat\n1: dog\n2: a b",
		`["cat", "dog", "a b"]`,
		`{"dog": 1, "a b": 2, "cat": 0}`,
		`{"2": "a b", "0": "cat", "1": "dog"}`,
		`{"0": ["n1", "cat"], "1": ["n2", "dog"], "2": ["n3", "a_b"]}`,
	} {
		if got, err := ParseClasses([]byte(text)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	// Names that happen to be numbers: the values are the indices.
	if got, err := ParseClasses([]byte(`{"10": 1, "1": 0, "2": 2}`)); err != nil || !slices.Equal(got, []string{"1", "10", "2"}) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := ParseClasses([]byte("0 cat\n2 dog")); err != nil || got[1] != "2 dog" {
		t.Errorf("numbers that are no indices: %q, %v", got, err)
	}
	for text, want := range map[string]string{
		" \n":                  "empty",
		`[1, 2]`:               "want a list of names",
		`{"cat": 0, "dog": 2}`: "2 classes, but none of index 1",
		`{"cat": 0, "dog": 0}`: `"cat" and "dog" both have index 0`,
		`{"cat": "dog"}`:       `"cat": "dog", want `,
		`{"0": []}`:            `"0": [], want `,
		`{"cat": 0`:            "unexpected end of JSON input",
	} {
		if got, err := ParseClasses([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, error %v, want %q", text, got, err, want)
		}
	}
}

// besideFolder is a folder with a network of 3 classes, and texts beside it.
func besideFolder(t *testing.T, weights string, texts map[string]string) fstest.MapFS {
	t.Helper()
	data, err := os.ReadFile(vggtest.Fixture(t, weights))
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{"m/best.pth": {Data: data}}
	for name, text := range texts {
		files["m/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

func openBeside(fsys fs.FS, o OpenOptions) (*Model, error) {
	return OpenFS(context.Background(), fsys, "m", o)
}

const (
	plainWeights = "testdata/foreign/labels/best.pth" // tells neither classes nor preprocessing
	timmText     = `{"architecture": %q, "num_classes": 3, "pretrained_cfg": {"input_size": [3, 224, 224], "interpolation": %q, "crop_pct": 0.8, "crop_mode": %q, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}`
	processor    = `{"image_processor_type": %q, "size": %s, "crop_size": {"height": 224, "width": 224}, "do_center_crop": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "resample": 2}`
)

func TestBesidePreprocess(t *testing.T) {
	half := [3]float32{0.5, 0.5, 0.5}
	quarter := [3]float32{0.25, 0.25, 0.25}
	bilinear := preprocess.Spec{Scale: 1.0 / 255, Mean: half, Std: quarter, Crop: 224, Resize: 280, Orient: preprocess.Upright}
	bicubic, larger, grey, squash, whole := bilinear, bilinear, bilinear, bilinear, bilinear
	squash.Fit = preprocess.Squash
	whole.Fit, whole.Resize = preprocess.Squash, 224
	bicubic.Filter = preprocess.Bicubic
	larger.Crop, larger.Resize = 250, 312
	grey.Scale, grey.Mean, grey.Std = 1, [3]float32{}, [3]float32{1, 1, 1}
	text := fmt.Sprintf(timmText, "mine", "bilinear", "center")
	for name, c := range map[string]struct {
		texts map[string]string
		want  preprocess.Spec
	}{
		"timm":         {map[string]string{"config.json": text}, bilinear},
		"bicubic":      {map[string]string{"config.json": fmt.Sprintf(timmText, "mine", "bicubic", "")}, bicubic},
		"squash":       {map[string]string{"config.json": fmt.Sprintf(timmText, "mine", "bilinear", "squash")}, squash},
		"square":       {map[string]string{"preprocessor_config.json": fmt.Sprintf(processor, "ViTImageProcessor", `{"height": 280, "width": 280}`)}, squash},
		"whole square": {map[string]string{"preprocessor_config.json": strings.Replace(fmt.Sprintf(processor, "ViTImageProcessor", `{"height": 224, "width": 224}`), "true", "false", 1)}, whole},
		"larger crop":  {map[string]string{"config.json": strings.ReplaceAll(text, "224, 224", "250, 250")}, larger},
		"transformers": {map[string]string{"preprocessor_config.json": fmt.Sprintf(processor, "CLIPImageProcessor", `{"shortest_edge": 280}`)}, bilinear},
		"both":         {map[string]string{"config.json": text, "preprocessor_config.json": fmt.Sprintf(processor, "CLIPImageProcessor", `{"shortest_edge": 280}`)}, bilinear},
		"ConvNext":     {map[string]string{"preprocessor_config.json": strings.Replace(fmt.Sprintf(processor, "ConvNextImageProcessor", `{"shortest_edge": 224}`), `"resample"`, `"crop_pct": 0.8, "resample"`, 1)}, bilinear},
		"no rescaling": {map[string]string{"preprocessor_config.json": `{"size": {"shortest_edge": 280}, "crop_size": {"height": 224, "width": 224}, "do_rescale": false, "do_normalize": false, "resample": 2}`}, grey},
	} {
		m, err := openBeside(besideFolder(t, plainWeights, c.texts), OpenOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c.want.Name = m.Preprocess.Name
		if c.texts["config.json"] == "" { // Transformers'
			c.want.Centre = preprocess.Floor
		}
		if m.Preprocess != c.want || m.Net.Options().Input != c.want.Crop {
			t.Errorf("%s: %+v for an input of %d, want %+v", name, m.Preprocess, m.Net.Options().Input, c.want)
		}
	}
}

// ConvNextImageProcessor squashes images to 384 pixels or more, and crops smaller ones.
func TestConvNextSquashes(t *testing.T) {
	s, err := processorPreprocess(fmt.Sprintf(processor, "ConvNextImageProcessor", `{"shortest_edge": 384}`), 384)
	if err != nil || s == nil || s.Fit != preprocess.Squash || s.Resize != 384 || s.Crop != 384 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestBesideErrors(t *testing.T) {
	text := fmt.Sprintf(timmText, "mine", "bilinear", "center")
	clip := fmt.Sprintf(processor, "CLIPImageProcessor", `{"shortest_edge": 280}`)
	for _, c := range []struct {
		name  string
		texts map[string]string
		want  string
	}{
		{"nothing", nil, "nothing tells what preprocessing"},
		{"empty config", map[string]string{"config.json": "{}"}, "nothing tells what preprocessing"},
		{"malformed", map[string]string{"config.json": "{"}, "config.json: unexpected end"},
		{"border", map[string]string{"config.json": fmt.Sprintf(timmText, "mine", "bilinear", "border")}, `crop_mode "border"`},
		{"nearest", map[string]string{"config.json": fmt.Sprintf(timmText, "mine", "nearest", "center")}, `interpolation "nearest", want bilinear or bicubic`},
		{"no square", map[string]string{"config.json": strings.ReplaceAll(text, "224, 224", "224, 48")}, "input_size 3 224 48, want 3 channels and a square"},
		{"share", map[string]string{"config.json": strings.ReplaceAll(text, "0.8", "1.5")}, "crop_pct 1.5"},
		{"mean", map[string]string{"config.json": strings.ReplaceAll(text, "[0.5, 0.5, 0.5]", "[0.5]")}, "mean of 1 numbers, standard deviation of 3, want three each"},
		{"side", map[string]string{"config.json": strings.ReplaceAll(text, "224, 224", "64, 64")}, "crops of 64 pixels in the metadata or in a config beside the weights: classifier.0.weight: fan-in 294, 6 channels of 7×7 pixels, is that of inputs of 224 to 255 pixels, want 64"},
		{"architecture", map[string]string{"config.json": fmt.Sprintf(timmText, "vgg16.tv_in1k", "bilinear", "center")}, `architecture "vgg16.tv_in1k" in config.json, but the weights are those of 2 M 4 M`},
		{"classes", map[string]string{"config.json": strings.Replace(text, `"num_classes": 3`, `"num_classes": 5`, 1)}, "num_classes 5 in config.json, but the weights have 3"},
		{"names", map[string]string{"config.json": strings.Replace(text, `"num_classes"`, `"label_names": ["a", "b"], "num_classes"`, 1)}, "label_names of config.json: 2 classes, want the network's 3"},
		{"id2label", map[string]string{"config.json": strings.Replace(text, `"num_classes"`, `"id2label": {"0": "a", "2": "b"}, "num_classes"`, 1)}, "config.json: id2label: 2 classes, but none of index 1: name the classes (--labels)"},
		{"two configs", map[string]string{"config.json": text, "preprocessor_config.json": strings.Replace(clip, "280", "281", 1)}, "config.json and preprocessor_config.json describe different preprocessing: choose one (--preprocess)"},
		{"oblong", map[string]string{"preprocessor_config.json": fmt.Sprintf(processor, "ViTImageProcessor", `{"height": 40, "width": 44}`)}, `want {"shortest_edge": 256} or`},
		{"squashed and not", map[string]string{"config.json": text, "preprocessor_config.json": fmt.Sprintf(processor, "ViTImageProcessor", `{"height": 280, "width": 280}`)}, "describe different preprocessing"},
		{"one size", map[string]string{"preprocessor_config.json": fmt.Sprintf(processor, "Unknown", "40")}, "size 40, want "},
		{"lanczos", map[string]string{"preprocessor_config.json": strings.Replace(clip, `"resample": 2`, `"resample": 1`, 1)}, "resample 1, want 2 (bilinear) or 3 (bicubic)"},
		{"no crop", map[string]string{"preprocessor_config.json": strings.Replace(clip, "true", "false", 1)}, "want a square crop"},
		{"lists", map[string]string{"config.json": text, "labels.txt": "a\nb\nc", "class_indices.json": `{"a": 0, "c": 1, "b": 2}`}, `labels.txt and class_indices.json name different classes: of index 1, "b" and "c": choose one (--labels)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := openBeside(besideFolder(t, plainWeights, c.texts), OpenOptions{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

// Names that tools write where they know none tell nothing.
func TestPlaceholderClasses(t *testing.T) {
	text := strings.Replace(fmt.Sprintf(timmText, "mine", "bilinear", "center"), `"num_classes"`, `"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, "num_classes"`, 1)
	m, err := openBeside(besideFolder(t, plainWeights, map[string]string{"config.json": text}), OpenOptions{})
	if err != nil || !slices.Equal(m.Classes, []string{"0", "1", "2"}) {
		t.Fatalf("%v, %v", m, err)
	}
	files := besideFolder(t, plainWeights, map[string]string{"config.json": text, "labels.txt": "a\nb\nc"})
	if m, err = openBeside(files, OpenOptions{}); err != nil || !slices.Equal(m.Classes, []string{"a", "b", "c"}) {
		t.Fatalf("%v, %v", m, err)
	}
}

// A normalisation inside the model and one beside it would both apply.
func TestNormalizedTwice(t *testing.T) {
	const inside = "testdata/foreign/normalize.safetensors"
	_, err := openBeside(besideFolder(t, inside, map[string]string{"config.json": fmt.Sprintf(timmText, "mine", "bilinear", "center")}), OpenOptions{})
	if err == nil || !strings.Contains(err.Error(), "config.json and normalize.mean, normalize.std both normalise the pixels") {
		t.Error(err)
	}
	text := fmt.Sprintf(processor, "CLIPImageProcessor", `{"shortest_edge": 280}`)
	text = strings.Replace(text, "true", `true, "do_normalize": false`, 1)
	m, err := openBeside(besideFolder(t, inside, map[string]string{"preprocessor_config.json": text}), OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p := m.Preprocess; p.Resize != 280 || p.Mean != [3]float32{0.485, 0.456, 0.406} || p.Scale != 1.0/255 {
		t.Errorf("%+v", p)
	}
	if m, err = openBeside(besideFolder(t, inside, nil), OpenOptions{Preprocess: "unit"}); err != nil || m.Preprocess.Mean != [3]float32{} {
		t.Errorf("given: %+v, %v", m.Preprocess, err)
	}
}

// FuzzBeside reads any text as each of the files beside weights. Classes that are read have
// one name for each index.
func FuzzBeside(f *testing.F) {
	f.Add(fmt.Sprintf(timmText, "vgg16", "bicubic", "center"))
	f.Add(fmt.Sprintf(processor, "CLIPImageProcessor", `{"shortest_edge": 280}`))
	f.Add(`{"0": ["n1", "cat"], "1": "dog"}`)
	f.Add(`{"cat": 0, "dog": 9223372036854775807}`)
	f.Add("0 cat\n1 dog")
	f.Fuzz(func(t *testing.T, text string) {
		if names, err := ParseClasses([]byte(text)); err == nil && len(names) > len(text) {
			t.Errorf("%d names in %d bytes", len(names), len(text))
		}
		configClasses(text)
		for _, read := range []func(string, int) (*preprocess.Spec, error){timmPreprocess, processorPreprocess} {
			if s, err := read(text, 224); err == nil && s != nil && s.Resize < 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}

// TestTransformersCrop: where an odd number of pixels is cut off, the crop is that of
// Transformers' image processors to the pixel (tools/oracle/centrecrop.py).
func TestTransformersCrop(t *testing.T) {
	s, err := processorPreprocess(`{"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 239}, "crop_size": {"height": 224, "width": 224}, "resample": 2,
		"do_resize": true, "do_center_crop": true, "do_normalize": true, "image_mean": [0.5, 0.45, 0.4], "image_std": [0.3, 0.31, 0.32]}`, 224)
	if err != nil {
		t.Fatal(err)
	}
	im := foreignPhoto(t)
	window := s.CentreWindow(im.W, im.H, s.Resize, s.Crop)
	if window.Y != 7 { // of a margin of 15
		t.Errorf("%+v, want a crop from row 7 on", window)
	}
	crop, err := window.Cut(im, s.Filter)
	if err != nil {
		t.Fatal(err)
	}
	x := tensor.New(1, 3, 224, 224)
	s.Tensor(x.Data, crop, [3]float32{})
	got := []float32{x.At(0, 0, 0, 0), x.At(0, 1, 10, 200), x.At(0, 2, 223, 5), x.At(0, 0, 100, 117)}
	nearTool(t, "pixels", got, []float32{0.85620916, 0.45857063, 1.4460784, 0.7908497})
}
