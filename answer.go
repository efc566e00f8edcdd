package vgg

import (
	"slices"

	"github.com/verydeep/vgg/network"
)

// Answer is what a network says of an image. Its JSON keys are those of `vgg classify --json`.
type Answer struct {
	// Top are the most probable classes, best first.
	Top []Prediction `json:"top,omitempty"`
	// Labels are those from their thresholds on, of a network of several labels an image.
	Labels *[]Prediction `json:"labels,omitempty"`
	// Scores are in the place of Top where the network has no posteriors.
	Scores []ClassScore `json:"scores,omitempty"`
}

// ClassScore is a class with its score.
type ClassScore struct {
	Class string  `json:"class"`
	Index int     `json:"index"`
	Score float32 `json:"score"`
}

// DefaultTop is the number of classes of an [Answer] that nobody gave another.
const DefaultTop = 5

// Answer returns what scores, one of each class, say of an image: the top best classes, 0
// for [DefaultTop]. Of a network of several labels an image, it is the labels from their
// thresholds on, by index, nil for the model's, and the best ones only if top isn't 0. A model
// without a network answers nothing.
func (m *Model) Answer(scores []float32, top int, thresholds []float32) Answer {
	if m == nil || m.Net == nil {
		return Answer{}
	}
	n := top
	if n == 0 {
		n = DefaultTop
	}
	posterior := m.Net.Options().Posterior()
	if posterior == network.NoPosterior {
		var a Answer
		for _, t := range m.Top(scores, n) {
			a.Scores = append(a.Scores, ClassScore{t.Class, t.Index, t.Probability})
		}
		return a
	}
	p := make([]float32, len(scores))
	posterior.Of(p, scores)
	if posterior != network.ByLabel {
		return Answer{Top: m.Top(p, n)}
	}
	if thresholds == nil {
		thresholds = m.Thresholds
	}
	shown, labels := Shown(p, thresholds), []Prediction{}
	for _, t := range m.Top(p, len(p)) {
		if slices.Contains(shown, t.Index) {
			labels = append(labels, t)
		}
	}
	a := Answer{Labels: &labels}
	if top != 0 {
		a.Top = m.Top(p, top)
	}
	return a
}
