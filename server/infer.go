package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/tensor"
)

// outputTensor is an output of a response.
type outputTensor struct {
	Name       string          `json:"name"`
	Shape      []int           `json:"shape"`
	Datatype   string          `json:"datatype"`
	Parameters map[string]any  `json:"parameters,omitempty"`
	Data       json.RawMessage `json:"data,omitempty"`

	floats []float32
	texts  []string
	binary bool
}

// inferResponse is a response of the protocol.
type inferResponse struct {
	Model   string          `json:"model_name"`
	Version string          `json:"model_version"`
	ID      string          `json:"id,omitempty"`
	Outputs []*outputTensor `json:"outputs"`
}

// outputsOf lists the outputs of a model: the scores of its classes, averaged over the class
// score map, the posteriors of that average, and the map.
func outputsOf(m *vgg.Model) []string {
	switch o := m.Net.Options(); {
	case o.Headless() || m.Localisation != nil:
		return []string{mapOutput}
	case o.Posterior() == network.NoPosterior:
		return []string{scoresOutput, mapOutput}
	}
	return []string{scoresOutput, postOutput, mapOutput}
}

// infer answers an inference request of the protocol.
func (s *Server) infer(w http.ResponseWriter, r *http.Request) error {
	h, g, release, err := s.find(r, r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		discard(r)
		return err
	}
	defer release()
	length, err := oneHeader(r, "Inference-Header-Content-Length")
	if err != nil {
		discard(r)
		return err
	}
	body, free, err := s.body(r)
	if err != nil {
		return err
	}
	defer free()
	q, err := decodeInfer(body, length)
	if err != nil {
		return err
	}
	response, err := s.run(r.Context(), h, g, q)
	if err != nil {
		return err
	}
	return response.write(w)
}

// run computes the outputs of a request.
func (s *Server) run(ctx context.Context, h *hosted, g *generation, q *inferRequest) (response *inferResponse, err error) {
	start := time.Now()
	defer func() { h.stats.count(start, err) }()
	outputs, err := wanted(g.model, q)
	if err != nil {
		return nil, err
	}
	free, err := s.hold(q.copies())
	if err != nil {
		return nil, err
	}
	defer free()
	in, err := imagesOf(q, s.options.Limits)
	if err != nil {
		return nil, err
	}
	place, err := g.batcher.enter(q.Inputs[0].shape[0])
	if err != nil {
		return nil, err
	}
	defer place.leave()
	x := in.x
	if x == nil {
		side := g.model.Net.Options().Input
		x = tensor.New(len(in.pictures), 3, side, side)
		if err := together(ctx, len(in.pictures), func(ctx context.Context, i int) error {
			if err := s.see(ctx, g, x.Index(i).Data, in.pictures[i], g.model.Preprocess.Resize); err != nil {
				return fmt.Errorf("image %d: %w", i, err)
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	h.stats.add("compute_input", time.Since(start))
	j, err := g.batcher.forward(ctx, place, x)
	if err != nil {
		return nil, err
	}
	h.stats.computed(j)
	computed := time.Now()
	if !tensor.Finite(j.y.Data) {
		return nil, errNotFinite
	}
	response = &inferResponse{Model: h.source.Name, Version: onlyVersion, ID: q.ID}
	for _, o := range outputs {
		t, err := outputOf(g.model, o, j.y)
		if err != nil {
			return nil, err
		}
		response.Outputs = append(response.Outputs, t)
	}
	h.stats.add("compute_output", time.Since(computed))
	return response, nil
}

// askedOutput is an output with how it is wanted.
type askedOutput struct {
	name    string
	binary  bool
	classes int // of the classification extension; 0: not asked for
}

// wanted returns the outputs that a request asks for; all if it names none.
func wanted(m *vgg.Model, q *inferRequest) ([]askedOutput, error) {
	byDefault, err := truth(q.Parameters, "binary_data_output", false)
	if err != nil {
		return nil, err
	}
	known := outputsOf(m)
	var list []askedOutput
	if len(q.Outputs) == 0 {
		for _, name := range known {
			list = append(list, askedOutput{name: name, binary: byDefault})
		}
		return list, nil
	}
	for _, o := range q.Outputs {
		found := false
		for _, name := range known {
			found = found || name == o.Name
		}
		if !found {
			return nil, badRequest("output %q is unknown, want some of %q", abbreviated(o.Name), known)
		}
		a := askedOutput{name: o.Name}
		if a.binary, err = truth(o.Parameters, "binary_data", byDefault); err != nil {
			return nil, err
		}
		k, given, err := wholeParameter(o.Parameters, "classification")
		if err != nil {
			return nil, badRequest("output %q: %w", o.Name, err)
		}
		if given && k > 0 {
			if o.Name == mapOutput {
				return nil, badRequest("output %q has no classification, want %q or %q", o.Name, scoresOutput, postOutput)
			}
			a.classes = int(min(k, int64(len(m.Classes))))
		}
		list = append(list, a)
	}
	return list, nil
}

// outputOf makes an output of the class score maps (N,K,OH,OW).
func outputOf(m *vgg.Model, o askedOutput, y *tensor.Tensor) (*outputTensor, error) {
	t := &outputTensor{Name: o.name, Datatype: fp32, binary: o.binary}
	if o.name == mapOutput {
		t.Shape, t.floats = y.Shape, y.Data
		return t, nil
	}
	n, k, places := y.Shape[0], y.Shape[1], y.Shape[2]*y.Shape[3]
	t.Shape, t.floats = []int{n, k}, make([]float32, n*k)
	for i := range t.floats {
		var sum float64
		for _, v := range y.Data[i*places : (i+1)*places] {
			sum += float64(v)
		}
		t.floats[i] = float32(sum / float64(places))
	}
	if o.name == postOutput {
		posterior := m.Net.Options().Posterior()
		for i := range n {
			posterior.Of(t.floats[i*k:(i+1)*k], t.floats[i*k:(i+1)*k])
		}
	}
	if o.classes == 0 {
		return t, nil
	}
	t.Datatype, t.Shape = bytesType, []int{n, o.classes}
	for i := range n {
		row := t.floats[i*k : (i+1)*k]
		for _, c := range m.Top(row, o.classes) {
			t.texts = append(t.texts, fmt.Sprintf("%s:%d:%s", strconv.FormatFloat(float64(c.Probability), 'g', -1, 32), c.Index, c.Class))
		}
	}
	t.floats = nil
	return t, nil
}

// write sends a response: JSON, and behind it the outputs that are binary.
func (r *inferResponse) write(w http.ResponseWriter) error {
	var binaries []byte
	anyBinary := false
	for _, t := range r.Outputs {
		if !t.binary {
			var err error
			if t.Datatype == bytesType {
				t.Data, err = json.Marshal(t.texts)
			} else {
				t.Data, err = json.Marshal(t.floats)
			}
			if err != nil {
				return err
			}
			continue
		}
		anyBinary = true
		before := len(binaries)
		binaries = append(binaries, t.raw()...)
		t.Parameters = map[string]any{"binary_data_size": len(binaries) - before}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if anyBinary {
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Inference-Header-Content-Length", strconv.Itoa(len(text)))
	}
	h.Set("Content-Length", strconv.Itoa(len(text)+len(binaries)))
	w.WriteHeader(http.StatusOK)
	if _, err := w.Write(text); err == nil {
		_, _ = w.Write(binaries) // a client that has gone hears nothing
	}
	return nil
}
