package vgg

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/internal/boundedjson"
	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/weights"
)

// modelConfig is the config.json of timm or of Hugging Face's Transformers.
type modelConfig struct {
	Architecture string          `json:"architecture"` // timm
	NumClasses   *int            `json:"num_classes"`
	LabelNames   json.RawMessage `json:"label_names"`
	ID2Label     json.RawMessage `json:"id2label"` // Transformers
	Label2ID     json.RawMessage `json:"label2id"`
	ImageSize    json.RawMessage `json:"image_size"`
	timmConfig                   // of versions of timm before 0.9
	Pretrained   *timmConfig     `json:"pretrained_cfg"`
}

// timmConfig is timm's description of the preprocessing.
type timmConfig struct {
	InputSize     []int           `json:"input_size"` // channels, height, width
	Interpolation string          `json:"interpolation"`
	CropPct       *float64        `json:"crop_pct"`
	CropMode      string          `json:"crop_mode"`
	Mean          []float32       `json:"mean"`
	Std           []float32       `json:"std"`
	LabelNames    json.RawMessage `json:"label_names"`
}

// processorConfig is the preprocessor_config.json of Transformers.
type processorConfig struct {
	Type          string          `json:"image_processor_type"`
	OldType       string          `json:"feature_extractor_type"`
	DoResize      *bool           `json:"do_resize"`
	Size          json.RawMessage `json:"size"`
	CropPct       *float64        `json:"crop_pct"`
	DoCenterCrop  *bool           `json:"do_center_crop"`
	CropSize      json.RawMessage `json:"crop_size"`
	DoRescale     *bool           `json:"do_rescale"`
	RescaleFactor *float64        `json:"rescale_factor"`
	DoNormalize   *bool           `json:"do_normalize"`
	Mean          []float32       `json:"image_mean"`
	Std           []float32       `json:"image_std"`
	Resample      *int            `json:"resample"`
}

// readConfig reads config.json.
func readConfig(text string) (modelConfig, error) {
	var c modelConfig
	err := boundedjson.Unmarshal([]byte(text), &c)
	if c.Pretrained == nil {
		c.Pretrained = &c.timmConfig
	}
	return c, err
}

// configClasses returns the lists of classes in a config.json. Transformers writes LABEL_0,
// LABEL_1, … where it knows no names; those tell nothing.
func configClasses(text string) ([]classList, error) {
	c, err := readConfig(text)
	if err != nil {
		return nil, err
	}
	var lists []classList
	for _, of := range []struct {
		key   string
		value json.RawMessage
	}{{"label_names", c.LabelNames}, {"pretrained_cfg.label_names", c.Pretrained.LabelNames}, {"id2label", c.ID2Label}, {"label2id", c.Label2ID}} {
		if !isJSON(string(of.value)) {
			continue
		}
		names, err := ParseClasses(of.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", of.key, err)
		}
		placeholders := true
		for i, name := range names {
			placeholders = placeholders && name == fmt.Sprintf("LABEL_%d", i)
		}
		if !placeholders {
			lists = append(lists, classList{of.key + " of config.json", names})
		}
	}
	return lists, nil
}

// configPreprocess is a preprocessing that came with the weights.
type configPreprocess struct {
	source string
	spec   preprocess.Spec
}

// besidePreprocess returns the preprocessing that the files beside the weights describe;
// nil if there is none. Two that differ are an error. side is the network's input side,
// which stands for a crop that they don't give.
func besidePreprocess(f *weights.File, side int) (*configPreprocess, error) {
	var found *configPreprocess
	for _, of := range []struct {
		file string
		read func(text string, side int) (*preprocess.Spec, error)
	}{{"config.json", timmPreprocess}, {"preprocessor_config.json", processorPreprocess}} {
		text, ok := f.Beside()[of.file]
		if !ok {
			continue
		}
		s, err := of.read(text, side)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: say the preprocessing (--preprocess)", of.file, err)
		}
		if s == nil {
			continue
		}
		if err := s.Validate(); err != nil {
			return nil, fmt.Errorf("%s: %w: say the preprocessing (--preprocess)", of.file, err)
		}
		if found != nil && !sameValues(found.spec, *s) {
			return nil, fmt.Errorf("%s and %s describe different preprocessing: choose one (--preprocess)", found.source, of.file)
		}
		if found == nil {
			found = &configPreprocess{of.file, *s}
		}
	}
	return found, nil
}

