package transfer

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/metrics"
)

// Table is a table of the paper's appendix B: networks' descriptors on several sets.
type Table struct {
	Title string
	Sets  []TableSet
	Rows  []TableRow
}

// TableSet is a set of a table and the paper's protocol for it.
type TableSet struct {
	Name    string
	Folders []string // what the set is called in a folder of sets
	Layout  Layout
	Scales  []int // Q
	Average bool  // the scales, rather than stacked
	Protocol
	Form metrics.APForm // of mean average precision; empty: mean class recall
}

// TableRow is a row of a table. Without networks it is another's result.
type TableRow struct {
	Label   string
	Nets    []string // names of weights
	Regions []Region
	Paper   []PaperFigure // of each set
}

// PaperFigure is a mean and its deviation in per cent as the paper prints them; 0: it has
// none.
type PaperFigure struct {
	Mean      float64 `json:"mean,omitempty"`
	Deviation float64 `json:"deviation,omitempty"`
}

// tables are the paper's, by name.
var tables = map[string]Table{
	"table11": {
		Title: "Table 11: image classification on VOC-2007, VOC-2012, Caltech-101 and Caltech-256",
		Sets: []TableSet{
			{Name: "VOC-2007", Folders: []string{"VOC2007", "VOCdevkit/VOC2007", "voc2007"}, Layout: VOC, Scales: vocScales, Average: true, Form: metrics.ElevenPoint},
			{Name: "VOC-2012", Folders: []string{"VOC2012", "VOCdevkit/VOC2012", "voc2012"}, Layout: VOC, Scales: vocScales, Average: true, Form: metrics.Area},
			{Name: "Caltech-101", Folders: []string{"101_ObjectCategories", "caltech101", "caltech-101", "Caltech101"}, Layout: Classes, Scales: caltechScales, Protocol: Protocol{Splits: 3, Train: 30, Test: 50}},
			{Name: "Caltech-256", Folders: []string{"256_ObjectCategories", "caltech256", "caltech-256", "Caltech256"}, Layout: Classes, Scales: caltechScales, Protocol: Protocol{Splits: 3, Train: 60}},
		},
		Rows: []TableRow{
			{Label: "Zeiler & Fergus (2013)", Paper: []PaperFigure{{}, {Mean: 79.0}, {86.5, 0.5}, {74.2, 0.3}}},
			{Label: "Chatfield et al. (2014)", Paper: []PaperFigure{{Mean: 82.4}, {Mean: 83.2}, {88.4, 0.6}, {77.6, 0.1}}},
			{Label: "He et al. (2014)", Paper: []PaperFigure{{Mean: 82.4}, {}, {93.4, 0.5}, {}}},
			{Label: "Wei et al. (2014)", Paper: []PaperFigure{{Mean: 81.5}, {Mean: 81.7}, {}, {}}},
			{Label: "D", Nets: []string{"D-256-512"}, Paper: []PaperFigure{{Mean: 89.3}, {Mean: 89.0}, {91.8, 1.0}, {85.0, 0.2}}},
			{Label: "E", Nets: []string{"E-256-512"}, Paper: []PaperFigure{{Mean: 89.3}, {Mean: 89.0}, {92.3, 0.5}, {85.1, 0.3}}},
			{Label: "D & E", Nets: []string{"D-256-512", "E-256-512"}, Paper: []PaperFigure{{Mean: 89.7}, {Mean: 89.3}, {92.7, 0.5}, {86.2, 0.3}}},
		},
	},
	"table12": {
		Title: "Table 12: single-image action classification on VOC-2012",
		Sets: []TableSet{
			{Name: "VOC-2012 action", Folders: []string{"VOC2012", "VOCdevkit/VOC2012", "voc2012"}, Layout: VOCActions, Scales: vocScales, Average: true, Form: metrics.Area},
		},
		Rows: []TableRow{
			{Label: "Oquab et al. (2014)", Paper: []PaperFigure{{Mean: 70.2}}},
			{Label: "Gkioxari et al. (2014)", Paper: []PaperFigure{{Mean: 73.6}}},
			{Label: "Hoai (2014)", Paper: []PaperFigure{{Mean: 76.3}}},
			{Label: "D & E, image", Nets: []string{"D-256-512", "E-256-512"}, Paper: []PaperFigure{{Mean: 79.2}}},
			{Label: "D & E, image and box", Nets: []string{"D-256-512", "E-256-512"}, Regions: []Region{WholeImage, Box}, Paper: []PaperFigure{{Mean: 84.0}}},
		},
	},
}

