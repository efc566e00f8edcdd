// Package teach makes a model of a network's convolutions and a few pictures of each class: it
// describes the pictures, learns a linear SVM, measures it on pictures that it has not seen,
// and returns one ordinary model, which ends with global average pooling, the division by the
// norm and the SVM as its fully connected layer (appendix B of the paper, put back into the
// network).
package teach

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/transfer"
)

// Options are the options of teaching. [DefaultOptions] returns those of the command, from
// which the caller goes on.
type Options struct {
	// Descriptors is a .npy file that keeps the descriptors, so that a later call computes only
	// those of new pictures, and an interrupted one goes on; "" keeps none.
	Descriptors string
	// Scale is Q, the smallest side in pixels that pictures are rescaled to; 0: that of the
	// network's preprocessing. The model shows the central crop of them.
	Scale int
	// Cs are the candidates for the SVMs' C, of which cross-validation chooses one.
	Cs    []float64
	Folds int // of the cross-validation, at least 3
	// Duplicates is the least similarity of near-duplicates, up to 1; 0: that of pictures which are
	// 25 times as near to each other as two pictures of the set mostly are. [NoDuplicates] looks for
	// none.
	Duplicates float64
	Seed       uint64 // of the folds and of the order of the SVMs' training

	resources.Resources // of describing the pictures

	// OnStage, if set, is told the name of each stage when it begins; OnImage counts the pictures
	// that are described, OnClass the classes that an SVM is trained for, of each stage.
	OnStage  func(what string)
	OnImage  progress.Func
	OnClass  progress.Func
	OnRemark func(text string) // is told what has happened to pictures since the last call
}

// NoDuplicates is the value of Options.Duplicates with which no near-duplicates are looked for.
const NoDuplicates = -1.0

// DefaultOptions returns the options of the command: five folds, and near-duplicates by the set.
func DefaultOptions() Options {
	return Options{Cs: []float64{1, 10, 100}, Folds: 5}
}

func (o Options) validate() error {
	switch {
	case len(o.Cs) == 0:
		return errors.New("teach: no candidates for C, want those of DefaultOptions")
	case o.Folds < 3: // one is tested, and the others choose C among them
		return fmt.Errorf("teach: %d folds, want at least 3", o.Folds)
	case !(o.Duplicates >= 0 && o.Duplicates <= 1) && o.Duplicates != NoDuplicates:
		return fmt.Errorf("teach: near-duplicates from a similarity of %v on, want 0 to 1", o.Duplicates)
	case o.Scale < 0:
		return fmt.Errorf("teach: scale %d, want at least 0", o.Scale)
	}
	return nil
}

// Result is a model and what is known of it.
type Result struct {
	Model  *vgg.Model
	Report Report
}

// Net describes a network that is in memory. Its head, if it has one, has no part.
func Net(name string, m *vgg.Model) transfer.Net {
	return transfer.Net{Weights: name, Open: func() (*vgg.Model, error) { return m, nil }}
}

// Class is a class and its pictures, of which Name counts and Label does not.
type Class struct {
	Name     string
	Pictures []dataset.Picture
}

// Pictures returns pictures in memory as images to learn from. The name of a picture is
// that of its class and its own, or its number in the class.
func Pictures(name string, classes []Class) (*transfer.Images, error) {
	var names []string
	var all []dataset.Picture
	for label, c := range classes {
		names = append(names, c.Name)
		for i, p := range c.Pictures {
			if p.Name == "" {
				p.Name = fmt.Sprintf("%06d", i)
			}
			p.Label, p.Labels, p.Name = label, nil, fmt.Sprintf("%d/%s", label, p.Name)
			all = append(all, p)
		}
	}
	d, err := dataset.FromPictures(name, names, all)
	if err != nil {
		return nil, fmt.Errorf("teach: %w", err)
	}
	return &transfer.Images{Dataset: d, Labelled: true}, nil
}

// Teach learns the classes of images on the convolutions of a network. net.Layer and net.Scales
// are chosen here. Where the images have a part to validate or test on, the SVMs learn from
// the others, and these measure the model; else all are learnt from, and cross-validation
// measures it. Near-duplicates are never on both sides of a fold.
//
// An unreadable picture is left out and reported.
func Teach(ctx context.Context, net transfer.Net, images *transfer.Images, o Options) (*Result, error) {
	l, base, net, err := begin(ctx, net, images, o)
	if err != nil {
		return nil, err
	}
	if err := l.run(ctx); err != nil {
		return nil, err
	}
	m, err := l.model(base, net)
	if err != nil {
		return nil, err
	}
	return &Result{m, l.report()}, nil
}

