package reproduce

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/resources"
)

// ClassificationOptions chooses the weights and result files of a classification table,
// and its share of the machine.
type ClassificationOptions struct {
	// Find returns the network of a name of weights; its Setting is ignored. ok is false if
	// there are no such weights.
	Find func(name string) (n eval.Net, ok bool, err error)
	// Results is a folder of result files, one for each network, protocol and scale. Tables
	// share it, and an interrupted reproduction continues from it.
	Results string

	resources.Resources // as in [eval.Options]

	// OnNet, where set, is called when a network's turn comes. What it returns is told the
	// images that this network has seen.
	OnNet func(weights string) progress.Func
}

// Classification runs the evaluations of a plan of classification errors for which there
// are weights, and fuses them. What o.Results holds already is not computed again.
func Classification(ctx context.Context, p Plan, data *dataset.Dataset, o ClassificationOptions) (*Result, error) {
	c, err := openClassification(ctx, p, data, o)
	if err != nil {
		return nil, err
	}
	defer c.close()
	for _, name := range p.Weights() {
		if run := c.runs[name]; run != nil {
			if err := run.Run(ctx); err != nil {
				return nil, err
			}
		}
	}
	return c.result(ctx)
}

// ClassificationWork estimates the cost of [Classification], as [eval.Work] does. Images
// counts those that a network has still to see, once for each network.
func ClassificationWork(ctx context.Context, p Plan, data *dataset.Dataset, o ClassificationOptions, measure bool) (eval.Estimate, error) {
	var e eval.Estimate
	c, err := openClassification(ctx, p, data, o)
	if err != nil {
		return e, err
	}
	defer c.close()
	for _, name := range slices.Backward(p.Weights()) {
		if run := c.runs[name]; run != nil {
			if err := run.AddWork(ctx, &e, measure); err != nil {
				return e, err
			}
		}
	}
	return e, nil
}

// classification is a table of classification errors and the runs of its networks.
type classification struct {
	plan Plan
	data *dataset.Dataset
	runs map[string]*eval.ViewRun // by name of the weights; none for missing weights
}

// openClassification opens the result files of all networks that there are weights for.
func openClassification(ctx context.Context, p Plan, data *dataset.Dataset, o ClassificationOptions) (_ *classification, err error) {
	if data.Len() == 0 {
		return nil, fmt.Errorf("reproduce: %s: no images, want at least one", data.Name)
	}
	if p.Measure != Top1Top5 {
		return nil, fmt.Errorf("reproduce: %s: a plan of localisation, want one of classification", p.Title)
	}
	fingerprint, err := dataset.Fingerprint(ctx, data)
	if err != nil {
		return nil, err
	}
	if err := makeResults(o.Results); err != nil {
		return nil, err
	}
	c := &classification{plan: p, data: data, runs: map[string]*eval.ViewRun{}}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	var classes []string // of the first network
	for _, name := range p.Weights() {
		net, ok, err := o.Find(name)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		vo := eval.ViewOptions{
			File:        func(v eval.View) string { return resultPath(o.Results, name, net.SHA256, fingerprint, v) },
			Fingerprint: fingerprint, Classes: classes, Resources: o.Resources,
		}
		if o.OnNet != nil {
			vo.OnImage = lazily(name, o.OnNet)
		}
		run, err := eval.OpenViews(ctx, net, p.views(name), data, vo)
		if err != nil {
			return nil, err
		}
		c.runs[name], classes = run, run.Classes()
	}
	return c, nil
}

// lazily returns a function that passes its calls on to what begin returns for the name.
// begin is called at the first of them.
func lazily(name string, begin func(name string) progress.Func) progress.Func {
	var report progress.Func
	var once sync.Once
	return func(done, total int64) {
		once.Do(func() { report = begin(name) })
		report.Report(done, total)
	}
}

func (c *classification) close() {
	for _, run := range c.runs {
		_ = run.Close() // Run has synced the files
	}
}

// makeResults makes the folder of result files.
func makeResults(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("reproduce: results: %w", err)
	}
	return nil
}

// views lists the views of a network in all rows of the plan, each once.
func (p Plan) views(weights string) []eval.View {
	var views []eval.View
	for _, row := range p.Rows {
		for _, n := range row.Nets {
			if n.Weights != weights {
				continue
			}
			for _, v := range p.Setting(n).Views() {
				if !slices.Contains(views, v) {
					views = append(views, v)
				}
			}
		}
	}
	return views
}

// resultPath returns the result file of a network by one view. The hashes of weights and
// data are in the name, so that results of other weights or data stay beside it.
func resultPath(dir, name, sha256, fingerprint string, v eval.View) string {
	flip := ""
	if v.Flip {
		flip = ".flip"
	}
	return filepath.Join(dir, fileName(fmt.Sprintf("%s.%s.%d%s.%.8s.%.8s.jsonl", name, v.Protocol, v.Scale, flip, sha256, fingerprint)))
}

// result fuses what the files hold.
func (c *classification) result(ctx context.Context) (*Result, error) {
	out := newResult(c.plan, c.data.Name, c.data.Len(), c.data.Classes)
	for _, name := range c.plan.Weights() {
		if c.runs[name] == nil {
			out.Missing = append(out.Missing, name)
		}
	}
	var first *eval.Result
	for _, p := range c.plan.Rows {
		row := out.row(p)
		var nets []eval.FusedNet
		for _, n := range p.Nets {
			run := c.runs[n.Weights]
			if run == nil {
				row.Missing = append(row.Missing, n.Weights)
			}
			nets = append(nets, eval.FusedNet{Run: run, Setting: c.plan.Setting(n)})
		}
		if len(nets) > 0 && len(row.Missing) == 0 {
			r, err := eval.Fuse(ctx, nets...)
			if err != nil {
				return nil, err
			}
			row.Result = &Errors{r.Images, r.Top1Error, r.Top5Error, r.Top1Range, r.Top5Range, nil}
			if first == nil {
				first = r
			} else {
				p := eval.Top1P(first, r)
				row.Result.P = &p
			}
			out.addUnreadable(r.Bad...)
		}
		out.Rows = append(out.Rows, row)
	}
	return out, nil
}