var (
	vocScales     = []int{256, 384, 512, 640, 768}
	caltechScales = []int{256, 384, 512}
)

// NamedTable returns a table of the paper: table11 or table12.
func NamedTable(name string) (Table, bool) {
	t, ok := tables[name]
	return t, ok
}

// TableNames lists the tables.
func TableNames() []string { return []string{"table11", "table12"} }

// Weights lists the names of the weights that the table needs, each once.
func (t Table) Weights() []string {
	var names []string
	for _, r := range t.Rows {
		for _, n := range r.Nets {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return names
}

// Reproduction is what a table came to. Its JSON keys are those of `vgg reproduce --json`.
type Reproduction struct {
	Title   string          `json:"title"`
	Sets    []ReproducedSet `json:"sets"`
	Rows    []ReproducedRow `json:"rows"`
	Missing []string        `json:"missing_weights"`
}

// ReproducedSet is a set of a reproduction.
type ReproducedSet struct {
	Name       string `json:"name"`
	Folder     string `json:"folder"` // empty: not there
	Measure    string `json:"measure"`
	Images     int    `json:"images"`
	Unreadable int    `json:"unreadable"`
}

// ReproducedRow is a row of a reproduction.
type ReproducedRow struct {
	Label  string        `json:"label"`
	Others bool          `json:"others"`
	Found  []*Figure     `json:"found"` // of each set; nil: weights or images are missing
	Paper  []PaperFigure `json:"paper"` // in per cent
}

// Figure is a mean over the splits and the deviation of one, as fractions; nil of one
// split.
type Figure struct {
	Mean      float64   `json:"mean"`
	Deviation *float64  `json:"deviation"`
	Dim       int       `json:"dim"`
	C         []float64 `json:"c"` // of each split
}

// ReproduceOptions say where weights and images are.
type ReproduceOptions struct {
	Data string // folder of sets
	// Find returns the network of a name of weights; ok is false if there is none.
	Find    func(name string) (n Net, ok bool, err error)
	Results string // folder of descriptors, which an interrupted reproduction goes on with
	Extract Options
	Train   TrainOptions

	// OnStage, where set, is told what begins.
	OnStage func(what string)
}

// Reproduce measures the rows of a table as far as there are weights and images.
func Reproduce(ctx context.Context, t Table, o ReproduceOptions) (*Reproduction, error) {
	out := &Reproduction{Title: t.Title, Missing: []string{}}
	nets := map[string]Net{}
	for _, name := range t.Weights() {
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
	for _, row := range t.Rows {
		out.Rows = append(out.Rows, ReproducedRow{Label: row.Label, Others: len(row.Nets) == 0, Found: make([]*Figure, len(t.Sets)), Paper: row.Paper})
	}
	if err := os.MkdirAll(o.Results, 0o777); err != nil {
		return nil, fmt.Errorf("transfer: results: %w", err)
	}
	for i, set := range t.Sets {
		s := ReproducedSet{Name: set.Name, Measure: "mean class recall"}
		if set.Form != "" {
			s.Measure = "mean AP (" + string(set.Form) + ")"
		}
		for _, folder := range set.Folders {
			if info, err := os.Stat(filepath.Join(o.Data, folder)); err == nil && info.IsDir() {
				s.Folder = filepath.Join(o.Data, folder)
				break
			}
		}
		if s.Folder != "" {
			if err := o.reproduce(ctx, t, i, nets, &s, out.Rows); err != nil {
				return nil, err
			}
		}
		out.Sets = append(out.Sets, s)
	}
	return out, nil
}

// reproduce fills a set's column.
func (o ReproduceOptions) reproduce(ctx context.Context, t Table, at int, nets map[string]Net, s *ReproducedSet, rows []ReproducedRow) error {
	set := t.Sets[at]
	images, err := OpenImages(ctx, set.Layout, s.Folder)
	if err != nil {
		return err
	}
	s.Images = images.Len()
	fingerprint, err := dataset.Fingerprint(ctx, images.Dataset)
	if err != nil {
		return err
	}
	parts := map[string]*Descriptors{}
	defer func() {
		for _, d := range parts {
			d.Close()
		}
	}()
	// part is the descriptors of one network on one region.
	part := func(name string, r Region) (*Descriptors, error) {
		file := filepath.Join(o.Results, unsafeName.ReplaceAllString(fmt.Sprintf("%s.%s.%s.%.8s.%.8s.npy", name, set.Name, r, nets[name].SHA256, fingerprint), "_"))
		if d := parts[file]; d != nil {
			return d, nil
		}
		n := nets[name]
		n.Scales = set.Scales
		x := o.Extract
		x.Flip, x.Average, x.Regions = true, set.Average, []Region{r}
		if o.OnStage != nil {
			o.OnStage(fmt.Sprintf("%s on %s (%s)", name, set.Name, r))
		}
		sum, err := Extract(ctx, []Net{n}, images, file, x)
		if err != nil {
			return nil, err
		}
		s.Unreadable = max(s.Unreadable, len(sum.Unreadable))
		if parts[file], err = Open(file); err != nil {
			return nil, err
		}
		return parts[file], nil
	}
	for i, row := range t.Rows {
		regions := row.Regions
		if regions == nil {
			regions = []Region{WholeImage}
		}
		var of []*Descriptors
		for _, name := range row.Nets {
			if _, ok := nets[name]; !ok {
				of = nil
				break
			}
			for _, r := range regions {
				d, err := part(name, r)
				if err != nil {
					return err
				}
				of = append(of, d)
			}
		}
		if of == nil {
			continue
		}
		d, x, err := Stack(of...)
		if err != nil {
			return err
		}
		m, err := Measure(ctx, d, x, set.Protocol, o.Train)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", row.Label, set.Name, err)
		}
		f := &Figure{Dim: m.Dim}
		mean, deviation := m.Of(func(s *Score) float64 {
			if set.Form != "" {
				return s.MeanAP[set.Form]
			}
			return s.MeanClassRecall
		})
		f.Mean = mean
		if !math.IsNaN(deviation) {
			f.Deviation = &deviation
		}
		for _, s := range m.Splits {
			f.C = append(f.C, s.C)
		}
		rows[i].Found[at] = f
	}
	return nil
}

// unsafeName is what the names of files of descriptors don't have.
var unsafeName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// Stack puts descriptors of the same images side by side, each with the same weight, and
// returns their numbers too. An image that is unreadable in one is so in the whole.
func Stack(parts ...*Descriptors) (*Descriptors, []float32, error) {
	if len(parts) == 1 {
		x, err := parts[0].Load()
		return parts[0], x, err
	}
	out := &Descriptors{Header: parts[0].Header, Rows: slices.Clone(parts[0].Rows)}
	out.Header.Nets, out.Header.Dim = nil, 0
	for _, p := range parts {
		if diff := p.Header.data().Difference(parts[0].Header.data()); diff != "" || p.Len() != out.Len() {
			return nil, nil, fmt.Errorf("transfer: descriptors of other images: %d of %s, want %d of %s", p.Len(), p.Header.Data.Name, out.Len(), parts[0].Header.Data.Name)
		}
		out.Header.Nets = append(out.Header.Nets, p.Header.Nets...)
		out.Header.Dim += p.Header.Dim
		for r, row := range p.Rows {
			if row.Error != "" {
				out.Rows[r] = row
			}
		}
	}
	x := make([]float32, out.Len()*out.Header.Dim)
	weight := 1 / math.Sqrt(float64(len(parts)))
	at := 0
	for _, p := range parts {
		y, err := p.Load()
		if err != nil {
			return nil, nil, err
		}
		dim := p.Header.Dim
		for r := range p.Rows {
			if out.Rows[r].Error != "" {
				continue
			}
			to := x[r*out.Header.Dim+at:]
			for i, v := range y[r*dim : (r+1)*dim] {
				to[i] = float32(weight * float64(v))
			}
		}
		at += dim
	}
	return out, x, nil
}
