package vgg

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/weights"
)

// OpenOptions say what a file of weights doesn't, and how the weights are kept.
type OpenOptions struct {
	// FC is how the weights of the fully connected layers lie in memory; see [NewStored].
	// Empty: [nn.F32].
	FC nn.Storage
	// Config is the configuration, for files whose tensors don't tell it. Weights that
	// contradict it are an error.
	Config string
	// Preprocess is what the network wants of its input: a name of [preprocess.Preset],
	// "unit" (pixel/255), or a [preprocess.Spec] as a JSON object. Empty: what the file says, or what its release
	// is known for; if neither is known, opening is an error.
	//
	// "caffe" and "keras" say, of a file from elsewhere, that its first convolution
	// takes BGR; its channels are exchanged as they are read. A file that [Model.Save]
	// wrote is in RGB whatever its preprocessing.
	Preprocess string
	// Classes are the names of the classes, by index. Nil: those of the file; ImageNet's
	// for a release that was trained on it; else the indices themselves, "0", "1", ….
	Classes []string
	// Headless leaves the fully connected layers in the file: neither read nor built.
	Headless bool
}

// Open reads a model from a file of weights in any format that package weights reads:
// one that [Model.Save] wrote, or one from elsewhere, whose configuration, width, classes
// and input side are inferred from its tensors. Errors name the file and each tensor
// that doesn't fit.
func Open(path string) (*Model, error) { return OpenWith(path, OpenOptions{}) }

// OpenStored is [Open] with the weights of fc6, fc7 and fc8 in memory as fc says; see
// [NewStored].
func OpenStored(path string, fc nn.Storage) (*Model, error) {
	return OpenWith(path, OpenOptions{FC: fc})
}

// OpenWith is [Open] with what the file doesn't say.
//
// A localisation network is refused, unless it is for its features: [OpenLocaliser]
// opens it.
func OpenWith(path string, o OpenOptions) (*Model, error) {
	return openAs(path, o, func(c *Contents) error {
		if c.Localisation != nil && !o.Headless {
			return fmt.Errorf("vgg: %s: %w", path, c.Localisation.errLocaliser(len(c.Classes)))
		}
		return nil
	})
}

// openAs opens a file that holds what check lets pass.
func openAs(path string, o OpenOptions, check func(*Contents) error) (*Model, error) {
	f, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := Identify(f, o)
	if err != nil {
		return nil, err
	}
	if err := check(c); err != nil {
		return nil, err
	}
	return c.open(f, o.FC)
}

// Contents is what a file of weights holds, without the weights.
type Contents struct {
	Format weights.Format `json:"format"`
	// Names is the scheme that the tensors are named by: "native", "torchvision", "timm",
	// "Keras", "conv1_1" (the paper's names, as Caffe's releases have them), or empty where
	// the file's own layers say what its tensors are.
	Names string `json:"names,omitempty"`
	// Release is the public release that the file is, if it is one.
	Release    *Release          `json:"release,omitempty"`
	Options    Options           `json:"options"`
	Classes    []string          `json:"classes,omitempty"`
	Preprocess preprocess.Spec   `json:"preprocess"`
	Provenance map[string]string `json:"provenance,omitempty"`
	// BGR tells that the first convolution takes BGR in the file.
	BGR bool `json:"bgr,omitempty"`
	// Localisation is set of a localisation network.
	Localisation *Localisation `json:"localisation,omitempty"`

	from    []supply
	written *Options // what Export says of a file under others' names
}

// nativeNames tells whether some tensor has a name that Save gives.
func nativeNames(f *weights.File) bool {
	return slices.ContainsFunc(f.Tensors(), func(e weights.Entry) bool {
		return nativeName.MatchString(e.Name)
	})
}

var nativeName = regexp.MustCompile(`^(conv\d+_\d+|fc\d+)(\.bn)?\.(weight|bias)$`)