// sameValues tells whether two preprocessings give the same values but for rounding.
func sameValues(a, b preprocess.Spec) bool {
	near := func(x, y float32) bool { return math.Abs(float64(x-y)) <= 1e-5*math.Max(1e-3, math.Abs(float64(y))) }
	for c := range 3 {
		if !near(a.Mean[c], b.Mean[c]) || !near(a.Std[c], b.Std[c]) {
			return false
		}
	}
	return near(a.Scale, b.Scale) && a.Filter == b.Filter && a.Fit == b.Fit && a.Crop == b.Crop && a.Resize == b.Resize
}

// timmPreprocess returns the preprocessing of timm's config.json; nil if it has none.
func timmPreprocess(text string, side int) (*preprocess.Spec, error) {
	config, err := readConfig(text)
	if err != nil {
		return nil, err
	}
	c := config.Pretrained
	if c.Mean == nil && c.Std == nil {
		return nil, nil
	}
	s := preprocess.Spec{Name: "timm", Scale: 1.0 / 255, Crop: side}
	if err := setMeanStd(&s, c.Mean, c.Std); err != nil {
		return nil, err
	}
	if n := c.InputSize; n != nil {
		if len(n) != 3 || n[0] != 3 || n[1] != n[2] || n[1] < 1 || n[1] > network.MaxInput {
			return nil, fmt.Errorf("input_size %s, want 3 channels and a square", strings.Trim(fmt.Sprint(n), "[]"))
		}
		s.Crop = n[1]
	}
	switch c.CropMode {
	case "", "center":
	case "squash":
		s.Fit = preprocess.Squash
	default:
		return nil, fmt.Errorf("crop_mode %q, want center or squash", c.CropMode)
	}
	share := 0.875 // timm's default
	if c.CropPct != nil {
		share = *c.CropPct
	}
	if !(share > 0 && share <= 1) {
		return nil, fmt.Errorf("crop_pct %v, want above 0 and at most 1", share)
	}
	s.Resize = int(float64(s.Crop) / share)
	switch c.Interpolation {
	case "", "bilinear":
	case "bicubic":
		s.Filter = preprocess.Bicubic
	default:
		return nil, fmt.Errorf("interpolation %q, want bilinear or bicubic", c.Interpolation)
	}
	return &s, nil
}

// setMeanStd sets the mean and the standard deviation, three numbers each.
func setMeanStd(s *preprocess.Spec, mean, std []float32) error {
	if len(mean) != 3 || len(std) != 3 {
		return fmt.Errorf("mean of %d numbers, standard deviation of %d, want three each", len(mean), len(std))
	}
	s.Mean, s.Std = [3]float32(mean), [3]float32(std)
	return nil
}

// processorPreprocess returns the preprocessing of Transformers' preprocessor_config.json.
func processorPreprocess(text string, side int) (*preprocess.Spec, error) {
	var c processorConfig
	if err := boundedjson.Unmarshal([]byte(text), &c); err != nil {
		return nil, err
	}
	if c.Mean == nil && c.Size == nil && c.CropSize == nil {
		return nil, nil
	}
	off := func(flag *bool) bool { return flag != nil && !*flag }
	s := preprocess.Spec{Name: "transformers", Scale: 1.0 / 255, Std: [3]float32{1, 1, 1}, Centre: preprocess.Floor}
	if c.RescaleFactor != nil {
		s.Scale = float32(*c.RescaleFactor)
	}
	if off(c.DoRescale) {
		s.Scale = 1
	}
	if !off(c.DoNormalize) {
		if err := setMeanStd(&s, c.Mean, c.Std); err != nil {
			return nil, err
		}
	}
	switch {
	case c.Resample == nil:
		return nil, errors.New("no resample, want 2 (bilinear) or 3 (bicubic)")
	case *c.Resample == 2:
	case *c.Resample == 3:
		s.Filter = preprocess.Bicubic
	default:
		return nil, fmt.Errorf("resample %d, want 2 (bilinear) or 3 (bicubic)", *c.Resample)
	}
	if off(c.DoResize) {
		return nil, errors.New("do_resize false: want images rescaled to a side")
	}
	return &s, c.sizes(&s, side)
}

