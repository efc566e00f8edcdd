package eval

import (
	"encoding/json"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/metrics"
)

// Result is the outcome of an evaluation. Errors are fractions. The JSON keys are those of
// `vgg eval --json`. For images of several labels each, Labels has the measures; errors,
// intervals, loss and calibration error are then NaN, the lists of classes empty, and none of
// them is in the JSON.
type Result struct {
	Data       string             `json:"data"` // name of the set
	Shard      string             `json:"shard,omitempty"`
	Protocol   Protocol           `json:"protocol"` // of the first network, like Scales and Flip
	Scales     []int              `json:"scales"`
	Flip       bool               `json:"flip"`
	Images     int                `json:"images"` // evaluated; Images + Unreadable is all of the set
	Unreadable int                `json:"unreadable"`
	Top1Error  float64            `json:"top1_error"`
	Top5Error  float64            `json:"top5_error"`
	Top1Range  [2]float64         `json:"top1_interval"` // 95 % confidence interval (Wilson)
	Top5Range  [2]float64         `json:"top5_interval"`
	Loss       float64            `json:"loss"`              // multinomial logistic loss, mean over the images
	ECE        float64            `json:"calibration_error"` // expected calibration error, 15 bins
	Labels     *LabelsResult      `json:"labels,omitempty"`
	Nets       []NetResult        `json:"nets"`
	Classes    []Class            `json:"classes"`    // in the order of the set
	Confusions []Confusion        `json:"confusions"` // pairs of classes, the most often confused first
	Mistakes   []Mistake          `json:"mistakes"`   // the most probable first
	Bad        []dataset.BadImage `json:"unreadable_images"`

	Seconds         float64 `json:"seconds,omitempty"`
	ImagesPerSecond float64 `json:"images_per_second,omitempty"` // of this run, through all networks

	outcomes []outcome // by image
}

// NetResult is the result of one network of a fusion by itself.
type NetResult struct {
	Weights string `json:"weights"`
	Setting
	Top1Error float64 `json:"top1_error"`
	Top5Error float64 `json:"top5_error"`
	// MeanAP is the mean average precision on images of several labels, whose errors are NaN and
	// not in the JSON; nil on others.
	MeanAP *float64 `json:"mean_ap,omitempty"`
}

// MarshalJSON leaves out what is NaN.
func (n NetResult) MarshalJSON() ([]byte, error) {
	type plain NetResult
	return json.Marshal(struct {
		plain
		Top1Error *float64 `json:"top1_error,omitempty"`
		Top5Error *float64 `json:"top5_error,omitempty"`
	}{plain(n), metrics.OrNil(n.Top1Error), metrics.OrNil(n.Top5Error)})
}

// MarshalJSON leaves out what images of several labels don't have.
func (r *Result) MarshalJSON() ([]byte, error) {
	type plain Result
	if r.Labels == nil {
		return json.Marshal((*plain)(r))
	}
	return json.Marshal(struct {
		*plain
		Top1Error  *float64  `json:"top1_error,omitempty"`
		Top5Error  *float64  `json:"top5_error,omitempty"`
		Top1Range  *struct{} `json:"top1_interval,omitempty"`
		Top5Range  *struct{} `json:"top5_interval,omitempty"`
		Loss       *float64  `json:"loss,omitempty"`
		ECE        *float64  `json:"calibration_error,omitempty"`
		Classes    *struct{} `json:"classes,omitempty"`
		Confusions *struct{} `json:"confusions,omitempty"`
		Mistakes   *struct{} `json:"mistakes,omitempty"`
	}{plain: (*plain)(r)})
}

// Class is the result on one class's images. Without images its errors are NaN, null in
// JSON.
type Class struct {
	Class        string  `json:"class"`
	Images       int     `json:"images"`
	Unreadable   int     `json:"unreadable"`
	Top1Error    float64 `json:"top1_error"`
	Top5Error    float64 `json:"top5_error"`
	ConfusedWith string  `json:"confused_with,omitempty"` // class most often predicted in its place
}

// MarshalJSON writes NaN as null.
func (c Class) MarshalJSON() ([]byte, error) {
	type plain Class
	return json.Marshal(struct {
		plain
		Top1Error *float64 `json:"top1_error"`
		Top5Error *float64 `json:"top5_error"`
	}{plain(c), metrics.OrNil(c.Top1Error), metrics.OrNil(c.Top5Error)})
}

// Confusion is a pair of classes and the number of images of the one taken for the other.
type Confusion struct {
	Truth     string `json:"truth"`
	Predicted string `json:"predicted"`
	Images    int    `json:"images"`
}

// Mistake is an image whose most probable class is not its true class.
type Mistake struct {
	File        string  `json:"file"`
	Truth       string  `json:"truth"`
	Predicted   string  `json:"predicted"`
	Probability float32 `json:"probability"` // of the predicted class
	Rank        int     `json:"rank"`        // of the true class; 1 is the most probable
}
