package vgg

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/internal/boundedjson"
	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/releases"
	"github.com/verydeep/vgg/weights"
)

// Description tells what a file of weights holds, without the weights.
type Description struct {
	Format weights.Format `json:"format"`
	// Names is the naming scheme of the tensors: "native", "torchvision", "timm", "Keras",
	// "conv1_1" (the paper's names, as in Caffe's releases), or empty where the file's own
	// layers tell what its tensors are.
	Names string `json:"names,omitempty"`
	// Release is the public release that the file is, if it is one.
	Release    *releases.Release `json:"release,omitempty"`
	Options    network.Options   `json:"options"`
	Classes    []string          `json:"classes,omitempty"`
	Thresholds []float32         `json:"thresholds,omitempty"` // as in [Model]
	Preprocess preprocess.Spec   `json:"preprocess"`
	Provenance map[string]string `json:"provenance,omitempty"`
	// BGR tells that the first convolution takes BGR in the file.
	BGR bool `json:"bgr,omitempty"`
	// Localisation is set for a localisation network.
	Localisation *Localisation `json:"localisation,omitempty"`
	// Ignored describes the tensors that are left out, each group with the reason.
	Ignored []string `json:"ignored,omitempty"`
	// Inferred says what the file doesn't tell, each with what it was inferred from.
	Inferred []string `json:"inferred,omitempty"`
	// Assumed says what nothing but convention tells, though it changes the numbers, and how to
	// say it; empty if there is no such thing.
	Assumed string `json:"assumed,omitempty"`
	// Adapted says what the network does otherwise, since its input isn't that of the weights;
	// empty if it is.
	Adapted string `json:"adapted,omitempty"`
	// Prefix is what all names of the network's tensors begin with, and was removed.
	Prefix string `json:"prefix,omitempty"`

	file     *weights.File
	progress progress.Func
	from     []interchange.Location
	placed   bool             // whether from has all parameters
	exported *network.Options // the options that Export left in a file under others' names

	outline        *interchange.Outline   // of a file from elsewhere
	preprocessFrom string                 // where the preprocessing is from, unless it is told by the layout
	normalize      *interchange.Normalize // the normalisation of pixels inside the model
}

// Identify recognises what a file of weights holds; o gives what the file doesn't tell.
// An error comes with the description as far as it goes if the network is recognised, and only
// its preprocessing or its classes are not; such a description can't be opened.
// Only the descriptions of the tensors are read, and a few of their values; the whole file only
// where its hash alone can tell a release.
func Identify(ctx context.Context, f *weights.File, o OpenOptions) (*Description, error) {
	if f == nil {
		return nil, errors.New("vgg: a nil file of weights")
	}
	return identifyInput(ctx, f, o)
}

func identify(ctx context.Context, f *weights.File, o OpenOptions) (*Description, error) {
	d := &Description{Format: f.Format(), Provenance: map[string]string{}, progress: o.Progress}
	if err := d.selectTensors(f, o); err != nil {
		return nil, err
	}
	f = d.file
	identify := d.identifyNative
	if text, ok := f.Metadata()[metaOptions]; !ok || !interchange.HasNativeNames(f) && len(f.Tensors()) > 0 {
		identify = d.identifyForeign
		if ok {
			d.exported = new(network.Options)
			if err := boundedjson.Unmarshal([]byte(text), d.exported); err != nil {
				return nil, fmt.Errorf("vgg: %s: metadata %s: %w", f.Name(), metaOptions, err)
			}
		}
	}
	if err := identify(ctx, f, o); err != nil {
		if !d.placed {
			return nil, err
		}
		return d, err
	}
	d.Options.FCStorage = o.FCStorage
	if err := o.show(&d.Preprocess); err != nil {
		return nil, fmt.Errorf("vgg: %s: %w", f.Name(), err)
	}
	if o.Classes != nil && !d.Options.Headless() {
		want := d.Options.Classes
		if d.Localisation != nil {
			want = len(d.Classes)
		}
		if len(o.Classes) != want {
			return nil, fmt.Errorf("vgg: %s: %d class names given, want %d", f.Name(), len(o.Classes), want)
		}
		d.Classes = slices.Clone(o.Classes)
	}
	if text, ok := f.Metadata()[metaThresholds]; ok && !d.Options.Headless() {
		err := boundedjson.Unmarshal([]byte(text), &d.Thresholds)
		if err == nil {
			err = checkLabelThresholds(d.Options, d.Thresholds)
		}
		if err != nil {
			return nil, fmt.Errorf("vgg: %s: metadata %s: %w", f.Name(), metaThresholds, err)
		}
	}
	return d, nil
}

