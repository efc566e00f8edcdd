package eval

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
)

// Header identifies an evaluation. It is the first line of a result file.
type Header struct {
	Format  string   `json:"format"` // fileFormat
	Data    DataID   `json:"data"`
	Classes []string `json:"classes"` // class of each number of a posterior
	// Thresholds are the least probabilities from which a label counts as shown, by class of a
	// posterior; nil for images of one class each.
	Thresholds []float32 `json:"thresholds,omitempty"`
	Nets       []NetID   `json:"nets"`
	ISA        string    `json:"isa"` // instruction set: the last bits of a posterior depend on it
	Shard      Shard     `json:"shard"`
}

// fileFormat is the format of the result files that this version writes and reads.
const fileFormat = "vgg evaluation 1"

// DataID identifies a set of images.
type DataID struct {
	Name        string   `json:"name"` // in reports
	Fingerprint string   `json:"fingerprint"`
	Images      int      `json:"images"`
	Classes     []string `json:"classes"` // by label
	MultiLabel  bool     `json:"multi_label,omitempty"`
}

// Difference describes in words how the images of d differ from those of want; "" if they
// are the same. Names may differ.
func (d DataID) Difference(want DataID) string {
	switch {
	case d.Fingerprint == want.Fingerprint:
		return ""
	case d.Images != want.Images:
		return fmt.Sprintf("data of %d images, want %d", d.Images, want.Images)
	}
	return fmt.Sprintf("data %s with fingerprint %s, want %s with %s", d.Name, short(d.Fingerprint), want.Name, short(want.Fingerprint))
}

// NetID identifies a network and the protocol that it is evaluated by.
type NetID struct {
	Weights   string     `json:"weights"`    // name in reports
	SHA256    string     `json:"sha256"`     // of the file of weights
	FCWeights nn.Storage `json:"fc_weights"` // type of the fully connected weights in memory
	// Device is where the network computes; empty: the processor, by this library's kernels.
	Device string `json:"device,omitempty"`
	// Preprocess is that of the file of weights, or the one given in its place.
	Preprocess preprocess.Spec `json:"preprocess"`
	Setting
}

// Shard is one of Count parts of a set: the images with index i for which
// i mod Count = Index − 1.
type Shard struct {
	Index int `json:"index"` // from 1
	Count int `json:"count"`
}

// whole returns the shard that is the whole set.
func whole() Shard { return Shard{1, 1} }

// ParseShard parses a shard such as "2/4".
func ParseShard(text string) (Shard, error) {
	i, n, ok := strings.Cut(text, "/")
	var s Shard
	var err1, err2 error
	s.Index, err1 = strconv.Atoi(i)
	s.Count, err2 = strconv.Atoi(n)
	if !ok || err1 != nil || err2 != nil {
		return Shard{}, fmt.Errorf("eval: shard %q, want i/n, as 1/4", text)
	}
	return s, s.validate()
}

// String returns the shard as the command line has it: 1/2.
func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Index, s.Count) }

func (s Shard) validate() error {
	if s.Count < 1 || s.Count > 1<<20 || s.Index < 1 || s.Index > s.Count {
		return fmt.Errorf("eval: shard %d/%d, want 1/n to n/n", s.Index, s.Count)
	}
	return nil
}

// has reports whether image i belongs to the shard.
func (s Shard) has(i int) bool { return i%s.Count == s.Index-1 }

// Images returns the number of images of the shard in a set of n. The zero Shard is the whole
// set.
func (s Shard) Images(n int) int {
	if s == (Shard{}) {
		return n
	}
	return (n - s.Index + s.Count) / s.Count
}

// images returns the indices of the shard's images in a set of n.
func (s Shard) images(n int) []int {
	var list []int
	for i := s.Index - 1; i < n; i += s.Count {
		list = append(list, i)
	}
	return list
}

// difference describes the first respect in which h is the header of another run than want; ""
// of the same run. Names of files and data, and the shard, may differ.
func (h Header) difference(want Header) string {
	differ := func(what string, got, want any) string {
		return journal.Difference(what, got, want)
	}
	if d := h.Data.Difference(want.Data); d != "" {
		return d
	}
	if len(h.Nets) != len(want.Nets) {
		return differ("networks:", len(h.Nets), len(want.Nets))
	}
	for i, n := range h.Nets {
		w := want.Nets[i]
		switch {
		case n.SHA256 != w.SHA256:
			return fmt.Sprintf("weights %s with SHA-256 %s, want %s with %s", n.Weights, short(n.SHA256), w.Weights, short(w.SHA256))
		case n.Protocol != w.Protocol:
			return differ(w.Weights+": protocol", n.Protocol, w.Protocol)
		case !slices.Equal(n.Scales, w.Scales):
			return differ(w.Weights+": scales", n.Scales, w.Scales)
		case n.Flip != w.Flip:
			return differ(w.Weights+": flip", n.Flip, w.Flip)
		case n.Preprocess.Orient != w.Preprocess.Orient:
			return differ(w.Weights+": orientation", n.Preprocess.Orient, w.Preprocess.Orient) + fmt.Sprintf(" (--orient %v)", n.Preprocess.Orient)
		case n.Preprocess != w.Preprocess:
			return differ(w.Weights+": preprocessing", n.Preprocess, w.Preprocess)
		case n.FCWeights != w.FCWeights:
			return differ(w.Weights+": fully connected weights in", n.FCWeights, w.FCWeights)
		case n.Device != w.Device:
			return differ(w.Weights+": device", cmp.Or(n.Device, "the processor"), cmp.Or(w.Device, "the processor"))
		}
	}
	if !slices.Equal(h.Classes, want.Classes) {
		return "classes in another order"
	}
	if h.ISA != want.ISA {
		return differ("instruction set", h.ISA, want.ISA)
	}
	return ""
}

// short returns the beginning of a hash.
func short(hash string) string { return hash[:min(len(hash), 12)] }

// validate returns an error if h can't be the header of a result file.
func (h Header) validate() error {
	switch {
	case h.Format != fileFormat:
		return fmt.Errorf("format %q, want %q", h.Format, fileFormat)
	case h.Data.Images < 1 || h.Data.Images > 1<<40:
		return fmt.Errorf("%d images, want at least 1", h.Data.Images)
	case len(h.Nets) == 0:
		return fmt.Errorf("no networks, want at least one")
	case len(h.Classes) == 0:
		return fmt.Errorf("no classes, want at least one")
	case h.Thresholds != nil && len(h.Thresholds) != len(h.Classes):
		return fmt.Errorf("%d thresholds, want one for each of %d classes", len(h.Thresholds), len(h.Classes))
	}
	for _, n := range h.Nets {
		if err := n.Setting.Validate(1); err != nil {
			return err
		}
	}
	return h.Shard.validate()
}