// Identify finds out what a file of weights holds; the options say what it doesn't. Only
// what describes the tensors is read, and a few of their values.
func Identify(f *weights.File, o OpenOptions) (*Contents, error) {
	c := &Contents{Format: f.Format(), Provenance: map[string]string{}}
	identify := c.native
	if text, ok := f.Metadata()[metaOptions]; !ok || !nativeNames(f) && len(f.Tensors()) > 0 {
		identify = c.foreign
		if ok {
			c.written = new(Options)
			if err := json.Unmarshal([]byte(text), c.written); err != nil {
				return nil, fmt.Errorf("vgg: %s: metadata %s: %w", f.Name(), metaOptions, err)
			}
		}
	}
	if err := identify(f, o); err != nil {
		return nil, err
	}
	if o.Classes != nil && !c.Options.Headless() {
		want := c.Options.Classes
		if c.Localisation != nil {
			want = len(c.Classes)
		}
		if len(o.Classes) != want {
			return nil, fmt.Errorf("vgg: %s: %d class names given, want %d", f.Name(), len(o.Classes), want)
		}
		c.Classes = slices.Clone(o.Classes)
	}
	return c, nil
}

// open builds the network and fills it.
func (c *Contents) open(f *weights.File, fc nn.Storage) (*Model, error) {
	if fc == "" {
		fc = nn.F32
	}
	n, err := NewStored(c.Options, fc)
	if err != nil {
		return nil, err
	}
	if err := load(f, n.Params(), c.from); err != nil {
		return nil, err
	}
	if c.BGR {
		if err := n.exchangeInput(); err != nil {
			return nil, err
		}
	}
	return &Model{Net: n, Classes: c.Classes, Preprocess: c.Preprocess, Provenance: c.Provenance, Localisation: c.Localisation}, nil
}

// native is a file that Save wrote.
func (c *Contents) native(f *weights.File, o OpenOptions) error {
	c.Names = namesNative
	for key, to := range map[string]any{metaOptions: &c.Options, metaClasses: &c.Classes, metaPreprocess: &c.Preprocess, metaProvenance: &c.Provenance, metaLocalisation: &c.Localisation} {
		text, ok := f.Metadata()[key]
		if !ok {
			if key == metaProvenance || key == metaLocalisation {
				continue
			}
			return fmt.Errorf("vgg: %s: no %s in the metadata: not a model written by this library", f.Name(), key)
		}
		if err := json.Unmarshal([]byte(text), to); err != nil {
			return fmt.Errorf("vgg: %s: metadata %s: %w", f.Name(), key, err)
		}
	}
	if err := c.Options.Validate(); err != nil {
		return fmt.Errorf("vgg: %s: %w", f.Name(), err)
	}
	if err := checkModel(c.Options, c.Classes, c.Preprocess, c.Localisation); err != nil {
		return fmt.Errorf("vgg: %s: %w", f.Name(), err)
	}
	if o.Config != "" {
		want, err := parseConfig(o.Config)
		if err != nil {
			return err
		}
		if a, _ := parseConfig(c.Options.Config); a.name != want.name {
			return fmt.Errorf("vgg: %s: configuration %q, want %q", f.Name(), a.name, want.name)
		}
	}
	if o.Preprocess != "" {
		s, err := givenPreprocess(o.Preprocess, c.Options.Input)
		if err != nil {
			return err
		}
		s.Crop, s.Resize = c.Preprocess.Crop, c.Preprocess.Resize
		c.Preprocess = s
	}
	if o.Headless {
		c.Options.Classes, c.Classes, c.Localisation = 0, nil, nil
	}
	// The file must hold what its options claim before memory is taken for it.
	_, layers, err := c.Options.layers()
	if err != nil {
		return err
	}
	c.from, err = nativeSupplies(f, nn.Plan(3, layers...).Params(), o.Headless)
	return err
}

// nativeSupplies finds the parameters under their own names and reports all that don't
// fit; of a headless network, the file may hold more.
func nativeSupplies(f *weights.File, params []*nn.Param, more bool) ([]supply, error) {
	var errs []error
	var from []supply
	want := map[string]bool{}
	for _, p := range params {
		want[p.Name] = true
		e, err := f.Lookup(p.Name)
		if err != nil {
			errs = append(errs, err)
		} else if !slices.Equal(e.Shape, p.Shape) {
			errs = append(errs, &weights.ShapeError{File: f.Name(), Tensor: p.Name, Shape: e.Shape, Want: p.Shape})
		}
		from = append(from, supply{tensor: p.Name})
	}
	for _, e := range f.Tensors() {
		if !want[e.Name] && !more {
			errs = append(errs, fmt.Errorf("vgg: %s: %s: the network has no such parameter", f.Name(), e.Name))
		}
	}
	return from, someErrors(f.Name(), errs)
}

