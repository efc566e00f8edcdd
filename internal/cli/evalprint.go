package cli

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/report"
)

// printEval prints a result as text.
func printEval(w io.Writer, r *eval.Result) error {
	if r.Labels != nil {
		return printLabels(w, r)
	}
	classes := make([]report.Class, len(r.Classes))
	for i, k := range r.Classes {
		classes[i] = report.Class{Name: classLabel(k.Class), Images: int64(k.Images), Top1: k.Top1Error, Top5: k.Top5Error, ConfusedWith: classLabel(k.ConfusedWith)}
	}
	if _, err := report.ClassTable(classes).WriteTo(w); err != nil {
		return err
	}
	if len(r.Confusions) > 0 {
		fmt.Fprintf(w, "\n%s", confusionTable(r.Confusions))
	}
	if len(r.Mistakes) > 0 {
		mistakes := make([]report.Mistake, len(r.Mistakes))
		for i, w := range r.Mistakes {
			mistakes[i] = report.Mistake{File: w.File, Truth: classLabel(w.Truth), Predicted: classLabel(w.Predicted), Probability: float64(w.Probability), Rank: w.Rank}
		}
		fmt.Fprintf(w, "\nWorst mistakes\n%s", report.MistakeTable(mistakes))
	}
	if len(r.Bad) > 0 {
		fmt.Fprintf(w, "\n%s", unreadableTable(r.Bad))
	}
	if len(r.Nets) > 1 {
		t := report.NewTable(left("Network"), left("Shown"), right("Top-1 error"), right("Top-5 error"))
		for _, n := range r.Nets {
			t.Row(n.Weights, shown(n.Setting), report.Percent(n.Top1Error), report.Percent(n.Top5Error))
		}
		t.Rule()
		t.Row("their mean", "", report.Percent(r.Top1Error), report.Percent(r.Top5Error))
		fmt.Fprintf(w, "\n%s", t)
	}
	set, how := measuredSet(r)
	_, err := fmt.Fprintf(w, "\nTop-1 error %s (%s), top-5 error %s (%s), loss %.4f, calibration error %s on %d images of %s: %s.\n",
		report.Percent(r.Top1Error), interval(r.Top1Range), report.Percent(r.Top5Error), interval(r.Top5Range),
		r.Loss, report.Percent(r.ECE), r.Images, set, how)
	return err
}

// confusionTable lists pairs of classes under a title.
func confusionTable(pairs []eval.Confusion) string {
	t := report.NewTable(left("True class"), left("Taken for"), right("Images"))
	for _, c := range pairs {
		t.Row(classLabel(c.Truth), classLabel(c.Predicted), report.Count(int64(c.Images)))
	}
	return fmt.Sprintf("Most often confused\n%s", t)
}

// measuredSet names the images that were measured on, and the way that they were shown.
func measuredSet(r *eval.Result) (set, how string) {
	set, how = r.Data, shown(r.Nets[0].Setting)
	if r.Shard != "" {
		set = "shard " + r.Shard + " of " + set
	}
	if len(r.Nets) > 1 {
		how = fmt.Sprintf("fusion of %d networks", len(r.Nets))
	}
	return set, how
}

// interval formats a confidence interval in per cent.
func interval(r [2]float64) string {
	return fmt.Sprintf("%s to %s", strings.TrimSuffix(report.Percent(r[0]), " %"), strings.TrimSuffix(report.Percent(r[1]), " %"))
}

// shown describes protocol and scales in words.
func shown(s eval.Setting) string {
	text := map[eval.Protocol]string{
		eval.Centre: "central crop", eval.Dense: "dense", eval.MultiCrop: "multi-crop",
		eval.MultiCropDense: "multi-crop and dense", eval.TenCrop: "ten-crop",
	}[s.Protocol]
	if s.Flip && (s.Protocol == eval.Centre || s.Protocol == eval.Dense) {
		text += " with its mirror image"
	} else if s.Flip && s.Protocol == eval.MultiCropDense {
		text += " with mirror images"
	}
	return text + ", scale " + joinInts(s.Scales)
}

// writeCSV writes the posteriors of every image of result files, in the shortest form that
// restores their bits. An unreadable image has its error instead.
func writeCSV(ctx context.Context, path string, results ...string) error {
	r, err := eval.OpenResults(ctx, results...)
	if err != nil {
		return err
	}
	defer r.Close()
	return writeFile(path, func(out io.Writer) error { return encodeCSV(out, r) })
}

func encodeCSV(out io.Writer, r *eval.Results) error {
	w := csv.NewWriter(out)
	h := r.Header
	if err := w.Write(append([]string{"file", "truth", "predicted", "error"}, h.Classes...)); err != nil {
		return err
	}
	for i := range r.Header.Data.Images {
		a, err := r.Answer(i)
		if err != nil {
			return err
		}
		row := make([]string, 4+len(h.Classes))
		row[0] = a.File
		if row[1] = h.Data.Classes[a.Label]; h.Data.MultiLabel {
			row[1] = joinLabels(h.Data.Classes, a.Labels)
		}
		if a.Err != nil {
			row[3] = a.Err.Error()
		} else {
			if h.Data.MultiLabel {
				row[2] = joinLabels(h.Classes, vgg.Shown(a.Posterior, h.Thresholds))
			} else {
				row[2] = h.Classes[metrics.TopK(a.Posterior, 1)[0]]
			}
			for k, p := range a.Posterior {
				row[4+k] = strconv.FormatFloat(float64(p), 'g', -1, 32)
			}
		}
		if err := w.Write(row); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// joinLabels writes the names of labels as tables have them.
func joinLabels(names []string, labels []int) string {
	var shown []string
	for _, l := range labels {
		shown = append(shown, names[l])
	}
	return strings.Join(shown, "|")
}
