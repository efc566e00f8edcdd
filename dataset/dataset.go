// Package dataset holds the samples of an image collection (images and their
// classes) and makes mini-batches of them.
//
// [Open] reads images in the layouts that people keep them in (class folders,
// ILSVRC as it is distributed, files with a CSV of labels, ZIP files, tar
// shards). [FromPictures] takes images that are in memory or made on demand, and
// [ReadBoxes] adds bounding boxes. Package sample below this one holds photographs to try
// things with. [Split] divides a collection into training and
// validation parts. A [Loader] decodes, augments and assembles batches ahead of
// their use; order and augmentation of the images depend on seed and epoch
// alone. [CachedSurvey] measures what preprocessing needs to know about a
// training set. [WriteShards] makes shards of a collection.
package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/preprocess"
)

// Sample is one image and its class, or its labels.
type Sample struct {
	Name   string // slash-separated path below the root of the collection
	Label  int    // index into Dataset.Classes; with several labels the first, or 0 of none
	Labels []int  // with Dataset.MultiLabel the classes that the image shows, ascending; else nil
	Boxes  []Box  // bounding boxes of objects, if they were read
}

// Dataset is a list of samples and the place of their images: a folder, an
// archive or memory. Nothing in this package changes a dataset once it is made,
// and several goroutines may use it at once.
type Dataset struct {
	Name    string   // used in errors and reports
	Classes []string // in the order of the labels
	Titles  []string // readable names of the classes, where a list of synsets has them; else nil
	Samples []Sample
	// MultiLabel says that an image shows any number of the classes, its Sample.Labels,
	// rather than one.
	MultiLabel bool

	fsys fs.FS // the image files by Sample.Name

	root    fs.FS   // of the layout, with the lists and annotations beside the images
	part    string  // train or val, where the layout has parts
	partial bool    // other samples of the same part are left out
	boxes   *boxSet // annotations, where the layout is recognised by them
	path    string  // on disk, a folder or an archive; "" if there is none
	source  *Source
}

// subset returns a dataset of some of d's samples.
func (d *Dataset) subset(name string, samples []Sample) *Dataset {
	part := *d
	part.Name, part.Samples = name, samples
	part.partial = part.partial || len(samples) != len(d.Samples)
	return &part
}

// Source returns what [Open] understood of the collection that d is from, nil if it is from
// elsewhere. It is shared by the parts of the collection and must not be changed.
func (d *Dataset) Source() *Source { return d.source }

// Select returns d with the samples for which keep returns true.
func (d *Dataset) Select(keep func(Sample) bool) *Dataset {
	var kept []Sample
	for _, s := range d.Samples {
		if keep(s) {
			kept = append(kept, s)
		}
	}
	return d.subset(d.Name, kept)
}

// New returns a dataset of samples whose files lie in fsys. It has several labels an
// image if every sample has Labels that aren't nil; an empty list is of an image that
// shows none of the classes, and each sample's Label follows from the list. It is an error
// if fsys is nil with samples, if only some samples have Labels, if a label is not the index of a class, and if a name
// is not a path that [fs.FS] takes.
func New(name string, fsys fs.FS, classes []string, samples []Sample) (*Dataset, error) {
	if fsys == nil && len(samples) > 0 {
		return nil, fmt.Errorf("dataset: %s: a nil file system", name)
	}
	for _, s := range samples {
		if s.Label < 0 || s.Label >= len(classes) {
			return nil, fmt.Errorf("dataset: %s: %s: label %d, want 0 to %d", name, s.Name, s.Label, len(classes)-1)
		}
		if !fs.ValidPath(s.Name) {
			return nil, fmt.Errorf("dataset: %s: %q, want a slash-separated path below the root", name, s.Name)
		}
	}
	d := &Dataset{Name: name, Classes: classes, Samples: samples, fsys: fsys}
	if slices.ContainsFunc(samples, func(s Sample) bool { return s.Labels != nil }) {
		d.Samples = slices.Clone(samples)
		if err := d.setMultiLabel(); err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", name, err)
		}
	}
	return d, nil
}

