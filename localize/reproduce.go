package localize

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
)

// ReproduceOptions say where weights are.
type ReproduceOptions struct {
	// Open returns the model of a name of weights, a localisation network where boxes is
	// set, and a hash of its file; ok is false if there is none.
	Open func(name string, boxes bool) (m *vgg.Model, sha256 string, ok bool, err error)
	// Results is a folder of result files, one a row: an interrupted reproduction goes on
	// with it.
	Results   string
	Threshold float64 // of merging
	Workers   int     // as in [EvalOptions]

	// OnImage, where set, is told how many images are done of a row.
	OnImage func(row string, done, total int)
}

// Reproduce measures what a plan's rows say of localisation (§A.2), as far as there are
// weights, on images whose boxes have been read.
func Reproduce(ctx context.Context, p eval.Plan, data *dataset.Dataset, o ReproduceOptions) (*eval.Reproduction, error) {
	out := &eval.Reproduction{
		Title: p.Title, Data: data.Name, Images: data.Len(), ImageNet: eval.IsImageNet(data.Classes), Measure: p.Measure,
		Labels: p.Labels, Missing: []string{}, Unreadable: []dataset.BadImage{},
	}
	r := &reproduction{plan: p, o: o, models: map[string]*vgg.Model{}, hashes: map[string]string{}}
	for _, row := range p.Rows {
		line := eval.ReproducedRow{Labels: row.Labels, Others: len(row.Nets) == 0, Missing: []string{}}
		if out.ImageNet {
			line.Paper = &row.Paper
		}
		l, id, err := r.locator(row, &line.Missing)
		if err != nil {
			return nil, err
		}
		for _, name := range line.Missing {
			if !slices.Contains(out.Missing, name) {
				out.Missing = append(out.Missing, name)
			}
		}
		if !line.Others && len(line.Missing) == 0 {
			name := strings.Join(row.Labels, ", ")
			eo := EvalOptions{Protocol: p.Protocol, Workers: o.Workers, Out: r.file(row, id), RunID: id}
			if o.OnImage != nil {
				eo.OnImage = func(done, total int) { o.OnImage(name, done, total) }
			}
			result, err := Evaluate(ctx, l, data, eo)
			if err != nil {
				return nil, err
			}
			line.Boxes = &eval.Boxes{Images: result.Images, GTClassError: result.Error, GTClassRange: result.Range, MeanIoU: result.MeanIoU}
			if t := result.Top5; t != nil {
				line.Boxes.Top5Error, line.Boxes.Top5Range = &t.Error, &t.Range
			}
			for _, b := range result.Bad {
				if !slices.ContainsFunc(out.Unreadable, func(u dataset.BadImage) bool { return u.Name == b.Name }) {
					out.Unreadable = append(out.Unreadable, b)
				}
			}
		}
		out.Rows = append(out.Rows, line)
	}
	return out, nil
}

type reproduction struct {
	plan   eval.Plan
	o      ReproduceOptions
	models map[string]*vgg.Model // nil for weights that are missing
	hashes map[string]string
}

// open returns a model that was opened before, or opens it.
func (r *reproduction) open(name string, boxes bool) (*vgg.Model, error) {
	if m, known := r.models[name]; known {
		return m, nil
	}
	m, hash, ok, err := r.o.Open(name, boxes)
	if err != nil || !ok {
		m = nil
	}
	r.models[name], r.hashes[name] = m, hash
	return m, err
}

// locator puts a row's networks together and identifies them; it adds the weights that
// are missing.
func (r *reproduction) locator(row eval.PlanRow, missing *[]string) (*Locator, string, error) {
	l := &Locator{Threshold: r.o.Threshold}
	var id []string
	for _, n := range row.Nets {
		m, err := r.open(n.Weights, true)
		if err != nil {
			return nil, "", err
		}
		if m == nil {
			*missing = append(*missing, n.Weights)
			continue
		}
		l.Nets = append(l.Nets, Net{Model: m, Scales: n.Scales})
		id = append(id, fmt.Sprintf("%.16s@%s", r.hashes[n.Weights], strings.Trim(strings.ReplaceAll(fmt.Sprint(n.Scales), " ", ","), "[]")))
	}
	for _, name := range row.Classifiers {
		m, err := r.open(name, false)
		if err != nil {
			return nil, "", err
		}
		if m == nil {
			*missing = append(*missing, name)
			continue
		}
		l.Classifiers = append(l.Classifiers, m)
		id = append(id, fmt.Sprintf("classifier %.16s", r.hashes[name]))
	}
	return l, fmt.Sprintf("%s, merge %g", strings.Join(id, " + "), r.o.Threshold), nil
}

// unsafe is what the names of result files don't have.
var unsafe = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// file is a row's result file. What identifies the networks is hashed into its name, so
// that other networks' results stay beside it.
func (r *reproduction) file(row eval.PlanRow, id string) string {
	var names []string
	for _, n := range row.Nets {
		names = append(names, n.Weights+"."+strings.Trim(fmt.Sprint(n.Scales), "[]"))
	}
	name := fmt.Sprintf("%s.%s.boxes.%.8s.jsonl", strings.Join(names, "+"), r.plan.Protocol, textHash(id))
	return filepath.Join(r.o.Results, unsafe.ReplaceAllString(name, "_"))
}