// foreign is a file from elsewhere.
func (c *Contents) foreign(f *weights.File, o OpenOptions) error {
	fail := func(err error) error { return fmt.Errorf("vgg: %s: %w", f.Name(), err) }
	if c.written != nil && o.Config == "" {
		o.Config = c.written.Config
	}
	var ol *outline
	var err error
	if len(f.Layers()) > 0 {
		ol, err = outlineOfLayers(f)
	} else {
		ol, err = outlineOfNames(f, o.Config != "")
	}
	if err != nil {
		return fail(err)
	}
	if ol.count(convolution) == 0 {
		return fail(fmt.Errorf("no convolution among the %d tensors, want the weights of a VGG network", len(f.Tensors())))
	}
	empty, err := ol.emptyHead(f)
	if err != nil {
		return fail(err)
	}
	if o.Headless || empty {
		ol.headless()
	}
	switch {
	case o.Config != "":
		a, err := parseConfig(o.Config)
		if err != nil {
			return err
		}
		if err := ol.within(a); err != nil {
			return fail(err)
		}
	case !ol.complete && ol.count(pooling) == 0:
		return fail(errors.New("the names of the tensors don't tell where the poolings are: say the configuration (--structure)"))
	}
	if c.Options, err = ol.options(); err != nil {
		return fail(err)
	}
	if c.written != nil {
		if c.Options = *c.written; o.Headless {
			c.Options.Classes = 0
		}
	}
	if err := c.Options.Validate(); err != nil {
		return fail(err)
	}
	if c.from, err = ol.supplies(f.Name(), c.Options); err != nil {
		return err
	}
	c.Names = ol.names()
	if c.Release, err = findRelease(f, c); err != nil {
		return err
	}
	if err := c.foreignPreprocess(f, ol, o); err != nil {
		return err
	}
	c.Classes = c.foreignClasses(f, ol)
	if text, ok := f.Metadata()[metaProvenance]; ok && json.Unmarshal([]byte(text), &c.Provenance) == nil && c.Provenance != nil {
		return nil
	}
	c.Provenance = map[string]string{}
	c.Provenance["source"] = filepath.Base(f.Name())
	c.Provenance["format"] = string(f.Format())
	if c.Release != nil {
		c.Provenance["release"] = c.Release.Source + " " + c.Release.Name
		c.Provenance["licence"] = c.Release.Licence
	}
	return nil
}

// emptyHead tells whether the classifier is there in shape only, as that of torchvision's
// vgg16_features, which is not a number throughout.
func (ol *outline) emptyHead(f *weights.File) (bool, error) {
	for _, l := range slices.Backward(ol.links) {
		e, ok := l.tensors["bias"]
		if l.kind != connected || !ok || len(e.Shape) != 1 || e.Shape[0] > maxUnits {
			return false, nil
		}
		b := make([]float32, e.Shape[0])
		if err := f.ReadInto(e.Name, b); err != nil {
			return false, err
		}
		return !slices.ContainsFunc(b, func(x float32) bool { return x == x }), nil
	}
	return false, nil
}

// names is the scheme of the names, also where layers tell what tensors are.
func (ol *outline) names() string {
	if !ol.complete {
		return ol.scheme
	}
	schemes := map[string]int{}
	for _, l := range ol.links {
		if l.kind == convolution {
			_, s := placeOf(l.name)
			schemes[s]++
		}
	}
	return commonest(schemes)
}

// foreignPreprocess finds what is known of the preprocessing, or says that nothing is.
func (c *Contents) foreignPreprocess(f *weights.File, ol *outline, o OpenOptions) error {
	fail := func(err error) error { return fmt.Errorf("vgg: %s: %w", f.Name(), err) }
	side := c.Options.Input
	text, inFile := f.Metadata()[metaPreprocess]
	switch {
	case o.Preprocess != "":
		s, err := givenPreprocess(o.Preprocess, side)
		if err != nil {
			return err
		}
		c.Preprocess, c.BGR = s, bgr(s.Name)
	case inFile:
		if err := json.Unmarshal([]byte(text), &c.Preprocess); err != nil {
			return fail(fmt.Errorf("metadata %s: %w", metaPreprocess, err))
		}
	case ol.rescale != nil:
		c.Preprocess = *ol.rescale
		c.Preprocess.Crop, c.Preprocess.Resize = side, side
	case c.Release != nil:
		c.Preprocess, c.BGR = c.Release.Preprocess, bgr(c.Release.Preprocess.Name)
	default:
		name := c.knownLayout()
		if name == "" {
			return fail(errors.New("nothing tells what preprocessing its network wants: say " + strings.Join(presetNames, ", ") + " (--preprocess)"))
		}
		s, err := givenPreprocess(name, side)
		if err != nil {
			return err
		}
		c.Preprocess, c.BGR = s, bgr(name)
	}
	return c.Preprocess.Validate()
}

