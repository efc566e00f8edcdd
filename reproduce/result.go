package reproduce

import (
	"slices"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
)

// Result is a reproduced [Plan]. The JSON keys are those of `vgg reproduce --json`.
type Result struct {
	Title      string             `json:"title"`
	Data       string             `json:"data"`
	Images     int                `json:"images"` // of the set
	ImageNet   bool               `json:"imagenet"`
	Measure    Measure            `json:"measure,omitempty"`
	Labels     []string           `json:"labels"`
	Rows       []Row              `json:"rows"`
	Missing    []string           `json:"missing_weights"`
	Unreadable []dataset.BadImage `json:"unreadable_images"` // for some network
}

// Row is a row of a result.
type Row struct {
	Labels  []string     `json:"labels"`
	Result  *Errors      `json:"result"`                 // nil where weights are missing, and for rows without networks
	Boxes   *Boxes       `json:"localisation,omitempty"` // instead of Result in tables of localisation
	Paper   *PaperErrors `json:"paper"`                  // in per cent; nil unless the classes are ILSVRC's
	Missing []string     `json:"missing"`                // weights
	Others  bool         `json:"others"`                 // another group's result
}

// Errors holds the classification errors of a row's networks, as fractions.
type Errors struct {
	Images    int        `json:"images"`
	Top1Error float64    `json:"top1_error"`
	Top5Error float64    `json:"top5_error"`
	Top1Range [2]float64 `json:"top1_interval"` // 95 % confidence interval
	Top5Range [2]float64 `json:"top5_interval"`
	// P compares the top-1 error with that of the first row; see [eval.Top1P]. nil in the
	// first row that has a result.
	P *float64 `json:"p"`
}

// Boxes holds the localisation errors of a row's networks, as fractions.
type Boxes struct {
	Images       int        `json:"images"`
	GTClassError float64    `json:"gt_class_error"`
	GTClassRange [2]float64 `json:"gt_class_interval"` // 95 % confidence interval
	MeanIoU      float64    `json:"mean_iou"`
	// Top5Error is nil in rows without classifiers.
	Top5Error *float64    `json:"top5_error,omitempty"`
	Top5Range *[2]float64 `json:"top5_interval,omitempty"`
}

// newResult returns the result of a plan without rows.
func newResult(p Plan, data string, images int, classes []string) *Result {
	return &Result{
		Title: p.Title, Data: data, Images: images, ImageNet: eval.IsImageNet(classes), Measure: p.Measure,
		Labels: p.Labels, Missing: []string{}, Unreadable: []dataset.BadImage{},
	}
}

// row returns a row of the result without figures of its own.
func (r *Result) row(p PlanRow) Row {
	row := Row{Labels: p.Labels, Others: len(p.Nets) == 0, Missing: []string{}}
	if r.ImageNet {
		row.Paper = &p.Paper
	}
	return row
}

// addUnreadable lists images, each once.
func (r *Result) addUnreadable(images ...dataset.BadImage) {
	for _, b := range images {
		if !slices.ContainsFunc(r.Unreadable, func(u dataset.BadImage) bool { return u.Name == b.Name }) {
			r.Unreadable = append(r.Unreadable, b)
		}
	}
}
