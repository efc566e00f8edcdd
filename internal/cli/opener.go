package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/releases"
	"github.com/verydeep/vgg/releases/pull"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/weights"
)

// releaseFlags are shared by the commands that take a release for a file of weights.
type releaseFlags struct {
	Source  string `default:"torchvision" enum:"torchvision,keras,caffe" placeholder:"NAME" help:"Publisher of the releases: torchvision, keras or caffe (torchvision)."`
	Offline bool   `help:"Download nothing. A release that was not downloaded before is an error."`
}

// opener opens weights. Every command that reads weights has one, made of its flags. It
// takes the name of a file or, where there is no such file, of a public release (D,
// vgg16_bn, E-features), which it downloads on its first use.
type opener struct {
	env      *environment
	releases releaseFlags
	options  vgg.OpenOptions // what files don't tell, and what to read of them
	threads  int             // of the networks; 0: the default
	headless bool            // accept networks without a classifier
	device   device          // that the networks compute on; nil: the processor

	name  string     // the latest network's
	model *vgg.Model // the latest network, kept until another is opened
}

// opener returns an opener of classification networks.
func (f releaseFlags) opener(e *environment, fc nn.Storage, threads int) *opener {
	return &opener{env: e, releases: f, options: vgg.OpenOptions{FCStorage: fc}, threads: threads}
}

// opener returns an opener of classification networks that knows of them what the flags
// tell.
func (f modelFlags) opener(e *environment, fc nn.Storage, threads int) (*opener, error) {
	o := f.releaseFlags.opener(e, fc, threads)
	var err error
	o.options, err = f.options()
	o.options.FCStorage = fc
	return o, err
}

// convolutions opens the network of that name without its head.
func (f modelFlags) convolutions(e *environment, name string, threads int) (*vgg.Model, error) {
	o, err := f.opener(e, "", threads)
	if err != nil {
		return nil, err
	}
	o.options.Headless = true
	return o.open(name)
}

// open returns the network of that name: the latest one, if it is that.
func (o *opener) open(name string) (*vgg.Model, error) {
	if o.model != nil && o.name == name {
		return o.model, nil
	}
	o.name, o.model = "", nil // free the old network before the new one is read
	m, err := o.read(name)
	if err != nil {
		return nil, err
	}
	o.name, o.model = name, m
	return m, nil
}

// read reads the network of that name, and shows the progress if it takes long.
func (o *opener) read(name string) (*vgg.Model, error) {
	path, err := o.path(name)
	if err != nil {
		return nil, err
	}
	bar := o.env.newProgress()
	defer bar.close()
	options := o.options
	options.Described = func(d *vgg.Description) { o.env.reportIgnored(path, d) }
	options.Progress = bar.stage("reading "+filepath.Base(path), unitMillions)
	m, err := vgg.Open(o.env.ctx, path, options)
	if err != nil {
		return nil, notWeights(path, err)
	}
	if m.Net.Options().Headless() && !o.headless && !options.Headless && !options.Localiser {
		return nil, fmt.Errorf("%s: features only, without a classifier, want a network with classes", name)
	}
	o.place(m)
	return m, nil
}

// identify describes a network that open accepts, without reading its weights. It returns
// the path of the file too.
func (o *opener) identify(name string) (*vgg.Description, string, error) {
	path, err := o.path(name)
	if err != nil {
		return nil, "", err
	}
	f, err := openWeights(o.env.ctx, path)
	if err != nil {
		return nil, path, err
	}
	defer f.Close()
	d, err := vgg.Identify(o.env.ctx, f, o.options)
	return d, path, err
}

// net describes a network for package eval by name and hash. The hash is left out unless
// hashed is set.
func (o *opener) net(name string, s eval.Setting, hashed bool) (n eval.Net, err error) {
	n = eval.Net{Weights: name, FCWeights: o.options.FCStorage, Setting: s, Device: o.deviceID(), Open: func() (*vgg.Model, error) { return o.open(name) }}
	if hashed {
		n.SHA256, err = o.sha256(name)
	}
	return n, err
}

// identified is net with the description of the file, which all checks use.
func (o *opener) identified(name string, s eval.Setting, hashed bool) (eval.Net, error) {
	d, _, err := o.identify(name)
	if err != nil {
		return eval.Net{}, err
	}
	if d.Localisation != nil || d.Options.Headless() && !o.headless {
		if _, err := o.open(name); err != nil { // the error tells why the network is refused
			return eval.Net{}, err
		}
	}
	n, err := o.net(name, s, hashed)
	n.Description = d
	return n, err
}