// CheckPreprocess reports what [OpenOptions].Preprocess doesn't take.
func CheckPreprocess(text string) error {
	_, err := givenPreprocess(text, defaultInput)
	return err
}

// presetNames are the choices of preprocessing.
var presetNames = []string{"vgg", "caffe", "keras", "torchvision", "unit"}

// bgr tells whether weights of a preprocessing take BGR, before they are imported.
func bgr(name string) bool { return name == "caffe" || name == "keras" }

// givenPreprocess is the preprocessing of that name, or in JSON, for crops of that side.
func givenPreprocess(text string, side int) (preprocess.Spec, error) {
	var s preprocess.Spec
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		s = preprocess.Spec{Name: "own", Scale: 1, Std: [3]float32{1, 1, 1}, Filter: preprocess.Bilinear, Crop: side, Resize: side}
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return s, fmt.Errorf("vgg: preprocessing %s: %w", text, err)
		}
		return s, s.Validate()
	}
	if text == "unit" {
		return preprocess.Spec{Name: text, Scale: 1.0 / 255, Std: [3]float32{1, 1, 1}, Filter: preprocess.Bilinear, Crop: side, Resize: side}, nil
	}
	s, err := preprocess.Preset(text)
	if err != nil {
		return s, fmt.Errorf("vgg: preprocessing %q: want one of %s, or a JSON object", text, strings.Join(presetNames, ", "))
	}
	s.Resize = (s.Resize*side + s.Crop/2) / s.Crop
	s.Crop = side
	return s, nil
}

// knownLayout names the preprocessing of files that only the ImageNet releases of a
// project, and what is derived from them, look like; torchvision's names are everybody's.
func (c *Contents) knownLayout() string {
	if !c.imageNet() {
		return ""
	}
	switch {
	case c.Names == schemeTimm:
		return "torchvision"
	case c.Names == schemeKeras && c.Format == weights.Keras:
		return "keras"
	case c.Names == schemePaper && c.Format == weights.CaffeModel:
		return "caffe"
	case c.Names == schemePaper && c.Format == weights.NPZ:
		return "vgg" // turned to RGB when it was converted from Caffe's
	}
	return ""
}

// imageNet tells whether the network has the sizes of the paper's, for ImageNet.
func (c *Contents) imageNet() bool {
	o := c.Options
	if !slices.Contains(Configs(), strings.TrimSuffix(o.Config, "-BN")) || o.Width != 1 {
		return false
	}
	return o.Headless() || o.Classes == imageNetClasses && o.FC == 4096 && o.Input == defaultInput
}

// foreignClasses names the classes.
func (c *Contents) foreignClasses(f *weights.File, ol *outline) []string {
	n := c.Options.Classes
	if n == 0 {
		return nil
	}
	for _, key := range []string{metaClasses, "classes", "labels"} {
		var names []string
		if json.Unmarshal([]byte(f.Metadata()[key]), &names) == nil && len(names) == n {
			return names
		}
	}
	if c.imageNet() && (c.Release != nil || c.knownLayout() != "") {
		return ImageNetClasses()
	}
	return numbered(n)
}

// numbered names classes by their indices.
func numbered(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	return names
}

// exchangeInput turns a first convolution that takes BGR into one that takes RGB.
func (n *Network) exchangeInput() error {
	p := n.Params()[0]
	w := make([]float32, p.Len())
	if err := p.Get(w); err != nil {
		return err
	}
	plane := p.Shape[2] * p.Shape[3]
	for k := 0; k < len(w); k += 3 * plane {
		b, r := w[k:k+plane], w[k+2*plane:k+3*plane]
		for i := range b {
			b[i], r[i] = r[i], b[i]
		}
	}
	return p.Set(w)
}
