package train

import (
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/preprocess"
)

// Start describes the beginning of a run, or its resumption.
type Start struct {
	Recipe     Recipe // with the rule of initialisation that was applied
	Preprocess preprocess.Spec
	Init       *InitReport // nil if all weights were drawn at random
	Checkpoint string      // checkpoint that the run continues from; "" if it begins
	Epoch      int         // to run next, from 1
	Iteration  int         // the last one done
	Iterations int         // of the whole run, if every epoch is run
	Whole      int         // iterations that compute every layer: later ones take what is kept, and next to no time; 0: all do
	Images     int         // of the training set
	Micro      int         // images that a rank computes at a time
	Memory     int64       // bytes that the run needs at most, estimated
	// Seconds estimates the time of the rest of the run from a timed forward pass. It leaves
	// out waiting for images.
	Seconds   float64
	CopyBytes int64 // bytes of the copies from which checkpoints are written
}

// Iteration is one update of the weights.
type Iteration struct {
	Epoch           int     `json:"epoch"`     // from 1
	Iteration       int     `json:"iteration"` // from 1, over the run
	Iterations      int     `json:"-"`         // of the whole run, if every epoch is run
	Loss            float64 `json:"loss"`      // mean over the mini-batch, before the update
	LearningRate    float64 `json:"learning_rate"`
	Images          int     `json:"images"`
	ImagesPerSecond float64 `json:"images_per_second"` // of all processes
	ExchangeTime
}

// ExchangeTime is the time in which several processes summed gradients, as rank 0's process saw it,
// with its waiting for slower ones.
type ExchangeTime struct {
	ExchangeSeconds float64 `json:"exchange_seconds,omitempty"`
	// ExchangeWaitSeconds is the part of it that came after the backward pass: the rest is
	// hidden behind it.
	ExchangeWaitSeconds float64 `json:"exchange_wait_seconds,omitempty"`
}

// Hidden is the share of the time that is hidden behind the backward pass; 0 without an exchange.
func (x ExchangeTime) Hidden() float64 {
	if x.ExchangeSeconds <= 0 {
		return 0
	}
	return max(0, 1-x.ExchangeWaitSeconds/x.ExchangeSeconds)
}

// Epoch is one pass over the training set and the validation after it. Errors are
// fractions, NaN without validation images.
type Epoch struct {
	Epoch        int     `json:"epoch"` // from 1
	Epochs       int     `json:"-"`     // of the run at most
	Iterations   int     `json:"iterations"`
	TrainLoss    float64 `json:"train_loss"` // mean over the epoch's images
	Loss         float64 `json:"loss"`       // mean over the validation images
	Top1Error    float64 `json:"top1_error"`
	Top5Error    float64 `json:"top5_error"`
	LearningRate float64 `json:"learning_rate"`

	// A task of boxes has these instead of top-k errors: the share of the validation images
	// whose predicted box has an intersection over union of at most one half with the true
	// box, and the mean intersection over union. Otherwise they are NaN and not in the JSON.
	LocalisationError float64 `json:"localisation_error"`
	MeanIoU           float64 `json:"mean_iou"`

	// Images of several labels have these instead of top-k errors: the mean average precision
	// over the labels ([metrics.Step]), and the F1 of all labels together at the probability ½.
	// Otherwise they are NaN and not in the JSON.
	MeanAP  float64 `json:"mean_ap"`
	MicroF1 float64 `json:"micro_f1"`

	// Mistakes are the validation images of one class with another as their most probable one
	// whose loss is the greatest, at most twelve, the worst first.
	Mistakes []Mistake `json:"mistakes,omitempty"`

	Seconds     float64            `json:"seconds"`
	WaitSeconds float64            `json:"wait_seconds"` // part of Seconds in which the run waited for images
	Best        bool               `json:"best"`
	Bad         []dataset.BadImage `json:"-"` // unreadable images met in this epoch
}

// Mistake is a validation image that is taken for another class.
type Mistake struct {
	File        string  `json:"file"` // name in the collection
	Class       string  `json:"class"`
	Predicted   string  `json:"predicted"`   // the most probable class
	Probability float32 `json:"probability"` // of that class
	loss        float64
}

// beginning is the line start of a run's metrics.
type beginning struct {
	Iterations int `json:"iterations"` // of the whole run, if every epoch is run
	Epochs     int `json:"epochs"`     // at most
	Images     int `json:"images"`     // of the training set
	Validation int `json:"validation"` // images
	Classes    int `json:"classes"`
	Batch      int `json:"batch"`
}

// Result is the outcome of a run. Its JSON keys are those of `vgg train --json`.
type Result struct {
	Run         string  `json:"run"` // the run directory
	Epochs      int     `json:"epochs"`
	Iterations  int     `json:"iterations"`
	Seconds     float64 `json:"seconds"`
	WaitSeconds float64 `json:"wait_seconds"`
	BestEpoch   int     `json:"best_epoch"`
	Top1Error   float64 `json:"top1_error"` // of the best epoch
	Top5Error   float64 `json:"top5_error"`
	BestWeights string  `json:"best_weights"`

	LocalisationError float64 `json:"localisation_error"` // as in [Epoch]
	MeanIoU           float64 `json:"mean_iou"`
	MeanAP            float64 `json:"mean_ap"`
	MicroF1           float64 `json:"micro_f1"`

	Unreadable int `json:"unreadable"` // different images that could not be read

	ExchangeTime // of this process, without what was before it was resumed

	Init *InitReport `json:"init,omitempty"`
}
