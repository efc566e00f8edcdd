package transfer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
)

// Header identifies descriptors: of which images, by which networks and how.
type Header struct {
	Format  string      `json:"format"` // fileFormat
	Data    eval.DataID `json:"data"`
	Layout  string      `json:"layout,omitempty"` // "": no labels; "one class"; "several classes"
	Nets    []NetID     `json:"nets"`
	Regions []Region    `json:"regions"`
	Average bool        `json:"average"` // scales are averaged rather than stacked
	Raw     bool        `json:"raw"`     // not normalised
	Flip    bool        `json:"flip"`
	Max     bool        `json:"max"`            // the maximum over space, not the mean
	Crop    bool        `json:"crop,omitempty"` // the central crop, not the whole image
	ISA     string      `json:"isa"`            // instruction set: the last bits depend on it
	Shard   eval.Shard  `json:"shard"`
	Dim     int         `json:"dim"` // numbers of a descriptor
}

// NetID identifies a network and the layer whose activation is the descriptor.
type NetID struct {
	Weights    string          `json:"weights"`
	SHA256     string          `json:"sha256"`
	FCWeights  nn.Storage      `json:"fc_weights"`
	Device     string          `json:"device,omitempty"` // empty: the processor
	Preprocess preprocess.Spec `json:"preprocess"`
	Layer      string          `json:"layer"`
	Rectified  bool            `json:"rectified"`
	Scales     []int           `json:"scales"`
	Channels   int             `json:"channels"` // of the layer
}

// Region is the part of an image that is described.
type Region string

// The regions.
const (
	WholeImage Region = "image"
	Box        Region = "box" // the sample's box
)

const fileFormat = "vgg descriptors 1"

// Layouts of labels in a file.
const (
	oneClass       = "one class"
	severalClasses = "several classes"
)

// Labelled reports whether the file has labels.
func (h Header) Labelled() bool { return h.Layout != "" }

// Multi reports whether a sample may show several classes.
func (h Header) Multi() bool { return h.Layout == severalClasses }

// column is the part of a descriptor that one network computes from one region.
type column struct {
	net    int
	region Region
	start  int // index of its first number in a row
	dim    int
}

// columns returns the columns of a descriptor in order.
func (h Header) columns() []column {
	var cs []column
	at := 0
	for i, n := range h.Nets {
		for _, r := range h.Regions {
			dim := n.Channels
			if !h.Average {
				dim *= len(n.Scales)
			}
			cs = append(cs, column{i, r, at, dim})
			at += dim
		}
	}
	return cs
}

// Rows returns the number of descriptors in the file.
func (h Header) Rows() int { return h.Shard.Images(h.Data.Images) }

// image returns the index in the set of the image of row r.
func (h Header) image(r int) int { return r*h.Shard.Count + h.Shard.Index - 1 }

// difference describes the first respect in which h is the header of another extraction than
// want; "" of the same one. Names of files and data, and the shard, may differ.
func (h Header) difference(want Header) string {
	if d := h.dataDifference(want); d != "" {
		return d
	}
	return h.made(want)
}

// differs is Difference, and compares the shard too.
func (h Header) differs(want Header) string {
	if d := h.difference(want); d != "" {
		return d
	}
	if h.Shard != want.Shard {
		return fmt.Sprintf("shard %v, want %v", h.Shard, want.Shard)
	}
	return ""
}

// made is Difference without the data. If it is "", an image has the same descriptor in both,
// to the last bit.
func (h Header) made(want Header) string {
	if d := h.recipe(want); d != "" {
		return d
	}
	for i, n := range h.Nets {
		if w := want.Nets[i]; n.Device != w.Device {
			return journal.Difference(w.Weights+": device", cmp.Or(n.Device, "the processor"), cmp.Or(w.Device, "the processor"))
		}
	}
	if h.ISA != want.ISA {
		return fmt.Sprintf("instruction set %s, want %s", h.ISA, want.ISA)
	}
	return ""
}

