package cli

import (
	"fmt"
	"path/filepath"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/reproduce"
	"github.com/verydeep/vgg/resources"
)

// localise reproduces a table of localisation.
func (c *reproduceCommand) localise(e *environment, plan reproduce.Plan, images *dataset.Dataset, threads int) error {
	data, err := c.read(e, e.stderr, "", images, c.Annotations)
	if err != nil {
		return err
	}
	open, err := c.opener(e, c.FCWeights, threads)
	if err != nil {
		return err
	}
	found, err := c.find(open, plan, data)
	if err != nil {
		return err
	}
	bar := e.newProgress()
	defer bar.close()
	r, err := reproduce.Localisation(e.ctx, plan, data, reproduce.LocalisationOptions{
		Results: c.results(), Threshold: localize.MergeThreshold, Resources: resources.Resources{Workers: threads, MaxPixels: c.pixels()}, OnRow: bar.each(unitImages),
		Open: func(name string, boxes bool) (*vgg.Model, string, bool, error) {
			file := found[name]
			if file == "" {
				return nil, "", false, nil
			}
			open.options.Localiser = boxes
			m, err := open.read(file)
			if err != nil {
				return nil, "", false, err
			}
			sum, err := open.sha256(file)
			return m, sum, err == nil, err
		},
	})
	bar.close()
	if err != nil {
		return e.interrupted(err, c.results())
	}
	return c.finish(e, r)
}

// boxTraining returns the commands that train localisation weights of a conventional name.
func (c *reproduceCommand) boxTraining(name string) (text string, ok bool) {
	classifier, regression, fcOnly, ok := reproduce.ConventionalLocaliser(name)
	if !ok {
		return "", false
	}
	layers := ""
	if fcOnly {
		layers = " --freeze 'conv*'"
	}
	file := func(n string) string { return quoted(filepath.Join(c.Weights, n+".safetensors")) }
	run := filepath.Join("runs", name)
	return fmt.Sprintf(" To train it:\n  %s localize train --data %s --init-from %s --regression %s%s --out %s\n  cp %s %s",
		program(), quoted(c.Data), file(classifier), regression, layers, quoted(run), quoted(filepath.Join(run, "best.safetensors")), file(name)), true
}
