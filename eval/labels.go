package eval

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/metrics"
)

// LabelsResult is what is measured on images that have any number of labels each. A label
// counts as shown where its probability is at least its threshold. Shares of nothing are 0, as
// in scikit-learn; measures that need a positive image are NaN without one, null in JSON.
type LabelsResult struct {
	MeanAP float64 `json:"mean_ap"` // mean of AveragePrecision over the labels that some image has
	// Micro counts the answers to all labels together; Macro is the mean over the labels.
	Micro          Detection     `json:"micro"`
	Macro          Detection     `json:"macro"`
	HammingLoss    float64       `json:"hamming_loss"`    // share of wrong answers, over images and labels
	SubsetAccuracy float64       `json:"subset_accuracy"` // share of the images all of whose labels are right
	Loss           float64       `json:"loss"`            // sum of logistic losses over the labels, mean over the images
	Labels         []LabelResult `json:"labels"`          // in the order of the set
	// Unmeasured are the network's labels of which the set tells nothing.
	Unmeasured []string       `json:"unmeasured"`
	Mistakes   []LabelMistake `json:"mistakes"` // the most certain first
}

// MarshalJSON writes NaN as null.
func (r *LabelsResult) MarshalJSON() ([]byte, error) {
	type plain LabelsResult
	return json.Marshal(struct {
		*plain
		MeanAP *float64 `json:"mean_ap"`
	}{(*plain)(r), metrics.OrNil(r.MeanAP)})
}

// Detection tells how well shown labels are found.
type Detection struct {
	Precision float64 `json:"precision"` // share of the labels found that are shown
	Recall    float64 `json:"recall"`    // share of the labels shown that are found
	F1        float64 `json:"f1"`        // their harmonic mean
}

func detection(d metrics.Decisions) Detection { return Detection{d.Precision(), d.Recall(), d.F1()} }

// LabelResult is the result on one label.
type LabelResult struct {
	Label            string  `json:"label"`
	Images           int     `json:"images"`            // that show it
	AveragePrecision float64 `json:"average_precision"` // by the definition of [metrics.Step]
	Threshold        float32 `json:"threshold"`
	Detection
	// BestF1 is the greatest F1 that a threshold can give on these images, and BestThreshold
	// the highest threshold that does; NaN without a positive image.
	BestF1        float64 `json:"best_f1"`
	BestThreshold float32 `json:"best_threshold"`
}

// MarshalJSON writes NaN as null.
func (l LabelResult) MarshalJSON() ([]byte, error) {
	type plain LabelResult
	var best *float32
	if l.Images > 0 {
		best = &l.BestThreshold
	}
	return json.Marshal(struct {
		plain
		AveragePrecision *float64 `json:"average_precision"`
		BestThreshold    *float32 `json:"best_threshold"`
	}{plain(l), metrics.OrNil(l.AveragePrecision), best})
}

// LabelMistake is a wrong answer about a label of an image.
type LabelMistake struct {
	File        string  `json:"file"`
	Label       string  `json:"label"`
	Shown       bool    `json:"shown"` // the image shows the label, which was not found
	Probability float32 `json:"probability"`
}

// labelTally measures answers about labels. It keeps all of them.
type labelTally struct {
	h        Header
	labels   []int         // index of the model's class for each of the set's
	files    []string      // of readable images
	p        [][]float32   // by label of the set and readable image
	netP     [][][]float32 // by network of a fusion, label of the set and readable image
	positive [][]bool      // by label of the set and readable image
	bad      []dataset.BadImage
	loss     float64
}

func newLabelTally(h Header, labels []int, nets int) *labelTally {
	t := &labelTally{h: h, labels: labels, p: make([][]float32, len(labels)), positive: make([][]bool, len(labels)), bad: []dataset.BadImage{}}
	if nets > 1 {
		t.netP = make([][][]float32, nets)
		for n := range t.netP {
			t.netP[n] = make([][]float32, len(labels))
		}
	}
	return t
}

