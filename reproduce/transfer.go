package reproduce

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/transfer"
)

// TransferResult is a reproduced [TransferPlan]. The JSON keys are those of `vgg reproduce
// --json`.
type TransferResult struct {
	Title   string              `json:"title"`
	Sets    []TransferSetResult `json:"sets"`
	Rows    []TransferRowResult `json:"rows"`
	Missing []string            `json:"missing_weights"`
}

// TransferSetResult is a set of a transfer result.
type TransferSetResult struct {
	Name       string `json:"name"`
	Folder     string `json:"folder"` // empty if there is none
	Measure    string `json:"measure"`
	Images     int    `json:"images"`
	Unreadable int    `json:"unreadable"`
}

// TransferRowResult is a row of a transfer result.
type TransferRowResult struct {
	Label  string          `json:"label"`
	Others bool            `json:"others"` // another group's result
	Found  []*TransferMean `json:"found"`  // by set; nil where weights or images are missing
	Paper  []PaperMean     `json:"paper"`  // by set, in per cent
}

// TransferMean is a mean over splits and the deviation of one split, as fractions.
type TransferMean struct {
	Mean      float64   `json:"mean"`
	Deviation *float64  `json:"deviation"` // nil for one split
	Dim       int       `json:"dim"`       // numbers of a descriptor
	C         []float64 `json:"c"`         // of the SVMs, by split
}

// TransferOptions chooses the weights, the images and the files of descriptors of a
// transfer table.
type TransferOptions struct {
	Data string // folder of sets
	// Find returns the network of a name of weights. ok is false if there are no such
	// weights.
	Find    func(name string) (n transfer.Net, ok bool, err error)
	Results string // folder of descriptors; an interrupted reproduction continues from it
	// Extract gives the share of the machine, OnImage and Stamp; the plan chooses all else.
	Extract transfer.Options
	// Train are the options of the SVMs; without Loss, C and Cs, those of
	// [transfer.DefaultTraining].
	Train transfer.TrainOptions

	// OnStage, where set, is called with the name of each stage as it begins.
	OnStage func(stage string)
}

// Transfer measures the rows of a transfer plan for which there are weights, on the sets
// for which there are images. Descriptors that o.Results holds already are not computed
// again.
func Transfer(ctx context.Context, p TransferPlan, o TransferOptions) (*TransferResult, error) {
	out := &TransferResult{Title: p.Title, Missing: []string{}}
	nets := map[string]transfer.Net{}
	for _, name := range p.Weights() {
		n, ok, err := o.Find(name)
		if err != nil {
			return nil, err
		}
		if !ok {
			out.Missing = append(out.Missing, name)
			continue
		}
		nets[name] = n
	}
	for _, row := range p.Rows {
		out.Rows = append(out.Rows, TransferRowResult{Label: row.Label, Others: len(row.Nets) == 0, Found: make([]*TransferMean, len(p.Sets)), Paper: row.Paper})
	}
	if err := makeResults(o.Results); err != nil {
		return nil, err
	}
	for i, set := range p.Sets {
		s := TransferSetResult{Name: set.Name, Measure: set.measure(), Folder: set.find(o.Data)}
		if s.Folder != "" {
			column, err := o.column(ctx, p, set, nets, &s)
			if err != nil {
				return nil, err
			}
			for r, found := range column {
				out.Rows[r].Found[i] = found
			}
		}
		out.Sets = append(out.Sets, s)
	}
	return out, nil
}

// find returns the set's folder in a folder of sets, or "".
func (s TransferSet) find(dir string) string {
	for _, folder := range s.Folders {
		path := filepath.Join(dir, filepath.FromSlash(folder))
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path
		}
	}
	return ""
}

