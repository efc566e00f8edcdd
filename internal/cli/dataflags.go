package cli

import (
	"fmt"
	"path/filepath"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/dataset/sample"
)

// dataFlags are shared by the commands that read labelled images.
type dataFlags struct {
	Layout string `default:"auto" enum:"auto,folders,parts,boxes" placeholder:"NAME" help:"Layout, of folders that can be read in several ways: folders, all are classes; parts, those called train, val, test … are parts, and others are left out; boxes, the classes are the names of the bounding boxes (auto, which asks if in doubt)."`
	classFlags
}

// classFlags tell the classes of images that folders don't.
type classFlags struct {
	Columns      dataset.Columns `placeholder:"image=NAME,label=NAME" help:"Columns of the table beside the images: image, label, and split for the parts (split=fold:0 validates on fold 0). none reads no table (as values and names tell)."`
	LabelPattern string          `placeholder:"PATTERN" help:"Take the classes from the files' names: a template such as {label}.#.jpg, with * for anything and # for a number, or a regular expression with a group (?P<label>…)."`
	annotationsFlag
	cacheFlag
}

// cacheFlag is shared by the commands that read images which may lie on a server.
type cacheFlag struct {
	CacheSize cacheSize `default:"${cachesize}" placeholder:"SIZE" help:"Most bytes of downloaded images that are kept on disk; 0 keeps none (${cachesize})."`
}

// mostKeptImages is the most bytes of downloaded images that are kept without --cache-size.
const mostKeptImages = 10 << 30

// cacheSize is a number of bytes that may be 0.
type cacheSize size

// UnmarshalText implements [encoding.TextUnmarshaler].
func (c *cacheSize) UnmarshalText(text []byte) error {
	if string(text) == "0" {
		*c = 0
		return nil
	}
	return (*size)(c).UnmarshalText(text)
}

// server returns the options of images on a server.
func (f cacheFlag) server(e *environment) dataset.RemoteOptions {
	o := dataset.RemoteOptions{OnRemark: e.remark}
	if dir := cacheDir(); dir != "" && f.CacheSize > 0 {
		o.CacheDir, o.CacheBytes = filepath.Join(dir, "objects"), int64(f.CacheSize)
	}
	return o
}

// annotationsFlag is shared by the commands that read bounding boxes.
type annotationsFlag struct {
	Annotations string `placeholder:"PATH" help:"Bounding boxes: COCO's JSON, YOLO's data.yaml, an XML file as in ILSVRC and PASCAL VOC, a folder of such files, or a table (those beside the images). Images without class folders have the class of their largest box."`
}

// autoLayout is the default of --layout.
const autoLayout = "auto"

// options returns the options with which images are opened.
func (f dataFlags) options(e *environment) (dataset.OpenOptions, error) {
	o := dataset.OpenOptions{Annotations: f.Annotations, Columns: f.Columns, Remote: f.server(e)}
	if f.Layout != autoLayout {
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

// text writes the flags that were given, for the command that comes next.
func (f dataFlags) text() string {
	text := ""
	if f.Layout != autoLayout {
		text += " --layout " + f.Layout
	}
	if f.LabelPattern != "" {
		text += " --label-pattern " + quoted(f.LabelPattern)
	}
	if f.Columns != (dataset.Columns{}) {
		text += " --columns " + quoted(f.Columns.String())
	}
	if f.Annotations != "" {
		text += " --annotations " + quoted(f.Annotations)
	}
	return text
}

// open opens images in any layout, or the built-in ones.
func (f dataFlags) open(e *environment, path string) (train, val *dataset.Dataset, err error) {
	o, err := f.options(e)
	if err != nil {
		return nil, nil, err
	}
	if path == sampleName {
		return sample.Open()
	}
	return dataset.Open(e.ctx, path, o)
}