// image implements tallier.
func (t *labelTally) image(i int, each []source) error {
	first, posteriors, err := answersOf(t.h, i, each)
	switch {
	case err != nil:
		return err
	case first.Err != nil:
		t.bad = append(t.bad, dataset.BadImage{Name: first.File, Index: i, Err: first.Err})
		return nil
	}
	t.files = append(t.files, first.File)
	mean := Mean(posteriors...)
	for k, at := range t.labels {
		shown := slices.Contains(first.Labels, k)
		t.p[k], t.positive[k] = append(t.p[k], mean[at]), append(t.positive[k], shown)
		for n := range t.netP {
			t.netP[n][k] = append(t.netP[n][k], posteriors[n][at])
		}
		if shown {
			t.loss += lossOf(mean[at])
		} else {
			t.loss += lossOf(1 - mean[at])
		}
	}
	return nil
}

// result implements tallier.
func (t *labelTally) result(o Options) (*Result, error) {
	n := len(t.files)
	if n == 0 {
		return nil, fmt.Errorf("eval: %s: none of %d images is readable; the first: %w", t.h.Data.Name, len(t.bad), &t.bad[0])
	}
	first, none := t.h.Nets[0], [2]float64{math.NaN(), math.NaN()}
	r := &Result{
		Data: t.h.Data.Name, Protocol: first.Protocol, Scales: first.Scales, Flip: first.Flip,
		Images: n, Unreadable: len(t.bad), Bad: t.bad,
		Top1Error: math.NaN(), Top5Error: math.NaN(), Top1Range: none, Top5Range: none, Loss: math.NaN(), ECE: math.NaN(),
		Labels: t.measure(o),
	}
	if t.h.Shard != whole() {
		r.Shard = t.h.Shard.String()
	}
	for i, net := range t.h.Nets {
		ap := r.Labels.MeanAP
		if t.netP != nil {
			ap = metrics.MeanAveragePrecision(t.netP[i], t.positive, metrics.Step)
		}
		r.Nets = append(r.Nets, NetResult{net.Weights, net.Setting, math.NaN(), math.NaN(), &ap})
	}
	return r, nil
}

// measure computes the measures.
func (t *labelTally) measure(o Options) *LabelsResult {
	r := &LabelsResult{MeanAP: metrics.MeanAveragePrecision(t.p, t.positive, metrics.Step), Unmeasured: []string{}, Loss: t.loss / float64(len(t.files))}
	right := slices.Repeat([]bool{true}, len(t.files)) // all labels of the image
	var all metrics.Decisions
	for k, at := range t.labels {
		threshold := t.h.Thresholds[at]
		d := metrics.Decide(t.p[k], t.positive[k], threshold)
		all = all.Add(d)
		l := LabelResult{
			Label: t.h.Data.Classes[k], Images: d.TruePositives + d.FalseNegatives, Threshold: threshold, Detection: detection(d),
			AveragePrecision: metrics.AveragePrecision(t.p[k], t.positive[k], metrics.Step),
		}
		l.BestThreshold, l.BestF1 = metrics.BestThreshold(t.p[k], t.positive[k])
		r.Labels = append(r.Labels, l)
		share := 1 / float64(len(t.labels))
		r.Macro.Precision, r.Macro.Recall, r.Macro.F1 = r.Macro.Precision+share*l.Precision, r.Macro.Recall+share*l.Recall, r.Macro.F1+share*l.F1
		for i, p := range t.p[k] {
			if shown := t.positive[k][i]; shown != (p >= threshold) {
				right[i] = false
				r.Mistakes = append(r.Mistakes, LabelMistake{t.files[i], l.Label, shown, p})
			}
		}
	}
	r.Micro, r.HammingLoss = detection(all), all.Wrong()
	exact := 0
	for _, ok := range right {
		if ok {
			exact++
		}
	}
	r.SubsetAccuracy = float64(exact) / float64(len(right))
	for at, class := range t.h.Classes {
		if !slices.Contains(t.labels, at) {
			r.Unmeasured = append(r.Unmeasured, class)
		}
	}
	slices.SortStableFunc(r.Mistakes, func(a, b LabelMistake) int { return cmp.Compare(b.certainty(), a.certainty()) })
	r.Mistakes = append([]LabelMistake{}, r.Mistakes[:firstOf(o.Mistakes, len(r.Mistakes))]...)
	return r
}

// certainty is the probability that the network gives to the wrong answer.
func (m LabelMistake) certainty() float32 {
	if m.Shown {
		return 1 - m.Probability
	}
	return m.Probability
}