// Len returns the number of samples.
func (d *Dataset) Len() int {
	if d == nil {
		return 0
	}
	return len(d.Samples)
}

// errNil is the error of a dataset that is missing.
var errNil = errors.New("dataset: a nil dataset, want one that Open, New or FromPictures returns")

// check returns an error unless d has a sample i with a file.
func (d *Dataset) check(i int) error {
	switch {
	case d == nil:
		return errNil
	case i < 0 || i >= len(d.Samples):
		return fmt.Errorf("dataset: %s: sample %d, want one of %d, from 0 on", d.Name, i, len(d.Samples))
	case d.fsys == nil:
		return fmt.Errorf("dataset: %s: samples without files, want a dataset that Open, New or FromPictures returns", d.Name)
	}
	return nil
}

// Counts returns the number of samples of each class. With several labels a sample counts
// for each of them.
func (d *Dataset) Counts() []int {
	n := make([]int, len(d.Classes))
	for i := range d.Samples {
		for _, label := range d.LabelsOf(i) {
			n[label]++
		}
	}
	return n
}

// Read returns the bytes of sample i's image file; of a picture that was never a
// file, those of a BMP file with its pixels. What isn't a regular file is an error, and so
// are more than [preprocess.MaxFileBytes], which wrap [preprocess.ErrFileTooLarge]. So is a
// sample that there isn't.
func (d *Dataset) Read(i int) ([]byte, error) {
	if err := d.check(i); err != nil {
		return nil, err
	}
	name := d.Samples[i].Name
	if m, ok := d.fsys.(*memoryFS); ok { // what is in memory has no limit
		data, err := m.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", d.Name, err)
		}
		return data, nil
	}
	f, size, err := d.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := wholefile.ReadAll(context.Background(), f, size, preprocess.MaxFileBytes)
	if err != nil {
		return nil, d.readError(name, err)
	}
	return data, nil
}

// Size returns the width and height in pixels of sample i's image as it is
// stored, from its header.
func (d *Dataset) Size(i int) (w, h int, err error) {
	if err := d.check(i); err != nil {
		return 0, 0, err
	}
	data, err := d.Read(i)
	if err != nil {
		return 0, 0, err
	}
	return preprocess.Size(data)
}

// stored returns the width and height in pixels of sample i's image as it is stored, and its
// EXIF orientation. Of a JPEG file it reads the beginning only, if that has both.
func (d *Dataset) stored(i int) (w, h, orientation int, err error) {
	data, err := d.beginning(i)
	if err == nil && len(data) > 0 {
		if w, h, err = preprocess.Size(data); err == nil {
			return w, h, preprocess.Upright.Orientation(data), nil
		}
	}
	if data, err = d.Read(i); err != nil {
		return 0, 0, 0, err
	}
	w, h, err = preprocess.Size(data)
	return w, h, preprocess.Upright.Orientation(data), err
}

// beginning returns the first bytes of a JPEG file, none of another.
func (d *Dataset) beginning(i int) ([]byte, error) {
	f, _, err := d.open(d.Samples[i].Name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 256<<10))
	if err != nil || !bytes.HasPrefix(data, []byte{0xff, 0xd8}) {
		return nil, err
	}
	return data, nil
}

// AnyTurned reports whether the EXIF data of an image turns or mirrors it: whether
// [preprocess.Upright] and [preprocess.Stored] differ on the dataset. It reads the files up to
// the first such image. Unreadable images don't count. It is an error if ctx ends.
func (d *Dataset) AnyTurned(ctx context.Context) (bool, error) {
	for i := range d.Samples {
		if ctx.Err() != nil {
			return false, fmt.Errorf("dataset: %s: %w", d.Name, context.Cause(ctx))
		}
		data, err := d.Read(i)
		if Environment(ctx, err) {
			return false, err
		}
		if err == nil && preprocess.Upright.Orientation(data) > 1 {
			return true, nil
		}
	}
	return false, nil
}