// sizes sets the crop and the side that images are rescaled to.
func (c processorConfig) sizes(s *preprocess.Spec, side int) error {
	size, err := readSides(c.Size)
	if err != nil {
		return fmt.Errorf("size %s: %w", c.Size, err)
	}
	crop, err := readSides(c.CropSize)
	if err != nil {
		return fmt.Errorf("crop_size %s: %w", c.CropSize, err)
	}
	cropped := c.DoCenterCrop != nil && *c.DoCenterCrop || c.DoCenterCrop == nil && c.CropSize != nil
	convNext := strings.HasPrefix(c.Type+c.OldType, "ConvNext")
	switch {
	case size.shortest == 0 && (size.height == 0 || size.height != size.width || c.Size[0] != '{'):
		// A number alone is the shorter side to some image processors, a square to others.
		return fmt.Errorf("size %s, want {\"shortest_edge\": 256} or {\"height\": 224, \"width\": 224}", c.Size)
	case size.shortest == 0: // squashed to a square
		s.Fit, s.Resize, s.Crop = preprocess.Squash, size.height, size.height
		if !cropped {
			return nil
		}
		if crop.height == 0 || crop.height != crop.width {
			return fmt.Errorf("crop_size %s, want a square", c.CropSize)
		}
		s.Crop = crop.height
		return nil
	case convNext && size.shortest < 384: // it cuts a share out, and squashes larger images
		share := 224.0 / 256
		if c.CropPct != nil {
			share = *c.CropPct
		}
		if !(share > 0 && share <= 1) {
			return fmt.Errorf("crop_pct %v, want above 0 and at most 1", share)
		}
		s.Crop, s.Resize = size.shortest, int(float64(size.shortest)/share)
		return nil
	case convNext:
		s.Fit, s.Resize, s.Crop = preprocess.Squash, size.shortest, size.shortest
		return nil
	}
	s.Resize, s.Crop = size.shortest, side
	if cropped {
		if crop.height == 0 || crop.height != crop.width {
			return fmt.Errorf("crop_size %s, want a square", c.CropSize)
		}
		s.Crop = crop.height
		return nil
	}
	return errors.New("do_center_crop false, but size keeps the aspect ratio: want a square crop")
}

// sides are the sizes of an image processor: the shorter side, or both.
type sides struct{ shortest, height, width int }

// readSides reads {"shortest_edge": 256}, {"height": 224, "width": 224}, or 224 for both.
func readSides(text json.RawMessage) (s sides, err error) {
	if text == nil || string(text) == "null" {
		return s, nil
	}
	if boundedjson.Unmarshal(text, &s.height) == nil {
		s.width = s.height
	} else {
		var object struct {
			Shortest int `json:"shortest_edge"`
			Height   int `json:"height"`
			Width    int `json:"width"`
		}
		if err := boundedjson.Unmarshal(text, &object); err != nil {
			return s, err
		}
		s = sides{object.Shortest, object.Height, object.Width}
	}
	for _, n := range []int{s.shortest, s.height, s.width} {
		if n < 0 || n > network.MaxInput {
			return s, fmt.Errorf("want at most %d pixels", network.MaxInput)
		}
	}
	return s, nil
}

