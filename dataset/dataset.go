// Package dataset holds the samples of an image collection (files and their
// classes) and makes mini-batches of them.
//
// [Open] reads images in the layouts that people keep them in (class folders,
// ILSVRC as it is distributed, files with a CSV of labels, ZIP files, tar
// shards), [OpenSample] the photographs that are embedded in the binary, and
// [ReadBoxes] adds bounding boxes; [Split] divides a collection into training and
// validation parts. A [Loader] decodes, augments and assembles batches ahead of
// their use; order and augmentation of the images depend on seed and epoch
// alone. [ComputeStats] measures what preprocessing needs to know about a
// training set. [WriteShards] makes shards of a collection.
package dataset

import (
	"fmt"
	"io/fs"
)

// Sample is one image and its class.
type Sample struct {
	Name  string // slash-separated path below the root of the collection
	Label int    // index into Dataset.Classes
	Boxes []Box  // bounding boxes of objects, if they were read
}

// Dataset is a list of samples and where their bytes lie. It is not changed by
// anything in this package once made, and several goroutines may use it at
// once.
type Dataset struct {
	Name    string   // what errors and reports call it
	Classes []string // in the order of the labels
	Titles  []string // readable names of the classes, where a list of synsets has them; else nil
	Samples []Sample
	fsys    fs.FS

	root    fs.FS  // of the layout, where lists and annotations lie beside the images
	part    string // train or val, where the layout has parts
	partial bool   // other samples of the same part are left out
	path    string // on disk, a folder or an archive; "" if there is none
}

// subset returns a dataset of some of d's samples.
func (d *Dataset) subset(name string, samples []Sample) *Dataset {
	part := *d
	part.Name, part.Samples = name, samples
	part.partial = part.partial || len(samples) != len(d.Samples)
	return &part
}

// Select returns d without the samples that keep refuses.
func (d *Dataset) Select(keep func(Sample) bool) *Dataset {
	var kept []Sample
	for _, s := range d.Samples {
		if keep(s) {
			kept = append(kept, s)
		}
	}
	return d.subset(d.Name, kept)
}

// New returns a dataset over samples whose files lie in fsys. It is an error
// if a label is not the index of a class or a name is not a path that [fs.FS]
// takes.
func New(name string, fsys fs.FS, classes []string, samples []Sample) (*Dataset, error) {
	for _, s := range samples {
		if s.Label < 0 || s.Label >= len(classes) {
			return nil, fmt.Errorf("dataset: %s: %s: label %d, want 0 to %d", name, s.Name, s.Label, len(classes)-1)
		}
		if !fs.ValidPath(s.Name) {
			return nil, fmt.Errorf("dataset: %s: %q, want a slash-separated path below the root", name, s.Name)
		}
	}
	return &Dataset{Name: name, Classes: classes, Samples: samples, fsys: fsys}, nil
}

// Len returns the number of samples.
func (d *Dataset) Len() int { return len(d.Samples) }

// Counts returns the number of samples of each class.
func (d *Dataset) Counts() []int {
	n := make([]int, len(d.Classes))
	for _, s := range d.Samples {
		n[s.Label]++
	}
	return n
}

// Read returns the bytes of sample i's file. It panics if there is no such
// sample.
func (d *Dataset) Read(i int) ([]byte, error) {
	data, err := fs.ReadFile(d.fsys, d.Samples[i].Name)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", d.Name, err)
	}
	return data, nil
}
