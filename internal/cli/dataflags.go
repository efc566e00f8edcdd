package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/verydeep/vgg/dataset"
)

// dataFlags are shared by the commands that read labelled images.
type dataFlags struct {
	Layout       string `default:"auto" enum:"auto,folders,parts,boxes" placeholder:"NAME" help:"What folders are that can be read in several ways: folders, all are classes; parts, those called train, val, test … are parts, and others are left out; boxes, the classes are the names of the bounding boxes (auto, which asks if in doubt)."`
	LabelPattern string `placeholder:"PATTERN" help:"Take the classes from the files' names: a template such as {label}.#.jpg, with * for anything and # for a number, or a regular expression with a group (?P<label>…)."`
	Annotations  string `placeholder:"PATH" help:"Bounding boxes: COCO's JSON, YOLO's data.yaml, an XML file as in ILSVRC and PASCAL VOC, a folder of such files, or a table (those beside the images). Images without class folders have the class of their largest box."`
}

// options returns the options with which images are opened.
func (f dataFlags) options() (dataset.OpenOptions, error) {
	o := dataset.OpenOptions{Annotations: f.Annotations}
	if f.Layout != "auto" {
		o.Layout = dataset.Layout(f.Layout)
	}
	if f.LabelPattern != "" {
		var err error
		if o.Labels, err = dataset.ParseLabelPattern(f.LabelPattern); err != nil {
			return o, usageError{fmt.Errorf("--label-pattern: %w", err)}
		}
	}
	return o, nil
}

// open opens images in any layout, or the built-in ones. An error that a flag resolves names
// the flag.
func (f dataFlags) open(ctx context.Context, path string) (train, val *dataset.Dataset, err error) {
	o, err := f.options()
	if err != nil {
		return nil, nil, err
	}
	if path == sampleName {
		return dataset.OpenSample()
	}
	train, val, err = dataset.Open(ctx, path, o)
	return train, val, withFlag(err)
}

// withFlag adds to the error of opening images the flags that resolve it.
func withFlag(err error) error {
	if ambiguous, ok := errors.AsType[*dataset.AmbiguousError](err); ok {
		for _, r := range ambiguous.Readings {
			if r.Path == "" {
				return fmt.Errorf("%w; the flag is --layout", err)
			}
		}
	}
	if unlabelled, ok := errors.AsType[*dataset.UnlabelledError](err); ok && unlabelled.Pattern != "" {
		return fmt.Errorf("%w; add --label-pattern '%s'", err, unlabelled.Pattern)
	}
	return err
}