// recipe is made without the instruction set and the device. If it is "", the descriptors can be compared
// with one another.
func (h Header) recipe(want Header) string {
	differ := journal.Difference
	if len(h.Nets) != len(want.Nets) {
		return differ("networks:", len(h.Nets), len(want.Nets))
	}
	for i, n := range h.Nets {
		w := want.Nets[i]
		switch {
		case n.SHA256 != w.SHA256:
			return fmt.Sprintf("weights %s with SHA-256 %.12s, want %s with %.12s", n.Weights, n.SHA256, w.Weights, w.SHA256)
		case n.Layer != w.Layer:
			return differ(w.Weights+": layer", n.Layer, w.Layer)
		case n.Rectified != w.Rectified:
			return differ(w.Weights+": rectified", n.Rectified, w.Rectified)
		case !slices.Equal(n.Scales, w.Scales):
			return differ(w.Weights+": scales", n.Scales, w.Scales)
		case n.Preprocess.Orient != w.Preprocess.Orient:
			return differ(w.Weights+": orientation", n.Preprocess.Orient, w.Preprocess.Orient) + fmt.Sprintf(" (--orient %v)", n.Preprocess.Orient)
		case n.Preprocess != w.Preprocess:
			return differ(w.Weights+": preprocessing", n.Preprocess, w.Preprocess)
		case n.FCWeights != w.FCWeights:
			return differ(w.Weights+": fully connected weights in", n.FCWeights, w.FCWeights)
		}
	}
	switch {
	case !slices.Equal(h.Regions, want.Regions):
		return differ("regions", h.Regions, want.Regions)
	case h.Average != want.Average:
		return differ("scales averaged", h.Average, want.Average)
	case h.Raw != want.Raw:
		return differ("without normalisation", h.Raw, want.Raw)
	case h.Flip != want.Flip:
		return differ("mirror images", h.Flip, want.Flip)
	case h.Max != want.Max:
		return differ("max-pooling", h.Max, want.Max)
	case h.Crop != want.Crop:
		return differ("central crop", h.Crop, want.Crop)
	case h.Dim != want.Dim:
		return differ("numbers of a descriptor", h.Dim, want.Dim)
	}
	return ""
}

// dataDifference describes how the samples of h differ from those of want; "" if they are
// the same.
func (h Header) dataDifference(want Header) string {
	if d := h.Data.Difference(want.Data); d != "" {
		return d
	}
	if !slices.Equal(h.Data.Classes, want.Data.Classes) {
		return "classes in another order"
	}
	return ""
}

// validate returns an error if h can't be the header of a file.
func (h Header) validate() error {
	switch {
	case h.Format != fileFormat:
		return fmt.Errorf("format %q, want %q", h.Format, fileFormat)
	case h.Data.Images < 1 || h.Data.Images > 1<<40:
		return fmt.Errorf("%d images, want at least 1", h.Data.Images)
	case h.Shard.Count < 1 || h.Shard.Index < 1 || h.Shard.Index > h.Shard.Count:
		return fmt.Errorf("shard %v, want 1/n to n/n", h.Shard)
	case len(h.Nets) == 0 || len(h.Regions) == 0:
		return errors.New("no networks or no regions, want at least one of each")
	case h.Layout != "" && h.Layout != oneClass && h.Layout != severalClasses:
		return fmt.Errorf("layout %q, want %q or %q", h.Layout, oneClass, severalClasses)
	}
	const most = 1 << 24
	for _, n := range h.Nets {
		if n.Channels < 1 || n.Channels > most || len(n.Scales) < 1 || len(n.Scales) > most {
			return fmt.Errorf("%s: %d channels at %d scales, want at least 1", n.Weights, n.Channels, len(n.Scales))
		}
	}
	cs := h.columns()
	if last := cs[len(cs)-1]; h.Dim != last.start+last.dim || h.Dim > most {
		return fmt.Errorf("%d numbers of a descriptor, want %d", h.Dim, last.start+last.dim)
	}
	return nil
}
