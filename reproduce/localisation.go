package reproduce

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/resources"
)

// LocalisationOptions chooses the weights and result files of a localisation table.
type LocalisationOptions struct {
	// Open returns the model of a name of weights, a localisation network if boxes is set,
	// and a hash of its file. ok is false if there are no such weights.
	Open func(name string, boxes bool) (m *vgg.Model, sha256 string, ok bool, err error)
	// Results is a folder of result files, one for each row. An interrupted reproduction
	// continues from it.
	Results             string
	Threshold           float64 // as in [localize.Locator]
	resources.Resources         // as in [localize.EvalOptions]

	// OnRow, where set, is called when a row's turn comes. What it returns is told the images
	// that are done in this row.
	OnRow func(row string) progress.Func
}

// Localisation runs the evaluations of a plan of localisation errors (§A.2) for which
// there are weights, on images whose boxes have been read.
func Localisation(ctx context.Context, p Plan, data *dataset.Dataset, o LocalisationOptions) (*Result, error) {
	if p.Measure == Top1Top5 {
		return nil, fmt.Errorf("reproduce: %s: a plan of classification, want one of localisation", p.Title)
	}
	if err := makeResults(o.Results); err != nil {
		return nil, err
	}
	out := newResult(p, data.Name, data.Len(), data.Classes)
	l := &localisation{plan: p, data: data, o: o, models: map[string]hashedModel{}}
	for _, planned := range p.Rows {
		row := out.row(planned)
		if err := l.measure(ctx, planned, &row, out); err != nil {
			return nil, err
		}
		out.Missing = appendNew(out.Missing, row.Missing...)
		out.Rows = append(out.Rows, row)
	}
	return out, nil
}

// localisation is a table of localisation errors and the models that it has opened.
type localisation struct {
	plan   Plan
	data   *dataset.Dataset
	o      LocalisationOptions
	models map[string]hashedModel
}

// hashedModel is a model, nil for missing weights, and the hash of its file.
type hashedModel struct {
	*vgg.Model
	sha256 string
}

// measure fills a row with its localisation errors, or lists its missing weights.
func (l *localisation) measure(ctx context.Context, planned PlanRow, row *Row, out *Result) error {
	locator, id, missing, err := l.locator(planned)
	if err != nil {
		return err
	}
	row.Missing = append(row.Missing, missing...)
	if row.Others || len(missing) > 0 {
		return nil
	}
	eo := localize.EvalOptions{Protocol: l.plan.Protocol, Resources: l.o.Resources, Out: l.path(planned, id), RunID: id}
	if l.o.OnRow != nil {
		eo.OnImage = lazily(strings.Join(planned.Labels, ", "), l.o.OnRow)
	}
	r, err := localize.Evaluate(ctx, locator, l.data, eo)
	if err != nil {
		return err
	}
	row.Boxes = &Boxes{Images: r.Images, GTClassError: r.Error, GTClassRange: r.Range, MeanIoU: r.MeanIoU}
	if t := r.Top5; t != nil {
		row.Boxes.Top5Error, row.Boxes.Top5Range = &t.Error, &t.Range
	}
	for _, b := range r.Bad {
		out.addUnreadable(b)
	}
	return nil
}

// open returns a model, and opens it on its first use.
func (l *localisation) open(name string, boxes bool) (hashedModel, error) {
	if m, known := l.models[name]; known {
		return m, nil
	}
	m, hash, ok, err := l.o.Open(name, boxes)
	if err != nil {
		return hashedModel{}, err
	}
	if !ok {
		m = nil
	}
	l.models[name] = hashedModel{m, hash}
	return l.models[name], nil
}

// locator combines a row's networks. id identifies them in the result file.
func (l *localisation) locator(row PlanRow) (_ *localize.Locator, id string, missing []string, err error) {
	locator := &localize.Locator{Threshold: l.o.Threshold}
	var ids []string
	for _, n := range row.Nets {
		m, err := l.open(n.Weights, true)
		if err != nil {
			return nil, "", nil, err
		}
		if m.Model == nil {
			missing = append(missing, n.Weights)
			continue
		}
		locator.Nets = append(locator.Nets, localize.Net{Model: m.Model, Scales: n.Scales})
		ids = append(ids, fmt.Sprintf("%.16s@%s", m.sha256, joinScales(n.Scales, ",")))
	}
	for _, name := range row.Classifiers {
		m, err := l.open(name, false)
		if err != nil {
			return nil, "", nil, err
		}
		if m.Model == nil {
			missing = append(missing, name)
			continue
		}
		locator.Classifiers = append(locator.Classifiers, m.Model)
		ids = append(ids, fmt.Sprintf("classifier %.16s", m.sha256))
	}
	return locator, fmt.Sprintf("%s, merge %g", strings.Join(ids, " + "), locator.UsedThreshold()), missing, nil
}

// path returns a row's result file. A hash of what identifies the networks is in the name,
// so that the results of other networks stay beside it.
func (l *localisation) path(row PlanRow, id string) string {
	var names []string
	for _, n := range row.Nets {
		names = append(names, n.Weights+"."+joinScales(n.Scales, " "))
	}
	sum := sha256.Sum256([]byte(id))
	name := fmt.Sprintf("%s.%s.boxes.%.8s.jsonl", strings.Join(names, "+"), l.plan.Protocol, hex.EncodeToString(sum[:]))
	return filepath.Join(l.o.Results, fileName(name))
}

// joinScales writes scales with a separator.
func joinScales(scales []int, separator string) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(scales), "[]"), " ", separator)
}
