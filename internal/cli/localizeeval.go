package cli

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/resources"
)

type localizeEvalCommand struct {
	Boxes    []string `arg:"" name:"boxes" help:"Localisation networks that vgg localize train made, with their scales behind them if need be: PCR.safetensors@256,384. Of several the boxes are merged."`
	Data     string   `required:"" placeholder:"DIR" help:"Images with boxes: as of vgg eval; of one with train and val, val."`
	Protocol string   `default:"centre" enum:"centre,center,dense,multi-crop" placeholder:"NAME" help:"centre: the central crop gives the box of the true class; dense: the whole image, boxes merged, and with --classifier the five most probable classes; multi-crop: the same with 5×5 crops (centre)."`
	Scales   []int    `placeholder:"Q" help:"Smallest sides, in pixels, that images are rescaled to, of networks that have none behind them; the weights say unless given."`
	Out      string   `placeholder:"FILE" help:"Result file: every image's boxes, as soon as they are known. A run that was interrupted goes on with it."`
	Draw     string   `placeholder:"FILE" help:"Draw the best and the worst boxes, beside the true ones, a PNG."`
	Shown    int      `default:"12" placeholder:"N" help:"Images drawn, half of them the best (12)."`
	boxFlags
	storageFlag
	denseFlags
	threadsFlag
	jsonFlag
}

func (localizeEvalCommand) Help() string {
	return `A box is right if its intersection over union with a true box of the image's class is above one half. Given the class, the box is the one that the network has for the true class; the top-5 error asks for the class too: one of the five most probable classes must be the true one, with a right box. Images without a box of their class are left out, unreadable ones are counted apart, and boxes beyond the image are cut to it. Three rules that see no pixel stand beside the result: the whole image, the mean box of the training images, and that of the class.` + exitHelp
}

// localizeResult has the JSON keys of `vgg localize eval --json`.
type localizeResult struct {
	Boxes      []string `json:"boxes"`
	Classifier []string `json:"classifier,omitempty"`
	Scales     [][]int  `json:"scales"`
	*localize.Result
	Merge float64 `json:"merge_threshold"`
}

