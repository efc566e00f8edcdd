package nn

import (
	"time"

	"github.com/verydeep/vgg/tensor"
)

// TrainTime is how long a layer took in a training step, in seconds. Where two passes
// are one, the time of both stands with the later: a max-pooling's with the layer before
// it, a rectification's gradient and a bias's with that of the data or of the weights, a
// fully connected layer's gradient of the weights with the update.
type TrainTime struct {
	Layer   string // "input" is the change of layout, "loss" the soft-max
	Pool    bool   // the max-pooling after the layer was part of it
	Forward float64
	Data    float64 // gradient of the input
	Weights float64 // gradient of the weights
	Update  float64
}

// column is one of [TrainTime].
type column int

const (
	forwardColumn column = iota
	dataColumn
	weightsColumn
	updateColumn
)

// clock measures the stages of a step; a nil clock does not.
type clock struct {
	last  time.Time
	times []TrainTime
}

// lap counts the time since the last lap for a stage of a layer.
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

// Profile is [Training.StepSGD] that tells the time of every layer.
func (t *Training) Profile(x *tensor.Tensor, labels []int, p Pass, s *SGD, u Update) ([]TrainTime, error) {
	p.clock = &clock{last: time.Now()}
	_, err := t.StepSGD(x, labels, p, s, u)
	return p.clock.times, err
}

// pool notes whether a layer's max-pooling is part of it.
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
