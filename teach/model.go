package teach

import (
	"fmt"
	"slices"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/transfer"
)

// head is the head of a model: the descriptor, and the SVM as the last layer.
const head = "GAP L2 FC"

// model returns the ordinary model that answers as the SVMs do.
func (l *learning) model(base *vgg.Model, from transfer.Net) (*vgg.Model, error) {
	features, err := base.Net.Until(from.Layer, true)
	if err != nil {
		return nil, err
	}
	o := base.Net.Options()
	text := head
	if l.multi() {
		text += " SIGMOID"
	}
	if o.Config, err = architecture.WithHead(o.Config, text); err != nil {
		return nil, fmt.Errorf("teach: %w", err)
	}
	o.Classes, o.FCStorage = len(l.classes()), nn.F32
	net, err := network.New(o)
	if err != nil {
		return nil, err
	}
	if err := copyFeatures(net, features); err != nil {
		return nil, err
	}
	if err := l.setHead(net); err != nil {
		return nil, err
	}
	m := &vgg.Model{Net: net, Classes: slices.Clone(l.classes()), Preprocess: base.Preprocess, Provenance: map[string]string{}}
	m.Preprocess.Resize = from.Scales[0]
	for key, v := range base.Provenance {
		if key != "classes" {
			m.Provenance[key] = v
		}
	}
	m.Provenance["taught_on"] = l.d.Header.Data.Name
	m.Provenance["taught_from"] = from.Weights
	m.Provenance["taught"] = l.said()
	if l.multi() {
		m.Thresholds = l.thresholds()
	}
	return m, nil
}

// copyFeatures copies the parameters before the head.
func copyFeatures(to, from *network.Network) error {
	params := map[string]*nn.Param{}
	for _, p := range to.Params() {
		params[p.Name] = p
	}
	for _, p := range from.Params() {
		q := params[p.Name]
		if q == nil || !slices.Equal(q.Shape, p.Shape) {
			return fmt.Errorf("teach: %s of shape %v has no place in the new network", p.Name, p.Shape)
		}
		values := make([]float32, p.Len())
		if err := p.Get(values); err != nil {
			return err
		}
		if err := q.Set(values); err != nil {
			return err
		}
	}
	return nil
}

// setHead makes the calibrated SVMs the last layer: slope·(w·x + b) + shift.
func (l *learning) setHead(net *network.Network) error {
	w, b := l.svm.Weights()
	k, dim := len(b), len(w)/len(b)
	values, biases := make([]float32, len(w)), make([]float32, k)
	for c := range k {
		for i, v := range w[c*dim : (c+1)*dim] {
			values[c*dim+i] = float32(l.slope[c] * float64(v))
		}
		biases[c] = float32(l.slope[c]*float64(b[c]) + l.shift[c])
	}
	params := net.Params()
	weight, bias := params[len(params)-2], params[len(params)-1]
	if len(weight.Shape) != 2 || weight.Len() != len(values) {
		return fmt.Errorf("teach: %s of shape %v has no room for SVMs of %d classes by %d numbers", weight.Name, weight.Shape, k, dim)
	}
	if err := weight.Set(values); err != nil {
		return err
	}
	return bias.Set(biases)
}