// sha256 returns the SHA-256 of the file of that name, in hexadecimal.
func (o *opener) sha256(name string) (string, error) {
	path, err := o.path(name)
	if err != nil {
		return "", err
	}
	return fileSHA256(o.env.ctx, path)
}

// path returns the path of a file, or that of a release after its download.
func (o *opener) path(name string) (string, error) {
	r, ok, err := o.releases.find(name)
	if err != nil || !ok {
		return name, err
	}
	return o.env.pull(r, o.releases.Offline)
}

// find returns the release of that name. ok is false for the name of a file, and for
// anything that is no configuration's name, which then is a file that doesn't exist.
func (f releaseFlags) find(name string) (r releases.Release, ok bool, err error) {
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) || strings.ContainsAny(name, `/\`) {
		return r, false, nil
	}
	if r, err = releases.Find(name, f.Source); err != nil {
		if _, bad := architecture.Canonical(name); bad != nil {
			return r, false, nil
		}
		return r, false, err
	}
	return r, true, nil
}

// pull returns the path of a release in the user's cache, and announces a download.
func (e *environment) pull(r releases.Release, offline bool) (string, error) {
	dir, err := pull.DefaultDir()
	if err != nil {
		return "", err
	}
	path := pull.Path(dir, r)
	if exists(path) {
		return path, nil
	}
	if offline {
		_, err := pull.Release(e.ctx, r, pull.Options{Dir: dir, Offline: true})
		return "", byHand(err, r, path)
	}
	mirror := e.getenv("VGG_MIRROR")
	what := r.URL
	if mirror != "" {
		what = fmt.Sprintf("%s from the mirror %s", r.File, mirror)
	}
	fmt.Fprintf(e.stderr, "%s by %s is not in %s yet: downloading %s (about %s; licence: %s)\n", r.FullName(), r.Source, dir, what, report.Bytes(sizeOf(r)), r.Licence)
	if r.SHA256 == "" && r.MD5 == "" {
		fmt.Fprintf(e.stderr, "its publisher gives no hash to check it by\n")
	}
	bar := e.newProgress()
	defer bar.close()
	got, err := pull.Release(e.ctx, r, pull.Options{Dir: dir, Mirror: mirror, OnStage: func(stage string) progress.Func {
		if stage == "converting" {
			bar.close()
			fmt.Fprintln(e.stderr, "converting it to safetensors, once")
			return bar.stage(stage, unitMillions)
		}
		return bar.stage(stage, unitMegabytes)
	}})
	if _, unreachable := errors.AsType[net.Error](err); unreachable && e.ctx.Err() == nil {
		bar.close()
		return got, byHand(err, r, path)
	}
	return got, err
}

// sizeOf returns the size of a release's file in bytes, from its parameters of 4 bytes.
func sizeOf(r releases.Release) int64 {
	if r.Headless && r.Source == "torchvision" { // the file has an unusable classifier
		if whole, err := releases.Find(r.Name, r.Source); err == nil {
			return 4 * whole.Parameters
		}
	}
	return 4 * r.Parameters
}

// byHand adds to the error of a download how to do without it.
func byHand(err error, r releases.Release, path string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w; without a connection: bring %s (about %s) from %s, and name that file in the place of %s, or put it in its place by %s",
		err, r.File, report.Bytes(sizeOf(r)), r.URL, r.FullName(), commandLine("convert", r.File, path))
}

// fileSHA256 returns the SHA-256 of a file of weights, or of that in a folder, in hexadecimal.
func fileSHA256(ctx context.Context, path string) (string, error) {
	f, err := openWeights(ctx, path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return f.SHA256(ctx)
}

// openWeights is [weights.Open] with the errors of notWeights.
func openWeights(ctx context.Context, path string) (*weights.File, error) {
	f, err := weights.Open(ctx, path)
	if err != nil {
		return nil, notWeights(path, err)
	}
	return f, nil
}

// notWeights returns what is wrong with a file that can't be opened as weights: if it is an
// image, that it stands in the place of them. Files that can be opened aren't looked at twice.
func notWeights(path string, err error) error {
	if isImageFile(path) {
		return usagef("%s: an image, want a file of weights in its place; weights come before images", path)
	}
	return err
}