// Open builds the described network and reads its weights from the file, which must still
// be open. The end of ctx ends the reading with its cause.
func (d *Description) Open(ctx context.Context) (*Model, error) {
	if d == nil || d.file == nil {
		return nil, errors.New("vgg: an empty description, want one that Identify returns")
	}
	if d.Options.FCStorage == nn.InFile {
		if err := d.keepInFile(); err != nil {
			return nil, err
		}
	}
	n, err := network.New(d.Options)
	if err != nil {
		return nil, err
	}
	if err := interchange.Load(ctx, d.file, n.Params(), d.from, d.progress); err != nil {
		return nil, err
	}
	if d.BGR {
		if err := interchange.SwapInput(n); err != nil {
			return nil, err
		}
	}
	return &Model{Net: n, Classes: d.Classes, Thresholds: d.Thresholds, Preprocess: d.Preprocess, Provenance: d.Provenance, Localisation: d.Localisation}, nil
}

// keepInFile holds the fully connected weights in memory after all where the file doesn't
// have them as they are read.
func (d *Description) keepInFile() error {
	chain, err := network.Plan(d.Options)
	if err != nil {
		return err
	}
	if !interchange.CanStay(d.file, chain.Params(), d.from) {
		d.Options.FCStorage = nn.F32
	}
	return nil
}

// identifyNative recognises a file that Save wrote.
func (d *Description) identifyNative(_ context.Context, f *weights.File, o OpenOptions) error {
	d.Names = string(interchange.Native)
	if err := d.readMetadata(f); err != nil {
		return err
	}
	if err := d.Options.Validate(); err != nil {
		return fmt.Errorf("vgg: %s: %w", f.Name(), err)
	}
	if err := checkModel(d.Options, d.Classes, d.Preprocess, d.Localisation); err != nil {
		return fmt.Errorf("vgg: %s: %w", f.Name(), err)
	}
	given, err := OpenOptions{Head: o.Head, Input: o.Input}.given()
	if err != nil {
		return err
	}
	if err := given.check(d.Options); err != nil {
		return fmt.Errorf("vgg: %s: %w", f.Name(), err)
	}
	if o.Config != "" {
		want, err := architecture.Canonical(o.Config)
		if err != nil {
			return err
		}
		if have, _ := architecture.Canonical(d.Options.Config); have != want {
			return fmt.Errorf("vgg: %s: configuration %q, want %q", f.Name(), have, want)
		}
	}
	if o.Preprocess != "" {
		s, err := givenPreprocess(o.Preprocess, d.Options.Input)
		if err != nil {
			return err
		}
		d.Preprocess = shownAs(s, d.Preprocess, o.Preprocess)
	}
	if o.Headless {
		d.Options, d.Classes, d.Localisation = d.Options.WithoutHead(), nil, nil
	}
	// The file must hold what its options claim before memory is taken for it.
	chain, err := network.Plan(d.Options)
	if err != nil {
		return err
	}
	d.from, err = interchange.NativeLocations(f, chain.Params(), o.Headless)
	d.placed = err == nil
	return err
}

// readMetadata reads the description that Save left in the file.
func (d *Description) readMetadata(f *weights.File) error {
	d.Preprocess.Orient = preprocess.Upright // where the file, of an earlier version, doesn't say
	for key, to := range map[string]any{metaOptions: &d.Options, metaClasses: &d.Classes, metaPreprocess: &d.Preprocess, metaProvenance: &d.Provenance, metaLocalisation: &d.Localisation} {
		text, ok := f.Metadata()[key]
		if !ok {
			if key == metaProvenance || key == metaLocalisation {
				continue
			}
			return fmt.Errorf("vgg: %s: no %s in the metadata: not a model written by this library", f.Name(), key)
		}
		if err := boundedjson.Unmarshal([]byte(text), to); err != nil {
			return fmt.Errorf("vgg: %s: metadata %s: %w", f.Name(), key, err)
		}
	}
	return nil
}