func (c *localizeEvalCommand) Run(e *environment) error {
	if c.Shown < 1 || c.Shown > 100 {
		return usagef("--shown %d, want 1 to 100", c.Shown)
	}
	protocol, err := eval.ParseProtocol(c.Protocol)
	if err != nil {
		return usageError{err}
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	l, err := c.locator(e, c.Boxes, c.FCWeights, threads)
	if err != nil {
		return err
	}
	for i := range l.Nets {
		if l.Nets[i].Scales == nil {
			l.Nets[i].Scales = c.Scales
		}
	}
	if err := l.Check(); err != nil {
		return usageError{err}
	}
	images, err := openImages(e.ctx, c.Data, l.Nets[0].Model.Classes, c.Boxes[0])
	if err != nil {
		return err
	}
	human := e.stdout
	if c.JSON {
		human = e.stderr
	}
	data, err := c.read(e, human, "", images)
	if err != nil {
		return err
	}
	o := localize.EvalOptions{Protocol: protocol, Resources: resources.Resources{Workers: threads}, Out: c.Out}
	if c.Out != "" {
		if o.RunID, err = c.runID(e, l); err != nil {
			return err
		}
	}
	bar := newProgress(e.stderr, data.Len(), "images")
	defer bar.close()
	o.OnImage = func(done, _ int64) { bar.set(int(done), "locating") }
	r, err := localize.Evaluate(e.ctx, l, data, o)
	bar.close()
	if err != nil {
		if c.Out != "" && e.ctx.Err() != nil {
			return fmt.Errorf("interrupted; the same command goes on with %s", c.Out)
		}
		return err
	}
	if c.Draw != "" {
		if err := c.draw(r, data); err != nil {
			return err
		}
	}
	if c.JSON {
		out := localizeResult{Boxes: c.Boxes, Classifier: c.Classifier, Result: r, Merge: c.Merge}
		for _, n := range l.Nets {
			out.Scales = append(out.Scales, n.UsedScales())
		}
		err = writeJSON(e.stdout, out)
	} else {
		err = printLocalisation(e.stdout, r, l)
	}
	if err != nil {
		return err
	}
	return unreadable(r.Unreadable, r.Images+r.Unreadable)
}

// runID names the networks by their content, and how they are run.
func (c *localizeEvalCommand) runID(e *environment, l *localize.Locator) (string, error) {
	var parts []string
	for i, arg := range c.Boxes {
		spec, err := parseNet(arg)
		if err != nil {
			return "", err
		}
		path, err := c.path(e, spec.file)
		if err != nil {
			return "", err
		}
		sum, err := fileSHA256(e.ctx, path)
		if err != nil {
			return "", err
		}
		parts = append(parts, fmt.Sprintf("%.16s@%s", sum, strings.ReplaceAll(joinInts(l.Nets[i].UsedScales()), ", ", ",")))
	}
	for _, name := range c.Classifier {
		path, err := c.path(e, name)
		if err != nil {
			return "", err
		}
		sum, err := fileSHA256(e.ctx, path)
		if err != nil {
			return "", err
		}
		parts = append(parts, fmt.Sprintf("classifier %.16s", sum))
	}
	return fmt.Sprintf("%s, merge %g, weights %s", strings.Join(parts, " + "), c.Merge, c.FCWeights), nil
}

func printLocalisation(w io.Writer, r *localize.Result, l *localize.Locator) error {
	right := func(title string) report.Column { return report.Column{Title: title, Align: report.Right} }
	iou := func(v float64) string {
		if math.IsNaN(v) {
			return "–"
		}
		return fmt.Sprintf("%.3f", v)
	}
	percent := func(v float64) string {
		if math.IsNaN(v) {
			return "–"
		}
		return report.Percent(v)
	}
	t := report.NewTable(report.Column{Title: "Class"}, right("Images"), right("Error"), right("Mean IoU"))
	for _, c := range r.Classes {
		t.Row(c.Class, report.Count(int64(c.Images)), percent(c.Error), iou(c.MeanIoU))
	}
	fmt.Fprintf(w, "\n%s", t)
	t = report.NewTable(report.Column{Title: "Box's share of the image"}, right("Images"), right("Error"), right("Mean IoU"))
	for _, s := range r.Sizes {
		t.Row(fmt.Sprintf("%.0f to %.0f %%", 100*s.From, 100*s.To), report.Count(int64(s.Images)), percent(s.Error), iou(s.MeanIoU))
	}
	fmt.Fprintf(w, "\n%s", t)
	t = report.NewTable(report.Column{Title: "Box"}, right("Error"), right("95 % interval"), right("Mean IoU"))
	name := string(l.Nets[0].Model.Localisation.Regression)
	if len(l.Nets) > 1 {
		name = fmt.Sprintf("%d networks", len(l.Nets))
	}
	t.Row(name, report.Percent(r.Error), interval(r.Range), iou(r.MeanIoU))
	t.Rule()
	for _, b := range r.Baselines {
		t.Row(b.Name, report.Percent(b.Error), "", iou(b.MeanIoU))
	}
	fmt.Fprintf(w, "\nGiven the class\n%s", t)
	if len(r.Bad) > 0 {
		t := report.NewTable(report.Column{Title: "Unreadable image"}, report.Column{Title: "Why"})
		for _, b := range r.Bad {
			t.Row(b.Name, b.Err.Error())
		}
		fmt.Fprintf(w, "\n%s", t)
	}
	if r.Without > 0 {
		fmt.Fprintf(w, "\n%s images without a box of their class are left out.\n", report.Count(int64(r.Without)))
	}
	if r.Top5 != nil {
		fmt.Fprintf(w, "\nTop-5 localisation error %s (%s), top-1 %s (%s); the class alone: top-5 %s, top-1 %s.",
			report.Percent(r.Top5.Error), interval(r.Top5.Range), report.Percent(r.Top1.Error), interval(r.Top1.Range),
			report.Percent(r.Top5.ClassError), report.Percent(r.Top1.ClassError))
	}
	how := "central crop"
	if r.Protocol != eval.Centre {
		how = r.Protocol.String() + ", boxes merged"
	}
	var scales []string
	for _, n := range l.Nets {
		scales = append(scales, joinInts(n.UsedScales()))
	}
	_, err := fmt.Fprintf(w, "\nLocalisation error given the class %s (%s), mean IoU %.3f on %d images of %s: %s, scale %s.\n",
		report.Percent(r.Error), interval(r.Range), r.MeanIoU, r.Images, r.Data, how, strings.Join(scales, " and "))
	return err
}

// draw draws the best and the worst boxes.
func (c *localizeEvalCommand) draw(r *localize.Result, data *dataset.Dataset) error {
	index := map[string]int{}
	for i, s := range data.Samples {
		index[s.Name] = i
	}
	var sorted []*localize.Record
	for _, rec := range r.Records {
		if rec.Error == "" {
			sorted = append(sorted, rec)
		}
	}
	slices.SortStableFunc(sorted, func(a, b *localize.Record) int {
		switch {
		case a.GivenIoU > b.GivenIoU:
			return -1
		case a.GivenIoU < b.GivenIoU:
			return 1
		}
		return 0
	})
	n := min((c.Shown+1)/2, len(sorted))
	const perRow = 6
	var names []string
	for _, arg := range c.Boxes {
		names = append(names, filepath.Join(filepath.Base(filepath.Dir(arg)), filepath.Base(arg)))
	}
	sheet := report.BoxSheet{
		Title:    fmt.Sprintf("Boxes by %s on %s", strings.Join(names, ", "), filepath.Base(r.Data)),
		Subtitle: fmt.Sprintf("Given the class; the true box is white. Localisation error %s, mean IoU %.3f.", report.Percent(r.Error), r.MeanIoU),
	}
	for _, part := range []struct {
		heading string
		records []*localize.Record
	}{{"The best", sorted[:n]}, {"The worst", sorted[len(sorted)-n:]}} {
		heading := part.heading
		for records := range slices.Chunk(part.records, perRow) {
			row := report.BoxRow{Heading: heading}
			heading = ""
			for _, rec := range records {
				raw, err := data.Read(index[rec.File])
				if err != nil {
					return err
				}
				im, err := preprocess.Decode(raw, preprocess.DecodeOptions{})
				if err != nil {
					return err
				}
				b := report.BoxImage{W: im.W, H: im.H, Pix: im.Pix, Caption: fmt.Sprintf("%s, IoU %.2f", data.Classes[data.Samples[index[rec.File]].Label], rec.GivenIoU)}
				for _, t := range rec.Truths {
					b.Boxes = append(b.Boxes, report.DrawnBox{Box: t, Truth: true})
				}
				b.Boxes = append(b.Boxes, report.DrawnBox{Box: rec.Given})
				row.Images = append(row.Images, b)
			}
			sheet.Rows = append(sheet.Rows, row)
		}
	}
	return writeFile(c.Draw, sheet.EncodePNG)
}
