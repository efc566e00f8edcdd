package cli

import (
	"fmt"
	"slices"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/report"
)

type evalCommand struct {
	Weights  string        `arg:"" help:"File of weights (safetensors)."`
	Data     string        `placeholder:"DIR" help:"Folder of images, one folder a class; of one with train and val, val. The word sample, or nothing for weights trained on it, means the validation images that are built in."`
	Protocol eval.Protocol `default:"centre" help:"centre: the central crop; dense: the whole image (centre)."`
	Scales   []int         `placeholder:"Q" help:"Smallest side, in pixels, that images are rescaled to; the weights say unless given. Of several, separated by commas, the class posteriors are averaged."`
	Flip     bool          `help:"Average the class posteriors with those of the mirrored image."`
	Batch    int           `placeholder:"N" help:"Central crops that go through the network together (16)."`
	Mistakes int           `default:"10" placeholder:"N" help:"Worst mistakes shown (10)."`
	storageFlag
	threadsFlag
	jsonFlag
}

func (evalCommand) Help() string {
	return `Every image counts once; unreadable ones are counted apart and listed. Classes are matched by name. The worst mistakes are those made with the highest probability.` + exitHelp
}

// evalResult has the JSON keys of `vgg eval --json`.
type evalResult struct {
	Weights string `json:"weights"`
	*eval.Result
}

func (c *evalCommand) Run(e *environment) error {
	if c.Mistakes < 0 {
		return usagef("--mistakes %d, want at least 0", c.Mistakes)
	}
	if c.Batch < 0 || c.Batch > maxBatch {
		return usagef("--batch %d, want 1 to %d", c.Batch, maxBatch)
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	m, err := vgg.OpenStored(c.Weights, c.FCWeights)
	if err != nil {
		return err
	}
	m.Net.SetThreads(threads)
	for _, q := range c.Scales {
		if side := m.Net.Options().Input; q < side {
			return usagef("--scales %d, want at least the network's input side %d", q, side)
		}
	}
	data, err := c.open(m)
	if err != nil {
		return err
	}
	progress := newProgress(e.stderr, data.Len(), "images")
	defer progress.close()
	r, err := eval.Run(e.ctx, m, data, eval.Options{
		Protocol: c.Protocol, Scales: c.Scales, Flip: c.Flip, Mistakes: c.Mistakes, Batch: c.Batch,
		OnImage: func(done, _ int) { progress.set(done, "evaluating") },
	})
	if err != nil {
		return err
	}
	progress.close()
	if c.JSON {
		err = writeJSON(e.stdout, evalResult{c.Weights, r})
	} else {
		err = c.print(e, r)
	}
	if err != nil {
		return err
	}
	return unreadable(r.Unreadable, r.Images+r.Unreadable)
}

// open returns the images to evaluate on.
func (c *evalCommand) open(m *vgg.Model) (*dataset.Dataset, error) {
	if c.Data == "" || c.Data == sampleName {
		_, val, err := dataset.OpenSample()
		if err != nil {
			return nil, err
		}
		if c.Data == "" && !slices.Equal(slices.Sorted(slices.Values(m.Classes)), slices.Sorted(slices.Values(val.Classes))) {
			return nil, usagef("--data DIR is needed: %s was not trained on the images that are built in", c.Weights)
		}
		return val, nil
	}
	all, val, err := dataset.OpenFolder(c.Data)
	if err != nil || val == nil {
		return all, err
	}
	return val, nil
}

func (c *evalCommand) print(e *environment, r *eval.Result) error {
	classes := make([]report.Class, len(r.Classes))
	for i, k := range r.Classes {
		classes[i] = report.Class{Name: k.Class, Images: int64(k.Images), Top1: k.Top1Error, Top5: k.Top5Error, ConfusedWith: k.ConfusedWith}
	}
	if _, err := report.ClassTable(classes).WriteTo(e.stdout); err != nil {
		return err
	}
	if len(r.Mistakes) > 0 {
		mistakes := make([]report.Mistake, len(r.Mistakes))
		for i, w := range r.Mistakes {
			mistakes[i] = report.Mistake{File: w.File, Truth: w.Truth, Predicted: w.Predicted, Probability: float64(w.Probability), Rank: w.Rank}
		}
		fmt.Fprintf(e.stdout, "\nWorst mistakes\n%s", report.MistakeTable(mistakes))
	}
	if len(r.Bad) > 0 {
		t := report.NewTable(report.Column{Title: "Unreadable image"}, report.Column{Title: "Why"})
		for _, b := range r.Bad {
			t.Row(b.File, b.Err.Error())
		}
		fmt.Fprintf(e.stdout, "\n%s", t)
	}
	protocol := "central crop"
	if r.Protocol == eval.Dense {
		protocol = "dense"
	}
	if r.Flip {
		protocol += " with its mirror image"
	}
	_, err := fmt.Fprintf(e.stdout, "\nTop-1 error %s, top-5 error %s, loss %.4f on %d images of %s: %s, scale %s.\n",
		report.Percent(r.Top1Error), report.Percent(r.Top5Error), r.Loss, r.Images, r.Data, protocol, joinInts(r.Scales))
	return err
}

func joinInts(v []int) string {
	text := ""
	for i, n := range v {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprint(n)
	}
	return text
}