// identifyForeign recognises a file from elsewhere.
func (d *Description) identifyForeign(ctx context.Context, f *weights.File, o OpenOptions) error {
	fail := func(err error) error { return fmt.Errorf("vgg: %s: %w", f.Name(), err) }
	given, err := o.given()
	if err != nil {
		return err
	}
	config := o.Config
	if config != "" && o.Head != "" {
		if config, err = architecture.WithHead(config, o.Head); err != nil {
			return err
		}
	}
	if config == "" && d.exported != nil && d.exported.Until == "" {
		config = d.exported.Config
	}
	outline, err := readOutline(f, config, given.Head, o.Headless)
	if err != nil {
		return fail(err)
	}
	d.Ignored, d.outline = append(d.Ignored, outline.Left...), outline
	if outline.Normalize != nil {
		d.normalize = outline.Normalize
	}
	if d.exported != nil {
		if d.Options = *d.exported; o.Headless {
			d.Options = d.Options.WithoutHead()
		}
		if err := given.check(d.Options); err != nil {
			return fail(err)
		}
	} else {
		told := 0
		if given.Input == 0 {
			if told, err = toldInput(f, o); err != nil {
				return fail(err)
			}
			given.Input = told
		}
		if d.Options, err = outline.Options(interchange.Given(given)); err != nil {
			if told != 0 {
				err = fmt.Errorf("crops of %d pixels in the metadata or in a config beside the weights: %w", told, err)
			}
			return fail(err)
		}
	}
	if err := d.agree(f, outline.Count(architecture.Pooling), o); err != nil {
		return fail(err)
	}
	if err := d.Options.Validate(); err != nil {
		return fail(err)
	}
	if d.from, err = outline.Locations(f.Name(), d.Options); err != nil {
		return err
	}
	d.placed, d.Inferred, d.Assumed = true, outline.Inferred, outline.Assumed
	d.Names = string(outline.Scheme())
	if d.Release, err = d.release(ctx, f); err != nil {
		return err
	}
	if d.Release != nil { // whose network is known
		d.Assumed = ""
	}
	if err := d.foreignPreprocess(f, outline, o); err != nil {
		return err
	}
	if outline.BGR && d.BGR {
		return fail(fmt.Errorf("preprocessing %q is for pixels in BGR, but the file's first layers exchange the channels of RGB: say %q in its place (--preprocess)", d.Preprocess.Name, "vgg"))
	}
	d.BGR = d.BGR || outline.BGR
	if d.normalize != nil && o.Preprocess != "" {
		d.Ignored = append(d.Ignored, d.normalize.Source+": normalises the pixels, which --preprocess replaces")
	}
	if s := outline.Steps; s != nil && (s.Valued || s.Refused != nil) && o.Preprocess != "" {
		d.Ignored = append(d.Ignored, s.Source+": what is done to pixels, in whose place --preprocess was given")
	}
	d.foreignProvenance(f)
	if outline.EndsEarly {
		d.note("end", "with the last convolution: names don't tell whether a pooling follows")
	}
	d.note("preprocessing", d.preprocessFrom)
	return d.foreignClasses(f, o)
}

// release returns the release that the file is; nil if it is none. Whether a release has a head
// is a matter of the file, not of what is read of it.
func (d *Description) release(ctx context.Context, f *weights.File) (*releases.Release, error) {
	if !d.hasPaperSizes() {
		return nil, nil
	}
	headless := d.Options.Headless()
	if units, removed := d.outline.RemovedHead(); removed {
		if !slices.Equal(units, []int{4096, 4096, imageNetClasses}) {
			return nil, nil
		}
		headless = false
	}
	return releases.Identify(ctx, f, d.Options.Config, headless)
}

// given is what the caller says of the network.
type given interchange.Given

