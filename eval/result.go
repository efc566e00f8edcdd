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

// Result is what an evaluation came to. Its JSON keys are those of `vgg eval --json`.
type Result struct {
	Data       string     `json:"data"` // name of the set
	Protocol   Protocol   `json:"protocol"`
	Scales     []int      `json:"scales"`
	Flip       bool       `json:"flip"`
	Images     int        `json:"images"` // evaluated; with Unreadable, all of the set
	Unreadable int        `json:"unreadable"`
	Top1Error  float64    `json:"top1_error"`
	Top5Error  float64    `json:"top5_error"`
	Loss       float64    `json:"loss"`     // multinomial logistic loss, mean over the images
	Classes    []Class    `json:"classes"`  // in the set's order
	Mistakes   []Mistake  `json:"mistakes"` // the worst, most probable first
	Bad        []BadImage `json:"unreadable_images"`
}

// Class is one class's share of the result. Its errors are NaN without images, null in
// JSON.
type Class struct {
	Class        string  `json:"class"`
	Images       int     `json:"images"`
	Unreadable   int     `json:"unreadable"`
	Top1Error    float64 `json:"top1_error"`
	Top5Error    float64 `json:"top5_error"`
	ConfusedWith string  `json:"confused_with,omitempty"` // most often predicted in its place
}

// MarshalJSON writes NaN as null, which JSON has for it.
func (c Class) MarshalJSON() ([]byte, error) {
	type plain Class
	number := func(x float64) *float64 {
		if math.IsNaN(x) {
			return nil
		}
		return &x
	}
	return json.Marshal(struct {
		plain
		Top1Error *float64 `json:"top1_error"`
		Top5Error *float64 `json:"top5_error"`
	}{plain(c), number(c.Top1Error), number(c.Top5Error)})
}

// Mistake is an image whose most probable class is not its own.
type Mistake struct {
	File        string  `json:"file"`
	Truth       string  `json:"truth"`
	Predicted   string  `json:"predicted"`
	Probability float32 `json:"probability"` // of the predicted class
	Rank        int     `json:"rank"`        // place of the true class, 1 being the best
}

// BadImage is an image that could not be evaluated.
type BadImage struct {
	File string
	Err  error
}

// MarshalJSON writes the file and the error's text.
func (b BadImage) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		File  string `json:"file"`
		Error string `json:"error"`
	}{b.File, b.Err.Error()})
}

// tally counts images.
type tally struct {
	classes   []string // the model's
	labels    []int    // the model's class of each of the set's
	data      *dataset.Dataset
	confusion *metrics.Confusion
	ranks     [][]int // of the true class, image by image, for each of the set's classes
	bad       []BadImage
	badOf     []int // for each of the set's classes
	mistakes  []Mistake
	loss      float64
}

func newTally(classes []string, labels []int, data *dataset.Dataset) *tally {
	return &tally{
		classes: classes, labels: labels, data: data,
		confusion: metrics.NewConfusion(len(classes)),
		ranks:     make([][]int, len(labels)), badOf: make([]int, len(labels)),
		// Empty rather than nil, for JSON.
		bad: []BadImage{}, mistakes: []Mistake{},
	}
}

// add counts image i with its posteriors.
func (t *tally) add(i int, p []float32) error {
	s := t.data.Samples[i]
	truth := t.labels[s.Label]
	for _, pk := range p {
		if math.IsNaN(float64(pk)) {
			return fmt.Errorf("eval: %s: %s: scores that are not finite: the weights are of a training that diverged", t.data.Name, s.Name)
		}
	}
	best, rank := metrics.TopK(p, 1)[0], metrics.Rank(p, truth)
	t.confusion.Add(truth, best)
	t.ranks[s.Label] = append(t.ranks[s.Label], rank)
	t.loss += lossOf(p[truth])
	if rank > 0 {
		t.mistakes = append(t.mistakes, Mistake{s.Name, t.classes[truth], t.classes[best], p[best], rank + 1})
	}
	return nil
}

// addBad counts image i as unreadable.
func (t *tally) addBad(i int, err error) {
	s := t.data.Samples[i]
	t.bad = append(t.bad, BadImage{s.Name, err})
	t.badOf[s.Label]++
}

func (t *tally) result(o Options) (*Result, error) {
	all := slices.Concat(t.ranks...)
	if len(all) == 0 {
		return nil, fmt.Errorf("eval: %s: none of %d images is readable; the first: %s: %w", t.data.Name, t.data.Len(), t.bad[0].File, t.bad[0].Err)
	}
	slices.SortStableFunc(t.mistakes, func(a, b Mistake) int { return cmp.Compare(b.Probability, a.Probability) })
	r := &Result{
		Data: t.data.Name, Protocol: o.Protocol, Scales: o.Scales, Flip: o.Flip,
		Images: len(all), Unreadable: len(t.bad),
		Top1Error: metrics.TopKError(all, 1), Top5Error: metrics.TopKError(all, 5),
		Loss:     t.loss / float64(len(all)),
		Mistakes: t.mistakes[:max(0, min(o.Mistakes, len(t.mistakes)))],
		Bad:      t.bad,
	}
	for i, truth := range t.labels {
		r.Classes = append(r.Classes, Class{
			Class: t.data.Classes[i], Images: len(t.ranks[i]), Unreadable: t.badOf[i],
			Top1Error: metrics.TopKError(t.ranks[i], 1), Top5Error: metrics.TopKError(t.ranks[i], 5),
			ConfusedWith: t.confusedWith(truth),
		})
	}
	return r, nil
}

// confusedWith is the class most often predicted in place of another, or empty.
func (t *tally) confusedWith(truth int) string {
	most, name := 0, ""
	for p := range t.classes {
		if n := t.confusion.Count(truth, p); p != truth && n > most {
			most, name = n, t.classes[p]
		}
	}
	return name
}
