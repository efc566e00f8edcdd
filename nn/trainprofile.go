package nn

import (
	"time"

	"github.com/verydeep/vgg/tensor"
)

// TrainTime is the time that a layer took in a training step, in seconds. Fused passes count
// once: a max-pooling with the layer before it, the gradients of a rectification and of a
// bias with Data or Weights, and the weight gradient of a fully connected layer with
// Update.
type TrainTime struct {
	Layer   string // "input" is the change of layout, "loss" the soft-max
	Pool    bool   // the max-pooling after the layer was part of it
	Forward float64
	Data    float64 // gradient of the input
	Weights float64 // gradient of the weights
	Update  float64
}

// column is a stage, a column of [TrainTime].
type column int

const (
	forwardColumn column = iota
	dataColumn
	weightsColumn
	updateColumn
)

// clock measures the stages of a step. A nil clock measures nothing.
type clock struct {
	last  time.Time
	times []TrainTime
}

// lap adds the time since the last lap to a stage of a layer.
func (c *clock) lap(layer string, s column) {
	if c == nil {
		return
	}
	now := time.Now()
	d := now.Sub(c.last).Seconds()
	c.last = now
	i := 0
	for i < len(c.times) && c.times[i].Layer != layer {
		i++
	}
	if i == len(c.times) {
		c.times = append(c.times, TrainTime{Layer: layer})
	}
	t := &c.times[i]
	*[]*float64{&t.Forward, &t.Data, &t.Weights, &t.Update}[s] += d
}

// Profile is [Training.StepSGD], but returns the time of every layer.
func (t *Training) Profile(x *tensor.Tensor, labels []int, p Pass, s *SGD, u Update) ([]TrainTime, error) {
	p.clock = &clock{last: time.Now()}
	_, err := t.StepSGD(x, labels, p, s, u)
	return p.clock.times, err
}

// pool records whether the max-pooling after a layer is part of it.
func (c *clock) pool(layer string, pool bool) {
	if c == nil {
		return
	}
	for i := range c.times {
		if c.times[i].Layer == layer {
			c.times[i].Pool = pool
		}
	}
}