// begin describes the images. It returns what learns from the descriptors, the network, and how
// the network describes.
func begin(ctx context.Context, net transfer.Net, images *transfer.Images, o Options) (*learning, *vgg.Model, transfer.Net, error) {
	if err := o.validate(); err != nil {
		return nil, nil, net, err
	}
	if err := checkImages(images); err != nil {
		return nil, nil, net, err
	}
	if net.Open == nil {
		return nil, nil, net, errors.New("teach: a network without Open, want one of Net")
	}
	base, err := net.Open()
	if err != nil {
		return nil, nil, net, err
	}
	if base == nil || base.Net == nil {
		return nil, nil, net, fmt.Errorf("teach: %w", vgg.ErrNoNetwork)
	}
	if net.Layer, err = featureLayer(base.Net.Options()); err != nil {
		return nil, nil, net, err
	}
	scale := o.Scale
	if scale == 0 {
		scale = base.Preprocess.Resize
	}
	net.Scales = []int{scale}
	o.stage("describing")
	d, x, err := o.describe(ctx, net, images)
	if err != nil {
		return nil, nil, net, err
	}
	return &learning{o: o, d: d, x: x}, base, net, nil
}

func (o Options) stage(what string) {
	if o.OnStage != nil {
		o.OnStage(what)
	}
}

// checkImages returns an error for images that no classes can be learnt from.
func checkImages(images *transfer.Images) error {
	switch {
	case images == nil || images.Dataset == nil:
		return errors.New("teach: no images, want those of transfer.OpenImages or Pictures")
	case !images.Labelled:
		return fmt.Errorf("teach: %s: the pictures have no classes, want a folder with a folder for each class, or a table beside the pictures", images.Name)
	case len(images.Classes) < 2 && !images.MultiLabel:
		return fmt.Errorf("teach: %s: one class, want at least two: a folder for each, such as cat and other", images.Name)
	case images.MultiLabel:
		return nil
	}
	// Of fewer pictures than any set needs, nothing is described first, which may take long.
	for class, n := range images.Counts() {
		if least := leastPictures(images.Parts != nil); n < least {
			return tooFew(images.Name, images.Classes[class], n, "", least)
		}
	}
	return nil
}

// leastPictures is wanted, with a part to test on or without.
func leastPictures(tested bool) int {
	if tested {
		return 2
	}
	return 3
}

// tooFew is the error of a class that has too few pictures.
func tooFew(set, class string, n int, kind string, least int) error {
	pictures := "pictures"
	if n == 1 {
		pictures = "picture"
	}
	return fmt.Errorf("teach: %s: class %s has %d %s%s to learn from, want at least %d of each class: add some, or remove its folder", set, class, n, kind, pictures, least)
}

// describe returns the descriptors of the images, those that are kept and new ones.
func (o Options) describe(ctx context.Context, net transfer.Net, images *transfer.Images) (*transfer.Descriptors, []float32, error) {
	how := transfer.Options{Crop: true, Resources: o.Resources, OnImage: o.OnImage}
	nets := []transfer.Net{net}
	if o.Descriptors == "" {
		return transfer.Compute(ctx, nets, images, how)
	}
	if o.OnRemark != nil {
		how.OnRemark = o.OnRemark
	}
	if _, _, err := transfer.Update(ctx, nets, images, o.Descriptors, how); err != nil {
		return nil, nil, err
	}
	d, err := transfer.Open(ctx, o.Descriptors)
	if err != nil {
		return nil, nil, err
	}
	x, err := d.Load(ctx)
	if closed := d.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, nil, err
	}
	rows := slices.Clone(d.Rows)
	for r := range rows { // the file may be older than the parts
		rows[r].Part = ""
		if images.Parts != nil {
			rows[r].Part = images.Parts[rows[r].Image]
		}
	}
	return transfer.InMemory(d.Header, rows, x), x, nil
}

// featureLayer names the last layer of a network before its head: pool5.
func featureLayer(o network.Options) (string, error) {
	if o.Until != "" {
		return "", fmt.Errorf("teach: a network that ends with %s, want one with all its convolutions", o.Until)
	}
	chain, err := network.Plan(o.WithoutHead())
	if err != nil {
		return "", fmt.Errorf("teach: %w", err)
	}
	layers := chain.Layers()
	return layers[len(layers)-1].Name(), nil
}