// given returns what the options say of the head and the input side: the crop of a
// preprocessing counts, too.
func (o OpenOptions) given() (given, error) {
	g := given{o.Head, o.Input}
	switch {
	case o.Head != "":
		if _, err := architecture.ParseHead(o.Head); err != nil {
			return g, err
		}
	case o.Config != "":
		a, err := architecture.Parse(o.Config)
		if err != nil {
			return g, err
		}
		g.Head = a.HeadName()
	}
	var s struct{ Crop int }
	if strings.HasPrefix(strings.TrimSpace(o.Preprocess), "{") && boundedjson.Unmarshal([]byte(o.Preprocess), &s) == nil && s.Crop != 0 {
		if o.Input != 0 && o.Input != s.Crop {
			return g, fmt.Errorf("vgg: crops of %d pixels by the preprocessing, want the input side, %d", s.Crop, o.Input)
		}
		g.Input = s.Crop
	}
	return g, nil
}

// toldInput returns the input side that the file's metadata or the files beside it tell; 0
// where they don't.
func toldInput(f *weights.File, o OpenOptions) (int, error) {
	if side, err := strconv.Atoi(f.Metadata()[metaInput]); err == nil {
		return side, nil
	}
	if o.Preprocess != "" {
		return 0, nil
	}
	var sides [2]int // of files that tell no side, the one asked for
	for i := range sides {
		beside, err := besidePreprocess(f, network.DefaultInput+i)
		if beside == nil || err != nil {
			return 0, err
		}
		sides[i] = beside.spec.Crop
	}
	if sides[0] != sides[1] {
		return 0, nil
	}
	return sides[0], nil
}

// check reports what contradicts the options in a file that this library wrote.
func (g given) check(o network.Options) error {
	if g.Input != 0 && g.Input != o.Input {
		return fmt.Errorf("input side %d by the file, want %d", o.Input, g.Input)
	}
	if g.Head != "" && !o.Headless() {
		if a, err := architecture.ParseHead(g.Head); err != nil || a.HeadName() != o.Head() {
			return fmt.Errorf("head %q by the file, want %q", o.Head(), a.HeadName())
		}
	}
	return nil
}

// readOutline recognises the network in the file, without a head if headless or if the
// head is unusable, and checks it against the configuration unless that is "". head is what
// the caller says of the head.
func readOutline(f *weights.File, config, head string, headless bool) (*interchange.Outline, error) {
	outline, err := interchange.Read(f, config != "")
	if err != nil {
		return nil, err
	}
	if outline.Count(architecture.Convolution) == 0 {
		return nil, fmt.Errorf("no convolution among the %d tensors, want the weights of a VGG network", len(f.Tensors()))
	}
	empty, err := outline.EmptyHead(f)
	if err != nil {
		return nil, err
	}
	if headless || empty {
		outline.DropHead()
	}
	if err := outline.Broken(); err != nil {
		return nil, fmt.Errorf("%w (--headless opens the convolutions before it)", err)
	}
	switch {
	case config != "":
		a, err := architecture.Parse(config)
		if err != nil {
			return nil, err
		}
		return outline, outline.Within(a)
	case f.Metadata()[metaOptions] == "":
		return outline, outline.Question(head)
	}
	return outline, nil
}

