package eval

import (
	"encoding/json"
	"math"

	"github.com/verydeep/vgg/dataset"
)

// Result is what an evaluation came to. Its JSON keys are those of `vgg eval --json`.
type Result struct {
	Data       string             `json:"data"` // name of the set
	Shard      string             `json:"shard,omitempty"`
	Protocol   Protocol           `json:"protocol"` // of the first network, as the next two
	Scales     []int              `json:"scales"`
	Flip       bool               `json:"flip"`
	Images     int                `json:"images"` // evaluated; with Unreadable, all of the set
	Unreadable int                `json:"unreadable"`
	Top1Error  float64            `json:"top1_error"`
	Top5Error  float64            `json:"top5_error"`
	Top1Range  [2]float64         `json:"top1_interval"` // 95 % confidence interval (Wilson)
	Top5Range  [2]float64         `json:"top5_interval"`
	Loss       float64            `json:"loss"`              // multinomial logistic loss, mean over the images
	ECE        float64            `json:"calibration_error"` // expected calibration error, 15 bins
	Nets       []NetResult        `json:"nets"`
	Classes    []Class            `json:"classes"`    // in the set's order
	Confusions []Confusion        `json:"confusions"` // the pairs of classes most often confused
	Mistakes   []Mistake          `json:"mistakes"`   // the worst, most probable first
	Bad        []dataset.BadImage `json:"unreadable_images"`

	Seconds         float64 `json:"seconds,omitempty"`
	ImagesPerSecond float64 `json:"images_per_second,omitempty"` // through all networks, of the images of this run

	outcomes []outcome // by image
}

// NetResult is what one network of a fusion comes to by itself.
type NetResult struct {
	Weights string `json:"weights"`
	Setting
	Top1Error float64 `json:"top1_error"`
	Top5Error float64 `json:"top5_error"`
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

// Confusion is a pair of classes and how often images of the one were taken for the
// other.
type Confusion struct {
	Truth     string `json:"truth"`
	Predicted string `json:"predicted"`
	Images    int    `json:"images"`
}

// Mistake is an image whose most probable class is not its own.
type Mistake struct {
	File        string  `json:"file"`
	Truth       string  `json:"truth"`
	Predicted   string  `json:"predicted"`
	Probability float32 `json:"probability"` // of the predicted class
	Rank        int     `json:"rank"`        // place of the true class, 1 being the best
}
