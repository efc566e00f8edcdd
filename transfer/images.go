// Package transfer uses a network's features on other data (appendix B): it computes
// descriptors of images, trains linear SVMs on them with the paper's protocols, and searches
// images by descriptor.
package transfer

import (
	"context"
	"fmt"
	"image"
	"io/fs"
	"math"
	"os"
	"slices"
	"time"

	"github.com/verydeep/vgg/dataset"
)

// Images is a set of images to describe, with their labels and parts.
type Images struct {
	*dataset.Dataset
	Labelled  bool     // samples have classes
	Difficult [][]int  // the classes that evaluation ignores for each sample; nil: none
	Parts     []string // train, val or test, of each sample; nil: no parts
	Boxed     bool     // a sample is its first box rather than its image

	stamps []Stamp // of each sample; nil: not asked for
}

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

// OpenImages opens images. With Auto the layout is VOC for a folder with ImageSets/Main,
// Classes for what [dataset.Open] reads, and Files for anything else and for several paths.
func OpenImages(ctx context.Context, layout Layout, paths ...string) (*Images, error) {
	if len(paths) == 0 {
		return nil, fmt.Errorf("transfer: no images, want files or a folder")
	}
	if layout != Auto && layout != Files && len(paths) > 1 {
		return nil, fmt.Errorf("transfer: layout %s: %d paths, want one folder", layout, len(paths))
	}
	switch layout {
	case Files:
		d, err := dataset.OpenFiles(ctx, paths...)
		if err != nil {
			return nil, err
		}
		return &Images{Dataset: d}, nil
	case Classes:
		return openClasses(ctx, paths[0])
	case VOC, VOCActions:
		read := dataset.OpenVOC
		if layout == VOCActions {
			read = dataset.OpenVOCActions
		}
		m, err := read(ctx, paths[0])
		if err != nil {
			return nil, err
		}
		return &Images{Dataset: m.Dataset, Labelled: true, Difficult: m.Difficult, Parts: m.Parts, Boxed: layout == VOCActions}, nil
	case Auto:
	default:
		return nil, fmt.Errorf("transfer: layout %q, want one of %v", layout, Layouts())
	}
	if len(paths) == 1 {
		if isVOC(paths[0]) {
			return OpenImages(ctx, VOC, paths[0])
		}
		if labelled, err := openClasses(ctx, paths[0]); err == nil || ctx.Err() != nil {
			return labelled, err
		}
	}
	return OpenImages(ctx, Files, paths...)
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

func openClasses(ctx context.Context, path string) (*Images, error) {
	train, val, err := dataset.Open(ctx, path, dataset.OpenOptions{})
	if err != nil {
		return nil, err
	}
	if val == nil {
		return &Images{Dataset: train, Labelled: true}, nil
	}
	both, err := dataset.Join(path, train, val)
	if err != nil {
		return nil, err
	}
	parts := append(slices.Repeat([]string{partTrain}, train.Len()), slices.Repeat([]string{partVal}, val.Len())...)
	return &Images{Dataset: both, Labelled: true, Parts: parts}, nil
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

func (m *Images) stamp(i int) Stamp {
	if m.stamps == nil {
		return Stamp{}
	}
	return m.stamps[i]
}

// stamped returns the images with the stamps of their files.
func (m *Images) stamped(ctx context.Context) (*Images, error) {
	infos, err := m.Stat(ctx)
	if err != nil {
		return nil, err
	}
	out := *m
	out.stamps = make([]Stamp, len(infos))
	for i, info := range infos {
		if info != nil {
			out.stamps[i] = Stamp{info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano)}
		}
	}
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