// foreignPreprocess chooses the preprocessing: the given one, or what the file, its
// release or its layout tells. It is an error if none does.
func (d *Description) foreignPreprocess(f *weights.File, outline *interchange.Outline, o OpenOptions) error {
	fail := func(err error) error { return fmt.Errorf("vgg: %s: %w", f.Name(), err) }
	side := d.Options.Input
	text, inFile := f.Metadata()[metaPreprocess]
	var travelled *configPreprocess
	if o.Preprocess == "" && !inFile {
		if outline.Steps != nil && outline.Steps.Refused != nil {
			return fail(outline.Steps.Refused)
		}
		var err error
		if travelled, err = d.travelledPreprocess(f, d.normalize, outline); err != nil {
			return fail(err)
		}
	}
	switch {
	case o.Preprocess != "":
		s, err := givenPreprocess(o.Preprocess, side)
		if err != nil {
			return err
		}
		// A file that says its preprocessing is one that was written here, in RGB.
		d.Preprocess, d.BGR = s, takesBGR(s.Name) && !inFile
	case inFile:
		d.Preprocess.Orient = preprocess.Upright // as in readMetadata
		if err := boundedjson.Unmarshal([]byte(text), &d.Preprocess); err != nil {
			return fail(fmt.Errorf("metadata %s: %w", metaPreprocess, err))
		}
	case travelled != nil:
		d.Preprocess, d.preprocessFrom = travelled.spec, travelled.source
		d.Preprocess.Orient = preprocess.Upright
	case outline.Steps.Values():
		d.Preprocess, d.BGR, d.preprocessFrom = outline.Steps.Spec, outline.Steps.BGR, outline.Steps.Source
		d.Preprocess.Orient = preprocess.Upright
		if !outline.Steps.Sized {
			d.Preprocess.Crop, d.Preprocess.Resize = side, side
		}
	case d.Release != nil:
		d.Preprocess, d.BGR = d.Release.Preprocess, takesBGR(d.Release.Preprocess.Name)
	default:
		name := d.knownLayout()
		if name == "" {
			return fail(errors.New("nothing tells what preprocessing its network wants: say " + strings.Join(presetNames, ", ") + " (--preprocess)"))
		}
		s, err := givenPreprocess(name, side)
		if err != nil {
			return err
		}
		d.Preprocess, d.BGR = s, takesBGR(name)
	}
	if s := outline.Steps; s != nil && s.Sized && s.Refused == nil && !inFile {
		sizedBy(&d.Preprocess, s.Spec, o.Preprocess)
	}
	return d.Preprocess.Validate()
}

// knownLayout names the preprocessing of layouts that only one project's ImageNet
// releases, and files made of them, have. Everybody uses torchvision's names.
func (d *Description) knownLayout() string {
	if !d.hasPaperSizes() {
		return ""
	}
	switch names := interchange.Scheme(d.Names); {
	case names == interchange.Timm:
		return "torchvision"
	case names == interchange.Keras && d.Format == weights.Keras:
		return "keras"
	case names == interchange.Paper && d.Format == weights.CaffeModel:
		return "caffe"
	case names == interchange.Paper && d.Format == weights.NPZ:
		return "vgg" // it was turned to RGB when it was converted from Caffe's
	}
	return ""
}

// hasPaperSizes tells whether the network has the sizes of the paper's, for ImageNet.
func (d *Description) hasPaperSizes() bool {
	o := d.Options
	if !slices.Contains(architecture.Names(), strings.TrimSuffix(o.Config, "-BN")) || o.Width != 1 {
		return false
	}
	return o.Headless() || o.Classes == imageNetClasses && o.FC == 4096 && o.Input == network.DefaultInput
}

// foreignClasses names the classes: by the list that came with the weights, unless o gives
// one; as ImageNet's, for its releases; by their indices.
func (d *Description) foreignClasses(f *weights.File, o OpenOptions) error {
	if d.Options.Headless() || o.Classes != nil {
		return nil
	}
	n := d.Options.Classes
	var synsets []string // of MatConvNet's releases, whose descriptions have commas
	if boundedjson.Unmarshal([]byte(f.Metadata()["synsets"]), &synsets) == nil && n == imageNetClasses && slices.Equal(synsets, ImageNetSynsets()) {
		d.Classes = ImageNetClasses()
		return nil
	}
	names, source, err := givenClasses(f, n)
	switch {
	case err != nil:
		return fmt.Errorf("vgg: %s: %w", f.Name(), err)
	case names != nil:
		d.Classes = names
		if source != metaClasses+" of the metadata" {
			d.note("classes", source)
		}
	case d.hasPaperSizes() && (d.Release != nil || d.knownLayout() != ""):
		d.Classes = ImageNetClasses()
	default:
		for i := range n {
			d.Classes = append(d.Classes, fmt.Sprint(i))
		}
	}
	return nil
}

// foreignProvenance takes the provenance from the file, or records the file itself.
func (d *Description) foreignProvenance(f *weights.File) {
	if text, ok := f.Metadata()[metaProvenance]; ok && boundedjson.Unmarshal([]byte(text), &d.Provenance) == nil && d.Provenance != nil {
		return
	}
	d.Provenance = map[string]string{"source": filepath.Base(f.Name()), "format": string(f.Format())}
	if d.Release != nil {
		d.Provenance["release"] = d.Release.Source + " " + d.Release.FullName()
		d.Provenance["licence"] = d.Release.Licence
	}
}