// column measures all rows of a plan on one set, and counts its images. A row whose weights
// are missing is nil.
func (o TransferOptions) column(ctx context.Context, p TransferPlan, set TransferSet, nets map[string]transfer.Net, s *TransferSetResult) ([]*TransferMean, error) {
	images, err := transfer.OpenImages(ctx, transfer.ImageOptions{Layout: set.Layout}, s.Folder)
	if err != nil {
		return nil, err
	}
	s.Images = images.Len()
	fingerprint, err := dataset.Fingerprint(ctx, images.Dataset)
	if err != nil {
		return nil, err
	}
	d := &describer{o: o, set: set, images: images, fingerprint: fingerprint, nets: nets, open: map[string]*transfer.Descriptors{}, result: s}
	defer d.close()
	column := make([]*TransferMean, len(p.Rows))
	for i, row := range p.Rows {
		parts, err := d.parts(ctx, row)
		if err != nil {
			return nil, err
		}
		if parts == nil {
			continue
		}
		if column[i], err = o.measure(ctx, set, parts); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", row.Label, set.Name, err)
		}
	}
	return column, nil
}

// measure trains and tests a classifier on stacked descriptors.
func (o TransferOptions) measure(ctx context.Context, set TransferSet, parts []*transfer.Descriptors) (*TransferMean, error) {
	d, x, err := transfer.Stack(ctx, parts...)
	if err != nil {
		return nil, err
	}
	m, err := transfer.Measure(ctx, d, x, set.protocol(), o.training())
	if err != nil {
		return nil, err
	}
	found := &TransferMean{Dim: m.Dim}
	mean, deviation := m.Of(func(s *transfer.Score) float64 {
		if set.AveragePrecision != "" {
			return s.MeanAP[set.AveragePrecision]
		}
		return s.MeanClassRecall
	})
	found.Mean = mean
	if !math.IsNaN(deviation) {
		found.Deviation = &deviation
	}
	for _, s := range m.Splits {
		found.C = append(found.C, s.C)
	}
	return found, nil
}

// training returns the options of the SVMs.
func (o TransferOptions) training() transfer.TrainOptions {
	given := o.Train
	if given.Loss != "" || given.C != 0 || len(given.Cs) > 0 {
		return given
	}
	t := transfer.DefaultTraining()
	t.Workers, t.Seed, t.OnClass, t.OnStage = given.Workers, given.Seed, given.OnClass, given.OnStage
	return t
}

// describer computes descriptors of a set, one file for each network and region.
type describer struct {
	o           TransferOptions
	set         TransferSet
	images      *transfer.Images
	fingerprint string
	nets        map[string]transfer.Net
	open        map[string]*transfer.Descriptors // by path
	result      *TransferSetResult
}

func (d *describer) close() {
	for _, f := range d.open {
		f.Close()
	}
}

// parts returns the descriptors that a row stacks; nil if weights are missing.
func (d *describer) parts(ctx context.Context, row TransferRow) ([]*transfer.Descriptors, error) {
	for _, name := range row.Nets {
		if _, ok := d.nets[name]; !ok {
			return nil, nil
		}
	}
	regions := row.Regions
	if regions == nil {
		regions = []transfer.Region{transfer.WholeImage}
	}
	var parts []*transfer.Descriptors
	for _, name := range row.Nets {
		for _, r := range regions {
			part, err := d.part(ctx, name, r)
			if err != nil {
				return nil, err
			}
			parts = append(parts, part)
		}
	}
	return parts, nil
}

// part returns the descriptors of one region by one network.
func (d *describer) part(ctx context.Context, name string, r transfer.Region) (*transfer.Descriptors, error) {
	n := d.nets[name]
	path := filepath.Join(d.o.Results, fileName(fmt.Sprintf("%s.%s.%s.%.8s.%.8s.npy", name, d.set.Name, r, n.SHA256, d.fingerprint)))
	if part := d.open[path]; part != nil {
		return part, nil
	}
	if d.o.OnStage != nil {
		d.o.OnStage(fmt.Sprintf("%s on %s (%s)", name, d.set.Name, r))
	}
	n.Scales = d.set.Scales
	o := d.o.Extract
	o.Flip, o.Average, o.Regions = true, d.set.Average, []transfer.Region{r}
	sum, err := transfer.Extract(ctx, []transfer.Net{n}, d.images, path, o)
	if err != nil {
		return nil, err
	}
	d.result.Unreadable = max(d.result.Unreadable, len(sum.Unreadable))
	part, err := transfer.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	d.open[path] = part
	return part, nil
}
