// Package transfer uses a network's features on other data (appendix B): it computes
// descriptors of images, trains linear SVMs on them with the paper's protocols, and searches
// images by descriptor.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/internal/remote"
)

// Images is a set of images to describe, with their labels and parts.
type Images struct {
	*dataset.Dataset
	Labelled  bool     // samples have classes
	Difficult [][]int  // the classes that evaluation ignores for each sample; nil: none
	Parts     []string // train, val or test, of each sample; nil: no parts
	Boxed     bool     // a sample is its first box rather than its image

	follows *dataset.Versions // nil before followed
}

// errNoImages is the error of images that are missing.
var errNoImages = errors.New("transfer: no images, want those that OpenImages returns, or a Dataset")

// Layout says where the labels of images are.
type Layout string

// The layouts.
const (
	Auto       Layout = "auto"       // the layout that the folder shows
	Files      Layout = "files"      // images without labels, at any depth
	Classes    Layout = "classes"    // one class an image: what dataset.Open reads
	VOC        Layout = "voc"        // PASCAL VOC, several classes an image
	VOCActions Layout = "voc-action" // PASCAL VOC's action task: a sample is a person
)

// Layouts returns all layouts.
func Layouts() []Layout { return []Layout{Auto, Files, Classes, VOC, VOCActions} }

// ImageOptions chooses how [OpenImages] reads.
type ImageOptions struct {
	Layout Layout // "" is Auto
	// Classes is how images are opened that have classes.
	Classes dataset.OpenOptions
}

// OpenImages opens images. With Auto the layout is VOC for a folder with ImageSets/Main,
// Classes for what [dataset.Open] reads, and Files for images of which nothing tells the
// classes, for image files and for several paths. Folders whose classes are in doubt are an
// error, as of [dataset.Open].
func OpenImages(ctx context.Context, o ImageOptions, paths ...string) (*Images, error) {
	if len(paths) == 0 {
		return nil, fmt.Errorf("transfer: no images, want files or a folder")
	}
	if o.Layout == "" {
		o.Layout = Auto
	}
	if o.Layout != Auto && o.Layout != Files && len(paths) > 1 {
		return nil, fmt.Errorf("transfer: layout %s: %d paths, want one folder", o.Layout, len(paths))
	}
	switch o.Layout {
	case Files:
		d, err := dataset.OpenFiles(ctx, paths...)
		if err != nil {
			return nil, err
		}
		return &Images{Dataset: d}, nil
	case Classes:
		return openClasses(ctx, o.Classes, paths[0])
	case VOC, VOCActions:
		read := dataset.OpenVOC
		if o.Layout == VOCActions {
			read = dataset.OpenVOCActions
		}
		m, err := read(ctx, paths[0])
		if err != nil {
			return nil, err
		}
		return &Images{Dataset: m.Dataset, Labelled: true, Difficult: m.Difficult, Parts: m.Parts, Boxed: o.Layout == VOCActions}, nil
	case Auto:
	default:
		return nil, fmt.Errorf("transfer: layout %q, want one of %s", o.Layout, journal.List(Layouts()))
	}
	if len(paths) == 1 {
		if isVOC(paths[0]) {
			o.Layout = VOC
			return OpenImages(ctx, o, paths[0])
		}
		labelled, err := openClasses(ctx, o.Classes, paths[0])
		if err == nil || ctx.Err() != nil || !unlabelled(paths[0], err) {
			return labelled, err
		}
	}
	o.Layout = Files
	return OpenImages(ctx, o, paths...)
}

// unlabelled reports whether the error of opening classes says that there are none.
func unlabelled(path string, err error) bool {
	if info, statErr := os.Stat(path); statErr == nil && !info.IsDir() {
		switch strings.ToLower(filepath.Ext(path)) {
		case ".zip", ".tar", ".csv", ".json", ".yaml", ".yml":
			return false
		}
		return true
	}
	var none *dataset.UnlabelledError
	return errors.As(err, &none)
}

// isVOC reports whether a folder, or one up to two levels below it, has VOC's lists.
func isVOC(dir string) bool {
	for _, pattern := range []string{"ImageSets/Main/*.txt", "*/ImageSets/Main/*.txt", "*/*/ImageSets/Main/*.txt"} {
		if m, err := fs.Glob(os.DirFS(dir), pattern); err == nil && len(m) > 0 {
			return true
		}
	}
	return false
}

func openClasses(ctx context.Context, o dataset.OpenOptions, path string) (*Images, error) {
	train, val, err := dataset.Open(ctx, path, o)
	if err != nil {
		return nil, err
	}
	return JoinParts(remote.Plain(path), train, val)
}

// JoinParts returns the images of a part to train on and one to validate on, which may be nil,
// as one set.
func JoinParts(name string, train, val *dataset.Dataset) (*Images, error) {
	if train == nil {
		return nil, errNoImages
	}
	if val == nil {
		return &Images{Dataset: train, Labelled: true}, nil
	}
	both, err := dataset.Join(name, train, val)
	if err != nil {
		return nil, err
	}
	parts := append(slices.Repeat([]string{partTrain}, train.Len()), slices.Repeat([]string{partVal}, val.Len())...)
	return &Images{Dataset: both, Labelled: true, Parts: parts}, nil
}

// Part returns the images of a part; nil if there are none.
func (m *Images) Part(name string) *dataset.Dataset {
	i := -1
	part := m.Select(func(dataset.Sample) bool { i++; return m.part(i) == name })
	if part.Len() == 0 {
		return nil
	}
	return part
}

// Parts of a set.
const (
	partTrain = "train"
	partVal   = "val"
	partTest  = "test"
)

// labels returns the classes of sample i, and those that evaluation ignores.
func (m *Images) labels(i int) (present, difficult []int) {
	switch {
	case m.Difficult != nil:
		return m.LabelsOf(i), m.Difficult[i]
	case m.Labelled:
		return m.LabelsOf(i), nil
	}
	return nil, nil
}

func (m *Images) part(i int) string {
	if m.Parts == nil {
		return ""
	}
	return m.Parts[i]
}

// stamp returns the stamp of an image that has just been described.
func (m *Images) stamp(i int) Stamp { return Stamp{m.follows.Bytes(i), m.follows.Of(i)} }

// followed returns the images with what tells whether they change.
func (m *Images) followed(ctx context.Context) (*Images, error) {
	follows, err := dataset.NewVersions(ctx, m.Dataset)
	if err != nil {
		return nil, err
	}
	out := *m
	out.follows = follows
	return &out, nil
}

// box returns the first box of sample i in whole pixels of its image; empty without one.
func (m *Images) box(i int) image.Rectangle {
	boxes := m.Samples[i].Boxes
	if len(boxes) == 0 {
		return image.Rectangle{}
	}
	b := boxes[0]
	return image.Rect(int(math.Floor(b.X0)), int(math.Floor(b.Y0)), int(math.Ceil(b.X1)), int(math.Ceil(b.Y1)))
}