// agree checks what config.json says of the network against its weights, and takes the side
// of the input from the files beside it where the weights leave a choice.
func (d *Description) agree(f *weights.File, poolings int, o OpenOptions) error {
	if text, ok := f.Beside()["config.json"]; ok {
		c, err := readConfig(text)
		if err != nil {
			return fmt.Errorf("config.json: %w", err)
		}
		have, _ := architecture.Canonical(d.Options.Config)
		name, _, _ := strings.Cut(c.Architecture, ".") // vgg16.tv_in1k
		if want, err := architecture.Canonical(name); err == nil && want != have {
			return fmt.Errorf("architecture %q in config.json, but the weights are those of %s", c.Architecture, have)
		}
		if n := c.NumClasses; n != nil && !d.Options.Headless() && *n != d.Options.Classes {
			return fmt.Errorf("num_classes %d in config.json, but the weights have %d", *n, d.Options.Classes)
		}
	}
	if o.Preprocess != "" {
		return nil
	}
	given, err := besidePreprocess(f, d.Options.Input)
	if given == nil || err != nil {
		return err
	}
	crop := given.spec.Crop
	if o.Input != 0 && crop != o.Input {
		return fmt.Errorf("crops of %d pixels in %s, want the given input side, %d", crop, given.source, o.Input)
	}
	least := d.Options.Input >> poolings << poolings
	switch {
	case d.Options.Headless() && crop < 1<<poolings:
		return fmt.Errorf("crops of %d pixels in %s, want at least %d for %d poolings", crop, given.source, 1<<poolings, poolings)
	case !d.Options.Headless() && crop>>poolings != d.Options.Input>>poolings:
		return fmt.Errorf("crops of %d pixels in %s, but the weights of the first fully connected layer are for %d to %d", crop, given.source, least, least+1<<poolings-1)
	}
	d.Options.Input = crop
	return nil
}

// travelledPreprocess returns the preprocessing that came with the weights: in the files
// beside them, or inside the model. It returns nil if neither is there. Both together are
// an error, unless the files scale the pixels at most.
func (d *Description) travelledPreprocess(f *weights.File, n *interchange.Normalize, outline *interchange.Outline) (*configPreprocess, error) {
	side := d.Options.Input
	given, err := besidePreprocess(f, side)
	if err != nil {
		return nil, err
	}
	inside := ""
	switch {
	case n != nil:
		inside = n.Source
	case outline.Steps.Values():
		inside = outline.Steps.Source
	}
	if given != nil && inside != "" {
		s := given.spec
		if s.Mean != [3]float32{} || s.Std != [3]float32{1, 1, 1} || n == nil && s.Scale != 1 {
			return nil, fmt.Errorf("%s and %s both normalise the pixels: choose (--preprocess)", given.source, inside)
		}
	}
	if n == nil {
		if outline.Steps.Values() {
			return nil, nil
		}
		return given, nil
	}
	s, err := n.Spec()
	if err != nil {
		return nil, err
	}
	s.Crop, s.Resize = side, side
	if given != nil {
		if s.Scale != given.spec.Scale {
			return nil, fmt.Errorf("%s scales pixels by %.6g, %s takes them scaled by %.6g: choose (--preprocess)", given.source, given.spec.Scale, inside, s.Scale)
		}
		s.Crop, s.Resize, s.Filter, s.Fit, s.Centre = given.spec.Crop, given.spec.Resize, given.spec.Filter, given.spec.Fit, given.spec.Centre
		inside += ", " + given.source
	}
	return &configPreprocess{inside, s}, nil
}

// note records in the provenance where a part of the description is from.
func (d *Description) note(what, source string) {
	if source == "" {
		return
	}
	if d.Provenance == nil {
		d.Provenance = map[string]string{}
	}
	d.Provenance[what] = source
}

// selectTensors chooses the tensors of the network, and notes what is left out.
func (d *Description) selectTensors(f *weights.File, o OpenOptions) error {
	s, err := interchange.Select(f, o.Prefix, o.Ignore)
	if err != nil {
		return fmt.Errorf("vgg: %s: %w", f.Name(), err)
	}
	d.file, d.Ignored, d.Prefix, d.normalize = s.File, s.Ignored, s.Prefix, s.Normalize
	return nil
}
