package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/report"
)

// thresholdFlag is shared by the commands that decide which labels an image shows.
type thresholdFlag struct {
	Threshold []string `sep:"none" placeholder:"P" help:"Least probability from which a label counts as shown, of a network of several labels an image: 0.4, or of one label, cat=0.3. Can be given more than once (as the weights tell, else 0.5)."`
}

// thresholds returns the thresholds of a network's classes: those of the weights, or the
// default, with what the flag gives. It is nil if the classes are not labels.
func (f thresholdFlag) thresholds(o network.Options, classes []string, weights []float32) ([]float32, error) {
	if o.Headless() || o.Posterior() != network.ByLabel {
		if f.Threshold != nil {
			return nil, usagef("--threshold %s: the network doesn't have several labels an image (FC SIGMOID at the end of its head), want none", f.Threshold[0])
		}
		return nil, nil
	}
	if weights == nil {
		weights = slices.Repeat([]float32{vgg.DefaultThreshold}, len(classes))
	}
	return f.of(classes, weights)
}

// of returns thresholds with what the flag gives.
func (f thresholdFlag) of(classes []string, thresholds []float32) ([]float32, error) {
	thresholds = slices.Clone(thresholds)
	for _, text := range f.Threshold {
		label, number := "", text
		if at := strings.LastIndexByte(text, '='); at >= 0 {
			label, number = text[:at], text[at+1:]
		}
		p, err := strconv.ParseFloat(number, 32)
		if err != nil || !(p > 0 && p <= 1) {
			return nil, usagef("--threshold %s, want a probability above 0 and at most 1, as 0.4 or LABEL=0.4", text)
		}
		found := false
		for i, c := range classes {
			if label == "" || c == label {
				thresholds[i], found = float32(p), true
			}
		}
		if !found {
			return nil, usagef("--threshold %s: the network has no label %s, want one of %s", text, label, strings.Join(classes, ", "))
		}
	}
	return thresholds, nil
}

// printLabels prints what was measured on images of several labels.
func printLabels(w io.Writer, r *eval.Result) error {
	l := r.Labels
	t := report.NewTable(left("Label"), right("Images"), right("Average precision"), right("Threshold"), right("Precision"), right("Recall"), right("F1"), right("Best F1"), right("at"))
	for _, k := range l.Labels {
		if k.Images == 0 {
			t.Row(k.Label, "0", "–", fmt.Sprintf("%.3g", k.Threshold), report.Percent(k.Precision), "–", "–", "–", "–")
			continue
		}
		t.Row(k.Label, report.Count(int64(k.Images)), report.Percent(k.AveragePrecision), fmt.Sprintf("%.3g", k.Threshold),
			report.Percent(k.Precision), report.Percent(k.Recall), report.Percent(k.F1), report.Percent(k.BestF1), fmt.Sprintf("%.3g", k.BestThreshold))
	}
	t.Rule()
	for _, all := range []struct {
		name string
		d    eval.Detection
	}{{"all answers (micro)", l.Micro}, {"mean of labels (macro)", l.Macro}} {
		t.Row(all.name, "", "", "", report.Percent(all.d.Precision), report.Percent(all.d.Recall), report.Percent(all.d.F1))
	}
	fmt.Fprint(w, t)
	if len(l.Mistakes) > 0 {
		t := report.NewTable(left("Image"), left("Label"), left("Mistake"), right("Probability"))
		for _, m := range l.Mistakes {
			what := "not there, but found"
			if m.Shown {
				what = "there, but not found"
			}
			t.Row(m.File, m.Label, what, report.Percent(float64(m.Probability)))
		}
		fmt.Fprintf(w, "\nWorst mistakes\n%s", t)
	}
	if len(r.Bad) > 0 {
		fmt.Fprintf(w, "\n%s", unreadableTable(r.Bad))
	}
	if len(r.Nets) > 1 {
		t := report.NewTable(left("Network"), left("Shown"), right("Mean average precision"))
		for _, n := range r.Nets {
			t.Row(n.Weights, shown(n.Setting), report.Percent(*n.MeanAP))
		}
		t.Rule()
		t.Row("their mean", "", report.Percent(l.MeanAP))
		fmt.Fprintf(w, "\n%s", t)
	}
	if len(l.Unmeasured) > 0 {
		fmt.Fprintf(w, "\nNot measured, as %s tells nothing of them: %s\n", r.Data, strings.Join(l.Unmeasured, ", "))
	}
	set, how := measuredSet(r)
	_, err := fmt.Fprintf(w, "\nMean average precision %s, F1 %s (micro) and %s (macro), Hamming loss %s, all labels right %s, loss %.4f on %d images of %s: %s.\n",
		report.Percent(l.MeanAP), report.Percent(l.Micro.F1), report.Percent(l.Macro.F1), report.Percent(l.HammingLoss), report.Percent(l.SubsetAccuracy), l.Loss, r.Images, set, how)
	return err
}
