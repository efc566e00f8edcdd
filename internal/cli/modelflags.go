package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/releases"
	"github.com/verydeep/vgg/releases/pull"
	"github.com/verydeep/vgg/weights"
)

// modelFlags are shared by the commands that open weights or a release in their place.
type modelFlags struct {
	fileFlags
	releaseFlags
}

// fileFlags say what a file of weights from elsewhere doesn't.
type fileFlags struct {
	Preprocess string `placeholder:"NAME" help:"Pixel values as vgg, caffe, keras, torchvision or unit (pixel/255) has them, or as a JSON object says; of weights that don't tell, or in place of what they tell. caffe and keras say of weights from elsewhere that they take BGR."`
	Labels     string `placeholder:"FILE" help:"Names of the classes: imagenet, or a file with one a line or a JSON list; the weights say unless given."`
	Head       string `placeholder:"ROW" help:"Head of weights whose tensors don't tell it: 'gap FC', 'FC256 relu FC', 'gap FC1 sigmoid'."`
	Input      int    `placeholder:"PIXELS" help:"Side of the network's input, of weights that don't tell it."`
	Structure  string `name:"structure" placeholder:"CONFIG" help:"Configuration, or a row of layers, of weights whose tensors don't tell it."`
}

// releaseFlags are shared by the commands that take a release for a file of weights.
type releaseFlags struct {
	Source  string `default:"torchvision" enum:"torchvision,keras,caffe" placeholder:"NAME" help:"Whose release a configuration's name stands for: torchvision, keras or caffe (torchvision)."`
	Offline bool   `help:"Download nothing: a release that isn't there is an error."`
}

// options are what the flags say of a file.
func (f fileFlags) options() (vgg.OpenOptions, error) {
	o := vgg.OpenOptions{Preprocess: f.Preprocess, Config: f.Structure, Head: f.Head, Input: f.Input}
	if f.Head != "" {
		if _, err := architecture.ParseHead(f.Head); err != nil {
			return o, usageError{err}
		}
	}
	if f.Input < 0 || f.Input > network.MaxInput {
		return o, usagef("--input %d, want 1 to %d", f.Input, network.MaxInput)
	}
	if f.Preprocess != "" {
		if err := vgg.CheckPreprocess(f.Preprocess); err != nil {
			return o, usageError{err}
		}
	}
	if f.Structure != "" {
		if _, err := architecture.Canonical(f.Structure); err != nil {
			return o, usageError{err}
		}
	}
	if f.Labels != "" {
		var err error
		if o.Classes, err = readLabels(f.Labels); err != nil {
			return o, fmt.Errorf("--labels %s: %w", f.Labels, err)
		}
	}
	return o, nil
}

// open opens a file of weights, or the release that a configuration's name stands for,
// for a command that needs classes.
func (f modelFlags) open(e *environment, name string, fc nn.Storage) (*vgg.Model, error) {
	m, err := f.openAny(e, name, fc)
	if err == nil && m.Net.Options().Headless() {
		return nil, fmt.Errorf("%s: features only, without a classifier: no classes to tell", name)
	}
	return m, err
}

// openAny is open for a command that takes features alone, too.
func (f modelFlags) openAny(e *environment, name string, fc nn.Storage) (*vgg.Model, error) {
	o, err := f.options()
	if err != nil {
		return nil, err
	}
	path, err := f.path(e, name)
	if err != nil {
		return nil, err
	}
	o.FCStorage = fc
	return openWeights(e, path, o)
}

// openWeights reads a model from a file, with a progress bar if it takes long. It is the
// one place where a command reads weights.
func openWeights(e *environment, path string, o vgg.OpenOptions) (*vgg.Model, error) {
	const patience, unit = 500 * time.Millisecond, 1_000_000
	start := time.Now()
	var bar *progressBar
	o.Progress = func(done, total int64) {
		if bar == nil && time.Since(start) > patience && total > unit {
			bar = newProgress(e.stderr, int(total/unit), "million values")
		}
		if bar != nil {
			bar.set(int(done/unit), "reading "+filepath.Base(path))
		}
	}
	m, err := vgg.Open(e.ctx, path, o)
	if bar != nil {
		bar.close()
	}
	return m, err
}

// open opens the file of that name, or the release that a configuration's name stands for.
func (f releaseFlags) open(e *environment, name string, o vgg.OpenOptions) (*vgg.Model, error) {
	path, err := f.path(e, name)
	if err != nil {
		return nil, err
	}
	return openWeights(e, path, o)
}

