package cli

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/report"
)

// localise reproduces a table of localisation.
func (c *reproduceCommand) localise(e *environment, plan eval.Plan, images *dataset.Dataset, threads int) error {
	data, err := c.read(e, e.stderr, "", images)
	if err != nil {
		return err
	}
	results := c.Results
	if results == "" {
		results = filepath.Join(c.Weights, "results")
	}
	if err := os.MkdirAll(results, 0o777); err != nil {
		return err
	}
	found := map[string]string{}
	for _, name := range plan.Weights() {
		if found[name], err = findWeights(c.Weights, name); err != nil {
			return err
		}
	}
	fmt.Fprintf(e.stderr, "%s\n%s images of %s; %d of %d networks found in %s; results in %s\n", plan.Title,
		report.Count(int64(data.Len())), data.Name, count(found), len(found), c.Weights, results)
	bars := map[string]*progressBar{}
	defer func() {
		for _, bar := range bars {
			bar.close()
		}
	}()
	r, err := localize.Reproduce(e.ctx, plan, data, localize.ReproduceOptions{
		Results: results, Threshold: localize.MergeThreshold, Workers: threads,
		Open: func(name string, boxes bool) (*vgg.Model, string, bool, error) {
			file := found[name]
			if file == "" {
				return nil, "", false, nil
			}
			open := func() (*vgg.Model, error) { return openWeights(e, file, vgg.OpenOptions{FCStorage: c.FCWeights}) }
			if boxes {
				open = func() (*vgg.Model, error) {
					return openWeights(e, file, vgg.OpenOptions{Localiser: true, FCStorage: c.FCWeights})
				}
			}
			m, err := open()
			if err != nil {
				return nil, "", false, err
			}
			m.Net.SetThreads(threads)
			sum, err := fileSHA256(file)
			return m, sum, err == nil, err
		},
		OnImage: func(row string, done, total int) {
			if bars[row] == nil {
				bars[row] = newProgress(e.stderr, total, "images")
			}
			bars[row].set(done, row)
			if done == total {
				bars[row].close()
			}
		},
	})
	if err != nil {
		if e.ctx.Err() != nil && context.Cause(e.ctx) != nil {
			return fmt.Errorf("interrupted; the same command goes on with %s", results)
		}
		return err
	}
	return c.finish(e, r)
}

// boxesFigures puts the figures of localisation in their columns.
func boxesFigures(line *report.ReproducedRow, b *eval.Boxes) {
	line.Top1.Error, line.Top1.Low, line.Top1.High = b.GTClassError, b.GTClassRange[0], b.GTClassRange[1]
	line.Top5.Error = math.NaN()
	if b.Top5Error != nil {
		line.Top5.Error, line.Top5.Low, line.Top5.High = *b.Top5Error, b.Top5Range[0], b.Top5Range[1]
	}
}

// boxWeights is a name of localisation weights by the convention of the plans that are
// built in: the classification network's, the regression and, where only the fully
// connected layers were fine-tuned, fc.
var boxWeights = regexp.MustCompile(`^(.+)-(SCR|PCR)(-fc)?$`)

// boxTraining is the commands that make localisation weights of a conventional name.
func (c *reproduceCommand) boxTraining(name string) (string, bool) {
	m := boxWeights.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	if _, _, ok := eval.ConventionalName(m[1]); !ok {
		return "", false
	}
	layers := ""
	if m[3] != "" {
		layers = " --layers fc"
	}
	file := func(n string) string { return filepath.Join(c.Weights, n+".safetensors") }
	run := filepath.Join("runs", name)
	return fmt.Sprintf(" To train it:\n  vgg localize train --data %s --init-from %s --regression %s%s --out %s\n  cp %s %s",
		c.Data, file(m[1]), m[2], layers, run, filepath.Join(run, "best.safetensors"), file(name)), true
}