// describe identifies the file of that name, or the release that a configuration's name
// stands for, without its weights. It returns the file's path too.
func (f releaseFlags) describe(e *environment, name string, o vgg.OpenOptions) (*vgg.Description, string, error) {
	path, err := f.path(e, name)
	if err != nil {
		return nil, "", err
	}
	file, err := weights.Open(path)
	if err != nil {
		return nil, path, err
	}
	defer file.Close()
	d, err := vgg.Identify(file, o)
	return d, path, err
}

// path is a file's own, or that of a release, which is downloaded on its first use.
func (f releaseFlags) path(e *environment, name string) (string, error) {
	r, dir, err := f.release(name)
	if err != nil || dir == "" {
		return name, err
	}
	return pullRelease(e, r, dir, f.Offline)
}

// release tells whether a name stands for a release, and the folder that keeps those; what
// is a file, or no configuration, stands for itself.
func (f releaseFlags) release(name string) (r releases.Release, dir string, err error) {
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) || strings.ContainsAny(name, `/\`) {
		return r, "", nil
	}
	if r, err = releases.Find(name, f.Source); err != nil {
		if _, bad := architecture.Canonical(name); bad != nil {
			return r, "", nil
		}
		return r, "", err
	}
	dir, err = pull.DefaultDir()
	return r, dir, err
}

// pullRelease returns the path of a release, and announces a download.
func pullRelease(e *environment, r releases.Release, dir string, offline bool) (string, error) {
	if path := pull.Path(dir, r); offline {
		return pull.Release(e.ctx, r, pull.Options{Dir: dir, Offline: true})
	} else if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	mirror := e.getenv("VGG_MIRROR")
	from := r.URL
	if mirror != "" {
		from = fmt.Sprintf("%s from the mirror %s", r.File, mirror)
	}
	fmt.Fprintf(e.stderr, "%s by %s is not in %s yet: downloading %s (licence: %s)\n", r.FullName(), r.Source, dir, from, r.Licence)
	if r.SHA256 == "" && r.MD5 == "" {
		fmt.Fprintf(e.stderr, "its publisher gives no hash to check it by\n")
	}
	p := &pullProgress{e: e}
	defer p.close()
	return pull.Release(e.ctx, r, pull.Options{Dir: dir, Mirror: mirror, OnStage: p.stage})
}

// pullProgress shows a bar for each stage, in megabytes.
type pullProgress struct {
	e   *environment
	bar *progressBar
}

// stage begins a stage, and returns what its bytes are reported to.
func (p *pullProgress) stage(name string) progress.Func {
	const unit = 1_000_000
	p.close()
	if name == "converting" {
		fmt.Fprintln(p.e.stderr, "converting it to safetensors, once")
		return nil
	}
	return func(done, total int64) {
		if p.bar == nil && total > 0 {
			p.bar = newProgress(p.e.stderr, int(max(1, total/unit)), "MB")
		}
		if p.bar != nil {
			p.bar.set(int(min(done, total)/unit), name)
		}
	}
}

func (p *pullProgress) close() {
	if p.bar != nil {
		p.bar.close()
		p.bar = nil
	}
}

// readLabels reads the names of classes: imagenet, a list or Keras's class index in JSON,
// or one name a line.
func readLabels(file string) ([]string, error) {
	if file == "imagenet" {
		return vgg.ImageNetClasses(), nil
	}
	const most = 64 << 20
	if info, err := os.Stat(file); err == nil && info.Size() > most {
		return nil, fmt.Errorf("%d bytes, want a list of names", info.Size())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, pathless(err)
	}
	text := strings.TrimSpace(strings.TrimPrefix(string(data), "\ufeff"))
	switch {
	case text == "":
		return nil, errors.New("empty, want a list of names")
	case strings.HasPrefix(text, "["):
		var names []string
		if err := json.Unmarshal([]byte(text), &names); err != nil {
			return nil, fmt.Errorf("want a list of names: %w", err)
		}
		return names, nil
	case strings.HasPrefix(text, "{"):
		var index map[string][]string
		if err := json.Unmarshal([]byte(text), &index); err != nil {
			return nil, fmt.Errorf(`want {"0": ["n01440764", "tench"], …}: %w`, err)
		}
		names := make([]string, len(index))
		for i := range names {
			entry := index[strconv.Itoa(i)]
			if len(entry) == 0 {
				return nil, fmt.Errorf("%d classes, but none of index %d", len(index), i)
			}
			names[i] = strings.ReplaceAll(entry[len(entry)-1], "_", " ")
		}
		return names, nil
	}
	var names []string
	for line := range strings.Lines(text) {
		names = append(names, strings.TrimSpace(line))
	}
	return names, nil
}
